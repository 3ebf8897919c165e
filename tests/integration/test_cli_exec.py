"""``exec``, ``attach``, ``pause`` and ``unpause``, on pipes and on a terminal."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from tests.support.engines import Proa, launcher
from tests.support.images import ensure_busybox
from tests.support.terminal import Terminal

pytestmark = pytest.mark.requires("root", "userns", "overlay", "busybox")


@pytest.fixture
def box(proa: Proa) -> Proa:
    """The command line on a root that has the busybox image."""
    ensure_busybox(proa)
    return proa


@pytest.fixture
def web(box: Proa) -> Iterator[str]:
    """A running container."""
    box.ok("run", "-d", "--name", "web", "-e", "OWN=1", "--network", "none", "busybox",
           "sleep", "600")  # fmt: skip
    yield "web"
    box.ok("rm", "-f", "web")


class TestExec:
    def test_streams_and_exit_code(self, box: Proa, web: str) -> None:
        script = "cat; echo err >&2; exit 7"
        assert box("exec", "-i", web, "sh", "-c", script, stdin=b"in") == (7, "in", "err\n")

    def test_without_i_there_is_no_input(self, box: Proa, web: str) -> None:
        assert box("exec", web, "wc", "-c", stdin=b"unread") == (0, "0\n", "")

    def test_many_bytes(self, box: Proa, web: str) -> None:
        assert box("exec", web, "head", "-c", "3000000", "/dev/zero").stdout == "\0" * 3_000_000

    def test_environment_user_and_directory(self, box: Proa, web: str) -> None:
        script = "echo $OWN $MORE $(id -u) $(pwd)"
        words = ("exec", "-e", "MORE=2", "-u", "5", "-w", "/tmp", web, "sh", "-c", script)
        assert box.ok(*words) == "1 2 5 /tmp"

    @pytest.mark.parametrize(
        ("words", "code", "named"),
        [
            (["web", "nx-command"], 127, "nx-command"),
            (["web", "/etc"], 126, "/etc"),
            (["-u", "nobody-here", "web", "true"], 1, "nobody-here"),
            (["nx", "true"], 1, "nx"),
        ],
    )
    def test_refused(self, box: Proa, web: str, words: list[str], code: int, named: str) -> None:
        done = box("exec", *words)
        assert (done.code, done.stdout) == (code, "")
        assert named in done.stderr
        assert len(done.stderr.splitlines()) == 1

    def test_a_stopped_container(self, box: Proa) -> None:
        box.ok("create", "--name", "still", "busybox")
        done = box("exec", "still", "true")
        assert done.code == 1
        assert "is not running" in done.stderr
        box.ok("rm", "still")

    def test_detached(self, box: Proa, web: str) -> None:
        assert box("exec", "-d", web, "sh", "-c", "echo x > /made") == (0, "", "")
        script = "until [ -s /made ]; do sleep 0.02; done; cat /made"
        assert box.ok("exec", web, "sh", "-c", script) == "x"

    def test_on_a_terminal(self, box: Proa, web: str) -> None:
        argv = [*launcher(), "exec", "-it", web, "sh", "-c", "stty size; tty; read x; exit 5"]
        env = {**box.environment(), "TERM": "xterm"}
        with Terminal(argv, env=env, rows=33, columns=99) as terminal:
            terminal.expect(b"33 99")
            terminal.type(b"\n")
            assert terminal.wait() == 5


class TestAttach:
    def test_output_and_exit_code(self, box: Proa) -> None:
        script = "while [ ! -e /go ]; do sleep 0.02; done; echo hi; exit 6"
        box.ok("run", "-d", "--name", "att", "--network", "none", "busybox", "sh", "-c", script)
        with box.spawn("attach", "att") as attached:
            assert attached.stdout is not None
            box.ok("exec", "att", "touch", "/go")
            assert attached.stdout.read() == b"hi\n"
            assert attached.wait(timeout=10) == 6
        box.ok("rm", "att")

    def test_input(self, box: Proa) -> None:
        box.ok("run", "-d", "-i", "--name", "cat", "--network", "none", "busybox", "cat")
        assert box("attach", "cat", stdin=b"through") == (0, "through", "")
        box.ok("rm", "cat")

    def test_signals_may_stay_here(self, box: Proa) -> None:
        box.ok("run", "-d", "--name", "deaf", "--network", "none", "busybox",
               "sh", "-c", "while :; do echo on; sleep 0.05; done")  # fmt: skip
        with box.spawn("attach", "--sig-proxy=false", "deaf") as attached:
            assert attached.stdout is not None
            assert attached.stdout.readline() == b"on\n"
            attached.send_signal(signal.SIGINT)
            assert attached.wait(timeout=10) != 0
        assert box.ok("ps", "--format", "{{.Names}}") == "deaf"
        box.ok("rm", "-f", "deaf")

    def test_a_stopped_container(self, box: Proa) -> None:
        box.ok("create", "--name", "still", "busybox")
        done = box("attach", "still")
        assert done.code == 1
        assert "is not running" in done.stderr
        box.ok("rm", "still")


class TestTerminal:
    def test_run_on_a_terminal(self, box: Proa) -> None:
        argv = [*launcher(), "run", "--rm", "-it", "--network", "none", "busybox", "sh"]
        env = {**box.environment(), "TERM": "xterm"}
        with Terminal(argv, env=env, rows=21, columns=77) as terminal:
            terminal.type(b"stty size\n")
            terminal.expect(b"21 77")
            terminal.type(b"exit 4\n")
            assert terminal.wait() == 4

    def test_leaving_with_the_detach_keys(self, box: Proa) -> None:
        argv = [*launcher(), "run", "-it", "--name", "left", "--detach-keys", "ctrl-a,q",
                "--network", "none", "busybox", "sh"]  # fmt: skip
        with Terminal(argv, env={**box.environment(), "TERM": "xterm"}) as terminal:
            terminal.type(b"echo re''ady\n")
            terminal.expect(b"ready")
            terminal.type(b"\x01q")
            assert terminal.wait() == 0
        assert box.ok("ps", "--format", "{{.Names}}") == "left"
        box.ok("rm", "-f", "left")


def test_pause(box: Proa, web: str) -> None:
    assert box.ok("pause", web) == web
    assert "(Paused)" in box.ok("ps", "--format", "{{.Status}}")
    done = box("pause", web)
    assert (done.code, done.stdout) == (1, "")
    assert box.ok("unpause", web) == web
    assert box.ok("exec", web, "echo", "on") == "on"
    assert box("unpause", web).code == 1
