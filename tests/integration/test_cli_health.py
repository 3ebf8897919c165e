"""Health checks and ``--init`` in real containers."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.engines import Proa
from tests.support.images import ensure_busybox

pytestmark = pytest.mark.requires("root", "userns", "overlay", "busybox")

FAST = ("--health-interval", "50ms", "--health-retries", "2", "--health-timeout", "2s")
AWAIT_S = 15.0


@pytest.fixture
def box(proa: Proa) -> Proa:
    """The command line on a root that has the busybox image."""
    ensure_busybox(proa)
    return proa


def inspect(box: Proa, name: str) -> Any:
    (document,) = json.loads(box.ok("inspect", name))
    return document


def await_state(box: Proa, name: str, wanted: Callable[[Any], bool]) -> Any:
    deadline = time.monotonic() + AWAIT_S
    while not wanted(document := inspect(box, name)):
        assert time.monotonic() < deadline, document["State"]
        time.sleep(0.01)
    return document


def run(box: Proa, name: str, check: str, *words: str) -> None:
    box.ok("run", "-d", "--name", name, "--network", "none", "--health-cmd", check, *FAST, *words,
           "busybox", "sleep", "600")  # fmt: skip


class TestHealth:
    def test_healthy_then_not(self, box: Proa) -> None:
        since = f"{time.time():.9f}"
        run(box, "sick", "echo checked; test ! -e /sick")
        document = await_state(box, "sick", lambda d: d["State"]["Health"]["Status"] == "healthy")
        assert document["Config"]["Healthcheck"]["Test"][0] == "CMD-SHELL"
        assert document["State"]["Health"]["Log"][-1]["Output"] == "checked\n"
        assert box.ok("ps", "--format", "{{.Status}}").endswith("(healthy)")
        assert box.ok("ps", "-q", "-f", "health=healthy") != ""
        box.ok("exec", "sick", "touch", "/sick")
        document = await_state(box, "sick", lambda d: d["State"]["Health"]["Status"] == "unhealthy")
        assert document["State"]["Health"]["FailingStreak"] >= 2
        assert document["State"]["Status"] == "running"
        events = box.ok("events", "--since", since, "--until", f"{time.time():.9f}",
                        "-f", "event=health_status", "--format", "{{.Action}}")  # fmt: skip
        assert events.splitlines() == ["health_status: healthy", "health_status: unhealthy"]
        box.ok("rm", "-f", "sick")

    def test_a_check_that_cannot_run(self, box: Proa) -> None:
        run(box, "bad", "/no/such/check")
        document = await_state(box, "bad", lambda d: d["State"]["Health"]["Status"] == "unhealthy")
        assert "not found" in document["State"]["Health"]["Log"][-1]["Output"]
        box.ok("rm", "-f", "bad")

    def test_restart(self, box: Proa) -> None:
        run(box, "phoenix", "test ! -e /sick", "--on-unhealthy", "restart", "--stop-timeout", "0")
        await_state(box, "phoenix", lambda d: d["State"]["Health"]["Status"] == "healthy")
        first = inspect(box, "phoenix")["State"]["Pid"]
        box.ok("exec", "phoenix", "touch", "/sick")
        await_state(
            box, "phoenix",
            lambda d: d["State"]["Pid"] not in (0, first) and d["State"]["Status"] == "running",
        )  # fmt: skip
        box.ok("rm", "-f", "phoenix")

    def test_stop(self, box: Proa) -> None:
        run(box, "done", "false", "--on-unhealthy", "stop", "--stop-timeout", "0")
        await_state(box, "done", lambda d: d["State"]["Status"] == "exited")
        box.ok("rm", "done")

    def test_a_paused_container_is_left_alone(self, box: Proa) -> None:
        run(box, "frozen", "true")
        await_state(box, "frozen", lambda d: d["State"]["Health"]["Status"] == "healthy")
        box.ok("pause", "frozen")
        before = inspect(box, "frozen")["State"]["Health"]["Log"][-1]["End"]
        time.sleep(0.3)  # several intervals in which nothing shall happen
        assert inspect(box, "frozen")["State"]["Health"]["Log"][-1]["End"] == before
        box.ok("unpause", "frozen")
        box.ok("rm", "-f", "frozen")


class TestInit:
    def run(self, box: Proa, *command: str) -> Any:
        return box("run", "--rm", "--init", "--network", "none", "busybox", *command)

    def test_it_is_process_one(self, box: Proa) -> None:
        done = self.run(box, "sh", "-c", "echo $$; tr '\\0' ' ' < /proc/1/cmdline")
        lines = done.stdout.splitlines()
        assert lines[0] != "1"
        assert lines[1].startswith("/dev/init sh -c")
        assert self.run(box, "sh", "-c", "exit 7").code == 7

    def test_a_missing_command(self, box: Proa) -> None:
        done = self.run(box, "no-such-command")
        assert done.code == 127
        assert "cannot be executed" in done.stderr

    def test_a_user_may_execute_it_and_nobody_may_change_it(self, box: Proa) -> None:
        done = box("run", "--rm", "--init", "-u", "5", "--network", "none", "busybox", "id", "-u")
        assert done.stdout == "5\n"
        done = self.run(box, "sh", "-c", "echo x > /dev/init")
        assert done.code != 0
        assert "ead-only" in done.stderr

    def test_signals_and_orphans(self, box: Proa) -> None:
        script = (
            "trap 'exit 9' TERM; i=0; while [ $i -lt 50 ]; do (sleep 0.01 &); i=$((i+1)); done; "
            "echo ready; while :; do sleep 0.05; done"
        )
        box.ok("run", "-d", "--name", "parent", "--init", "--network", "none", "busybox", "sh",
               "-c", script)  # fmt: skip
        deadline = time.monotonic() + AWAIT_S
        while box.ok("logs", "parent") != "ready":
            assert time.monotonic() < deadline
        while "Z" in box.ok("top", "parent", "-o", "stat"):
            assert time.monotonic() < deadline, "orphans stay zombies"
        assert box.ok("diff", "parent") == ""
        box.ok("stop", "parent")
        assert inspect(box, "parent")["State"]["ExitCode"] == 9
        box.ok("rm", "parent")
