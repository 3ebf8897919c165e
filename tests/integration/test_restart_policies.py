"""Restart policies when supervisors are killed and when the machine comes up again."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.support import engines
from tests.support.engines import Proa
from tests.support.images import ensure_busybox

pytestmark = pytest.mark.requires("root", "userns", "overlay", "busybox")

SLEEP = ("--network", "none", "busybox", "sleep", "600")
AWAIT_S = 10.0


@pytest.fixture
def box(fresh_proa: Proa) -> Proa:
    """An engine of its own: these tests kill its processes."""
    ensure_busybox(fresh_proa)
    return fresh_proa


def state(box: Proa, name: str) -> Any:
    return json.loads(box.ok("inspect", name))[0]["State"]


def await_true(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + AWAIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)  # other processes' deeds


def crash(box: Proa) -> None:
    """Kill everything of the engine at once."""
    engines.end_processes(box.run_dir)


def reboot(box: Proa, *, reused_pid: int) -> None:
    """Crash; then the records are of another boot, and their pids belong to a stranger."""
    crash(box)
    shutil.rmtree(box.run_dir)
    with sqlite3.connect(os.path.join(box.root, "proa.db")) as database:
        for container_id, text in database.execute("SELECT id, state FROM containers").fetchall():
            document = json.loads(text)
            for who in ("init", "supervisor"):
                if document.get(who, {}).get("pid"):
                    document[who] = {"pid": reused_pid, "start_ticks": 1, "boot_id": "b" * 36}
                elif document.get(who, {}).get("boot_id"):
                    document[who]["boot_id"] = "b" * 36
            database.execute(
                "UPDATE containers SET state = ? WHERE id = ?",
                (json.dumps(document), container_id),
            )
    database.close()


@pytest.fixture
def stranger() -> Any:
    """A process that has nothing to do with the engine and must not be signalled."""
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process
        assert process.poll() is None, "a process that merely has a reused pid was signalled"
        process.kill()


POLICIES = ("no", "always", "unless-stopped", "on-failure")


def make_all(box: Proa) -> None:
    for policy in POLICIES:
        box.ok("run", "-d", "--name", policy, "--restart", policy, *SLEEP)
        box.ok("run", "-d", "--name", f"{policy}-stopped", "--restart", policy, *SLEEP)
        box.ok("stop", "-t", "0", f"{policy}-stopped")


def running(box: Proa) -> list[str]:
    return sorted(box.ok("ps", "--format", "{{.Names}}").split())


def test_after_a_reboot_policies_decide(box: Proa, stranger: Any) -> None:
    make_all(box)
    box.ok("create", "--name", "fresh", "--restart", "always", *SLEEP)
    reboot(box, reused_pid=stranger.pid)
    started = box.ok("system", "recover").split()
    assert len(started) == 4
    assert running(box) == ["always", "always-stopped", "on-failure", "unless-stopped"]
    assert state(box, "no")["ExitCode"] == 137
    assert state(box, "fresh")["Status"] == "created"
    assert box.ok("system", "recover") == ""


def test_the_next_listing_starts_what_was_lost(box: Proa) -> None:
    make_all(box)
    crash(box)
    assert running(box) == ["always", "on-failure", "unless-stopped"]
    assert state(box, "no")["Status"] == "exited"


def test_a_reused_pid_is_neither_seen_nor_signalled(box: Proa, stranger: Any) -> None:
    box.ok("run", "-d", "--name", "web", *SLEEP)
    reboot(box, reused_pid=stranger.pid)
    assert state(box, "web")["Status"] == "exited"
    refused = box("kill", "web")
    assert refused.code == 1
    assert box("cp", "web:/etc/hosts", "-").code == 0
    box.ok("rm", "-f", "web")


def test_what_cannot_be_started_is_said(box: Proa) -> None:
    box.ok("run", "-d", "--name", "web", "--restart", "always", "-v", f"{box.root}/../src:/src",
           *SLEEP)  # fmt: skip
    crash(box)
    os.rmdir(f"{box.root}/../src")
    done = box("system", "recover")
    assert done.code == 1
    assert "cannot be started" in done.stderr


def test_unless_stopped_restarts_until_it_is_stopped(box: Proa) -> None:
    box.ok("run", "-d", "--name", "web", "--restart", "unless-stopped", *SLEEP)
    first = state(box, "web")["Pid"]
    os.kill(first, signal.SIGKILL)
    await_true(lambda: state(box, "web")["Pid"] not in (0, first))
    box.ok("stop", "-t", "0", "web")
    assert state(box, "web")["Status"] == "exited"
