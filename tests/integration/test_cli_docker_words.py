"""The words of Docker's own client, side by side with ours; neither needs a daemon for them."""

from __future__ import annotations

import re
import subprocess
from functools import cache

import pytest

from proa.cli import registry
from tests.support.cli import CapturedIO, proa

pytestmark = pytest.mark.requires("docker")

ANSWERED = "is not (built yet|part of Proa): "


@cache
def docker(*words: str) -> tuple[int, str, str]:
    """Run ``docker <words>`` where no daemon answers."""
    done = subprocess.run(
        ["docker", "-H", "unix:///nonexistent/docker.sock", *words],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=30,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def as_proas(text: str) -> str:
    """Docker's text with our name, and without its slips of the pen."""
    text = text.replace("docker", "proa")
    return re.sub(r"^(?:See|SRun) '", "Run '", text, flags=re.MULTILINE)


@pytest.mark.parametrize(
    "words",
    [
        "run --foo x",
        "run -z x",
        "run -itz x",
        "run --memory",
        "run -e",
        "run -ite",
        "run --rm=false --foo",
        "ps --foo",
        "ps --hel",
        "stop --foo x",
        "rm -q x",
        "run",
        "create",
        "ps x",
        "rm",
        "rmi",
        "wait",
        "start",
        "stop",
        "kill",
        "logs",
        "logs a b",
        "inspect",
        "tag a",
        "tag",
        "history",
        "images a b",
        "load x",
        "save",
        "container ls x",
        "container rm",
        "image rm",
        "image ls --foo",
    ],
)
def test_the_same_message_and_exit_code(words: str) -> None:
    code, _, message = docker(*words.split())
    ended = proa(*words.split())
    assert (ended.code, ended.stderr) == (code, as_proas(message))


@pytest.mark.parametrize(
    "words",
    [
        "run -m zz x",
        "run --cpus abc x",
        "run --rm=maybe x",
        "run --pids-limit zz x",
        "run --ulimit x y",
        "run --ulimit foo=3:2 x",
        "run --ulimit nofile=3:2 x",
        "run --device-read-bps foo x",
        "run --device-read-bps /dev/sda:xx x",
        "run --device-read-iops /dev/sda:xx x",
        "run --mount foo x",
        "run --mount type=bind,src=/a x",
        "run --mount type=bind,target=/x,foo=bar x",
        "run --mount type=bind,target=/x,src=/y,readonly=zz x",
        "run --mount type=tmpfs,target=/x,tmpfs-size=zz x",
        "run --add-host foo x",
        "run --sysctl foo x",
        "run --attach foo x",
        "run -e =x x",
        "run -l =x x",
        "run --dns zz x",
        "run --shm-size -1 x",
        "run --stop-timeout zz x",
        "stop -t x a",
        "ps -n zz",
        "ps --filter foo",
        "images -f foo",
    ],
)
def test_the_same_flag_and_value_are_named(words: str) -> None:
    """Reasons may be put in better words (Docker's speak of Go's strconv); the rest is the same."""
    code, _, message = docker(*words.split())
    ended = proa(*words.split())
    expected, ours = as_proas(message).splitlines(), ended.stderr.splitlines()
    assert ended.code == code
    assert ours[0].startswith(re.match(r'invalid argument ".*?" for ".*?" flag: ', expected[0])[0])  # type: ignore[index]
    assert ours[1:] == expected[1:]


@pytest.mark.parametrize(
    "words",
    [
        "run --pull foo x",
        "run --restart always --rm x",
        "run --log-driver none --log-opt a=b x",
        "run --pid foo x",
        "run --uts foo x",
        "run --userns foo x",
        "run --cgroupns foo x",
        "run --security-opt foo x",
        "run --security-opt seccomp=/nx x",
        "run --env-file /nx x",
        "run --label-file /nx x",
        "run --cidfile /etc/passwd x",
        "run --volume= x",
    ],
)
def test_refused_before_anything_starts(words: str) -> None:
    code, _, message = docker(*words.split())
    ended = proa(*words.split())
    assert "Cannot connect" not in message
    assert (code, ended.code) == (125, 125)
    assert not ended.engine.calls


@pytest.mark.parametrize("words", ["run -it x", "run -d -a stdin x"])
def test_refused_for_the_streams(words: str) -> None:
    code, _, message = docker(*words.split())
    ended = proa(*words.split())
    assert ended.code == code == 1
    assert message.strip() in ended.stderr


@pytest.mark.parametrize("verb", ["run", "create", *(n for n in registry.SYNONYMS if " " not in n)])
def test_every_flag_of_docker_is_known(verb: str) -> None:
    """Read it, refuse it with a sentence, but know it."""
    _, text, _ = docker(verb, "--help")
    theirs = re.findall(r"^ +(?:-(\w), )?--([a-z][a-z0-9-]*)", text, flags=re.MULTILINE)
    flags = registry.load(registry.SYNONYMS[verb]).COMMAND.flags
    ours = {flag.name: flag.short for flag in flags}
    for short, name in theirs:
        if name != "help":
            assert name in ours, f"proa {verb} does not know --{name}"
            assert ours[name] == short, f"proa {verb} --{name}"


def test_every_command_of_docker_is_known() -> None:
    _, text, _ = docker("--help")
    words = re.findall(r"^  ([a-z]+) {2,}\S", text, flags=re.MULTILINE)
    assert len(words) > 40
    for word in words:
        ended = proa(word, "--help")
        assert ended.code == 0 or re.search(ANSWERED, ended.stderr), word


@pytest.mark.parametrize("noun", ["container", "image"])
def test_every_verb_of_docker_is_known(noun: str) -> None:
    _, text, _ = docker(noun)
    for verb in re.findall(r"^  ([a-z]+) {2,}\S", text, flags=re.MULTILINE):
        ended = proa(noun, verb, "--help")
        assert ended.code == 0 or re.search(ANSWERED, ended.stderr), verb


@pytest.mark.parametrize("verb", [name for name in registry.SYNONYMS if " " not in name])
def test_the_usage_line_is_dockers(verb: str) -> None:
    _, text, _ = docker(verb, "--help")
    first, second, *_ = text.splitlines()
    if second:
        pytest.skip(f"docker {verb} has two usage lines")
    ours = proa(verb, "--help", io=CapturedIO()).stdout.splitlines()[0]
    theirs = as_proas(first)
    # "import" does not fetch addresses here.
    assert ours.replace("FILE|-", "file|URL|-") == theirs
