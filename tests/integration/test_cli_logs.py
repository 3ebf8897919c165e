"""``proa logs``: what was written, by whom, when; and what is being written."""

from __future__ import annotations

import re
import time

import pytest

from tests.support.engines import Proa
from tests.support.images import ensure_busybox

pytestmark = pytest.mark.requires("root", "userns", "overlay", "busybox")

STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z ")


@pytest.fixture
def box(proa: Proa) -> Proa:
    """The command line on a root that has the busybox image."""
    ensure_busybox(proa)
    return proa


def write(box: Proa, script: str, *flags: str) -> str:
    """Run a script to its end and return the container's name."""
    name = "writer"
    box("run", "--name", name, "--network", "none", *flags, "busybox", "sh", "-c", script)
    return name


def test_streams_stay_apart(box: Proa) -> None:
    name = write(box, "echo out; echo err >&2; printf 'no newline'")
    assert box("logs", name) == (0, "out\nno newline", "err\n")
    box.ok("rm", name)


def test_tail_and_timestamps(box: Proa) -> None:
    name = write(box, "for i in 1 2 3 4 5; do echo line $i; done")
    assert box.ok("logs", "-n", "2", name) == "line 4\nline 5"
    assert box.ok("logs", "--tail", "0", name) == ""
    assert box.ok("logs", "--tail", "all", name).count("\n") == 4
    stamped = box.ok("logs", "-t", name).splitlines()
    assert len(stamped) == 5
    assert all(STAMP.match(line) for line in stamped)
    assert [STAMP.sub("", line) for line in stamped] == [f"line {i}" for i in range(1, 6)]
    box.ok("rm", name)


def test_since_and_until(box: Proa) -> None:
    name = write(box, "echo one; sleep 0.2; echo two")
    first, second = (line.split()[0] for line in box.ok("logs", "-t", name).splitlines())
    assert box.ok("logs", "--since", second, name) == "two"
    assert "two" not in box.ok("logs", "--until", first, name)
    assert box.ok("logs", "--since", "1h", name) == "one\ntwo"
    assert box.ok("logs", "--since", str(int(time.time()) + 60), name) == ""
    box.ok("rm", name)


def test_follow_ends_with_the_container(box: Proa) -> None:
    script = "echo early; while [ ! -e /go ]; do read line && touch /go; done; echo late"
    with box.spawn(
        "run", "-i", "--name", "followed", "--network", "none", "busybox", "sh", "-c", script
    ) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        assert running.stdout.readline() == b"early\n"
        with box.spawn("logs", "-f", "followed") as following:
            assert following.stdout is not None
            assert following.stdout.readline() == b"early\n"
            running.stdin.write(b"go\n")
            running.stdin.flush()
            assert following.stdout.read() == b"late\n"
            assert following.wait(timeout=10) == 0
        assert running.wait(timeout=10) == 0
    box.ok("rm", "followed")


def test_interrupted_following(box: Proa) -> None:
    import signal

    box.ok("run", "-d", "--name", "quiet", "--network", "none", "busybox",
           "sh", "-c", "echo hi; sleep 600")  # fmt: skip
    with box.spawn("logs", "-f", "quiet") as following:
        assert following.stdout is not None
        assert following.stdout.readline() == b"hi\n"
        following.send_signal(signal.SIGINT)
        assert following.wait(timeout=10) == 130
    assert box.ok("ps", "--format", "{{.Names}}") == "quiet"
    box.ok("rm", "-f", "quiet")


def test_rotation_keeps_the_end(box: Proa) -> None:
    name = write(box, "seq 1 20000", "--log-opt", "max-size=64k", "--log-opt", "max-file=2")
    lines = box.ok("logs", name).splitlines()
    assert lines[-1] == "20000"
    assert 0 < len(lines) < 20000
    assert lines == [str(number) for number in range(20001 - len(lines), 20001)]
    box.ok("rm", name)


def test_the_driver_none_keeps_nothing(box: Proa) -> None:
    name = write(box, "echo hi", "--log-driver", "none")
    done = box("logs", name)
    assert (done.code, done.stdout) == (1, "")
    assert "none" in done.stderr
    box.ok("rm", name)


def test_bytes_pass_unchanged(box: Proa) -> None:
    import subprocess

    name = write(box, r"printf '\xc3\xa4 tab\t nul-free \xe2\x82\xac\n'")
    with box.spawn("logs", name) as reading:
        out, _ = reading.communicate(timeout=10)
    assert out == "ä tab\t nul-free €\n".encode()
    assert isinstance(reading, subprocess.Popen)
    box.ok("rm", name)


def test_unknown_container(box: Proa) -> None:
    done = box("logs", "nx")
    assert (done.code, done.stdout) == (1, "")
    assert "no such container: nx" in done.stderr
