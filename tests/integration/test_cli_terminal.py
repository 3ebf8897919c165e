"""The user's terminal: job control, signals that are not handed on, programs that paint it."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator

import pytest

from tests.support.engines import Proa, launcher
from tests.support.images import ensure_busybox
from tests.support.terminal import Terminal

pytestmark = pytest.mark.requires("root", "userns", "overlay", "busybox")

RUN = " ".join([*launcher(), "run", "--rm", "--network", "none"])
_TIMEOUT_S = 20.0


@pytest.fixture
def box(proa: Proa) -> Proa:
    ensure_busybox(proa)
    return proa


@pytest.fixture
def shell(box: Proa) -> Iterator[Terminal]:
    """An interactive shell with job control in a terminal."""
    env = {**box.environment(), "PS1": "ready> ", "TERM": "xterm"}
    with Terminal(["bash", "--norc", "--noediting", "-i"], env=env) as terminal:
        terminal.expect("ready> ")
        yield terminal
        terminal.type("\x03\nexit\n")
        terminal.type("exit\n")


@pytest.mark.parametrize("how", ["run", "start", "exec"])
def test_a_stopped_command_leaves_the_terminal_to_the_shell(
    box: Proa, shell: Terminal, how: str
) -> None:
    script = "while read word; do echo told-$word; done"
    proa = " ".join(launcher())
    match how:
        case "run":
            line = f"{RUN} -i busybox sh -c '{script}'"
        case "start":
            box.ok(
                "create", "-i", "--name", "cc", "--network", "none", "busybox", "sh", "-c", script
            )
            line = f"{proa} start -ai cc"
        case _:
            box.ok("run", "-d", "--name", "cc", "--network", "none", "busybox", "sleep", "1000")
            line = f"{proa} exec -i cc sh -c '{script}'"
    shell.type(f"{line}\n")
    shell.type("one\n")
    shell.expect("told-one")
    shell.type("\x1a")
    shell.expect("Stopped")
    shell.expect("ready> ")
    for number in range(4):
        shell.type(f"echo shell-$(({number}+10))\n")
        shell.expect(f"shell-{number + 10}\r\n")
    assert b"told-echo" not in shell.screen
    shell.type("fg\n")
    shell.type("two\n")
    shell.expect("told-two")
    shell.type("\x04")
    shell.expect("ready> ")
    if how != "run":
        box.ok("rm", "-f", "cc")


def test_a_command_in_the_background_does_not_read(box: Proa, shell: Terminal) -> None:
    shell.type(f"{RUN} -i busybox sh -c 'echo up; read word; echo told-$word' &\n")
    shell.expect("up\r\n")
    shell.type("echo mine\n")
    shell.expect("\nmine\r\n")
    shell.type("fg\n")
    shell.type("now\n")
    shell.expect("told-now")
    shell.expect("ready> ")


class TestSigProxy:
    """``--sig-proxy=false``: a signal ends the command, not the container."""

    SCRIPT = "trap 'echo told; exit 7' INT TERM; echo up; while :; do sleep 0.1; done"

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_run(self, box: Proa, number: signal.Signals) -> None:
        words = ("run", "--sig-proxy=false", "--name", "cc", "--network", "none", "busybox")
        with box.spawn(*words, "sh", "-c", self.SCRIPT) as running:
            assert running.stdout.readline() == b"up\n"
            running.send_signal(number)
            assert running.wait(_TIMEOUT_S) == 128 + number
        assert box.ok("inspect", "-f", "{{.State.Running}}", "cc") == "true"
        box.ok("rm", "-f", "cc")

    def test_start(self, box: Proa) -> None:
        words = ("create", "--name", "cc", "--network", "none", "busybox")
        box.ok(*words, "sh", "-c", self.SCRIPT)
        with box.spawn("start", "-a", "--sig-proxy=false", "cc") as running:
            assert running.stdout.readline() == b"up\n"
            running.send_signal(signal.SIGINT)
            assert running.wait(_TIMEOUT_S) == 128 + signal.SIGINT
        assert box.ok("inspect", "-f", "{{.State.Running}}", "cc") == "true"
        with box.spawn("start", "-a", "cc", stdout=subprocess.PIPE) as attached:
            box.ok("kill", "--signal", "TERM", "cc")
            assert attached.wait(_TIMEOUT_S) == 7
        box.ok("rm", "-f", "cc")

    def test_signals_are_handed_on_by_default(self, box: Proa) -> None:
        words = ("create", "--name", "cc", "--network", "none", "busybox")
        box.ok(*words, "sh", "-c", self.SCRIPT)
        with box.spawn("start", "-a", "cc") as running:
            assert running.stdout.readline() == b"up\n"
            running.send_signal(signal.SIGTERM)
            assert running.wait(_TIMEOUT_S) == 7
        box.ok("rm", "-f", "cc")


@pytest.mark.parametrize("how", ["run", "start", "exec"])
def test_the_size_of_the_terminal_is_there_at_once_and_followed(box: Proa, how: str) -> None:
    script = "trap 'stty size; exit 3' WINCH; stty size; while :; do sleep 0.1; done"
    image = ("--network", "none", "busybox")
    command = ("sh", "-c", script)
    words = {
        "run": ("run", "-it", "--name", "cc", *image, *command),
        "start": ("start", "-ai", "cc"),
        "exec": ("exec", "-it", "cc", *command),
    }
    if how == "start":
        box.ok("create", "-it", "--name", "cc", *image, *command)
    if how == "exec":
        box.ok("run", "-d", "--name", "cc", *image, "sleep", "1000")
    argv = [*launcher(), *words[how]]
    with Terminal(argv, env=box.environment(), rows=30, columns=90) as terminal:
        terminal.expect("^30 90")
        terminal.resize(40, 100)
        terminal.expect("40 100")
        assert terminal.wait() == 3
    box.ok("rm", "-f", "cc")
