"""``restart``, ``rename``, ``update``, ``top``, ``stats``, ``events`` and ``container prune``."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest

from tests.support.engines import Proa
from tests.support.images import ensure_busybox

pytestmark = pytest.mark.requires("root", "userns", "overlay", "busybox")

SLEEP = ("--network", "none", "busybox", "sleep", "600")
POLITE = "trap 'exit 7' TERM; echo up; while :; do sleep 0.05; done"
AWAIT_S = 10.0


@pytest.fixture
def box(proa: Proa) -> Proa:
    """The command line on a root that has the busybox image."""
    ensure_busybox(proa)
    return proa


def inspect(box: Proa, name: str) -> Any:
    (document,) = json.loads(box.ok("inspect", name))
    return document


def await_log(box: Proa, name: str, lines: int) -> None:
    deadline = time.monotonic() + AWAIT_S
    while len(box.ok("logs", name).splitlines()) < lines:
        assert time.monotonic() < deadline, f"{name} did not write {lines} lines"
        time.sleep(0.01)


class TestRestart:
    def test_running_and_stopped(self, box: Proa) -> None:
        box.ok("run", "-d", "--name", "again", "--network", "none", "busybox", "sh", "-c", POLITE)
        await_log(box, "again", 1)
        before = inspect(box, "again")["State"]
        assert box.ok("restart", "again") == "again"
        after = inspect(box, "again")["State"]
        assert after["Status"] == "running"
        assert after["Pid"] != before["Pid"]
        assert after["StartedAt"] > before["StartedAt"]
        await_log(box, "again", 2)
        box.ok("stop", "again")
        assert inspect(box, "again")["State"]["ExitCode"] == 7
        box.ok("restart", "again")
        assert inspect(box, "again")["State"]["Status"] == "running"
        box.ok("rm", "-f", "again")

    def test_the_timeout(self, box: Proa) -> None:
        box.ok("run", "-d", "--name", "deaf", *SLEEP)
        began = time.monotonic()
        box.ok("restart", "-t", "1", "deaf")
        assert 1 <= time.monotonic() - began < 5
        assert inspect(box, "deaf")["State"]["Status"] == "running"
        box.ok("rm", "-f", "deaf")

    def test_one_that_is_removed_at_its_end_stays(self, box: Proa) -> None:
        box.ok("run", "-d", "--rm", "--name", "brief", *SLEEP)
        box.ok("restart", "-t", "0", "brief")
        assert inspect(box, "brief")["State"]["Status"] == "running"
        box.ok("stop", "-t", "0", "brief")
        assert box.containers() == []

    def test_a_paused_one(self, box: Proa) -> None:
        box.ok("run", "-d", "--name", "cold", *SLEEP)
        box.ok("pause", "cold")
        box.ok("restart", "-t", "0", "cold")
        assert inspect(box, "cold")["State"]["Status"] == "running"
        box.ok("pause", "cold")
        box.ok("rm", "-f", "cold")

    def test_between_two_runs_of_a_policy(self, box: Proa) -> None:
        words = ("--network", "none", "busybox", "false")
        box.ok("run", "-d", "--name", "loop", "--restart", "always", *words)
        deadline = time.monotonic() + AWAIT_S
        while inspect(box, "loop")["State"]["Status"] != "restarting":
            assert time.monotonic() < deadline
        box.ok("restart", "loop")
        box.ok("rm", "-f", "loop")


def test_rename(box: Proa) -> None:
    box.ok("run", "-d", "--name", "old", *SLEEP)
    box.ok("create", "--name", "other", "busybox")
    taken = box("rename", "old", "other")
    assert taken.code == 1
    assert "in use" in taken.stderr
    box.ok("rename", "old", "new")
    assert inspect(box, "new")["Name"] == "/new"
    assert box("inspect", "old").code == 1
    # The supervisor knows: its events have the new name.
    box.ok("kill", "new")
    box.ok("wait", "new")
    events = box.ok("events", "--since", "1m", "--until", "0s", "-f", "event=die",
                    "--format", "{{.Actor.Attributes.name}}")  # fmt: skip
    assert events.splitlines()[-1] == "new"
    box.ok("rename", "other", "stopped")
    assert box("rename", "stopped", "a/b").code == 1
    box.ok("rm", "new", "stopped")


class TestUpdate:
    @pytest.mark.requires("cgroup:memory", "cgroup:pids")
    def test_limits_of_a_running_container(self, box: Proa) -> None:
        box.ok("run", "-d", "--name", "grow", "-m", "64m", *SLEEP)
        assert box.ok("update", "-m", "96m", "--pids-limit", "77", "grow") == "grow"
        host = inspect(box, "grow")["HostConfig"]
        assert (host["Memory"], host["PidsLimit"]) == (96 << 20, 77)
        line = box.ok("stats", "--no-stream", "--format", "{{.MemUsage}}", "grow")
        assert line.endswith("/ 96MiB")
        refused = box("update", "--memory-reservation", "1g", "grow")
        assert refused.code == 1
        assert inspect(box, "grow")["HostConfig"]["MemoryReservation"] == 0
        box.ok("rm", "-f", "grow")

    def test_restart_policy_of_a_running_container(self, box: Proa) -> None:
        box.ok("run", "-d", "--name", "now", *SLEEP)
        box.ok("update", "--restart", "always", "now")
        box.ok("kill", "now")
        deadline = time.monotonic() + AWAIT_S
        while inspect(box, "now")["RestartCount"] < 1:
            assert time.monotonic() < deadline
        box.ok("rm", "-f", "now")

    def test_a_stopped_container(self, box: Proa) -> None:
        box.ok("create", "--name", "later", *SLEEP)
        box.ok("update", "--cpus", "0.5", "--label-add", "k=v", "later")
        document = inspect(box, "later")
        assert document["HostConfig"]["NanoCpus"] == 500_000_000
        assert document["Config"]["Labels"]["k"] == "v"
        box.ok("rm", "later")

    def test_no_restart_policy_with_rm(self, box: Proa) -> None:
        box.ok("run", "-d", "--rm", "--name", "brief", *SLEEP)
        refused = box("update", "--restart", "always", "brief")
        assert refused.code == 1
        assert "restart policy" in refused.stderr
        box.ok("rm", "-f", "brief")


class TestTop:
    def test_processes(self, box: Proa) -> None:
        box.ok("run", "-d", "--name", "busy", "-u", "5", *SLEEP)
        header, row = box.ok("top", "busy").splitlines()
        assert header.split() == ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]
        assert re.match(r"5 +\d+ .* sleep 600$", row)
        assert box.ok("top", "busy", "-o", "user,comm").splitlines()[1].split() == ["5", "sleep"]
        assert box.ok("top", "busy", "aux").splitlines()[0].startswith("USER")
        refused = box("top", "busy", "--forest")
        assert refused.code == 1
        assert "--forest" in refused.stderr
        box.ok("rm", "-f", "busy")

    def test_a_stopped_container_has_none(self, box: Proa) -> None:
        box.ok("create", "--name", "idle", "busybox")
        refused = box("top", "idle")
        assert refused.code == 1
        assert "is not running" in refused.stderr
        box.ok("rm", "idle")


def test_stats(box: Proa) -> None:
    box.ok("run", "-d", "--name", "burn", "--network", "none", "busybox",
           "sh", "-c", "while :; do :; done")  # fmt: skip
    row = json.loads(box.ok("stats", "--no-stream", "--format", "json", "burn"))
    assert row["Name"] == "burn"
    assert float(row["CPUPerc"].rstrip("%")) > 5
    assert int(row["PIDs"]) >= 1
    assert box.ok("stats", "--no-stream").splitlines()[1].split()[1] == "burn"
    box.ok("rm", "-f", "burn")


class TestEvents:
    def test_a_life(self, box: Proa) -> None:
        since = f"{time.time():.9f}"
        assert box("run", "--name", "seen", *SLEEP[:3], "sh", "-c", "exit 3").code == 3
        box.ok("rm", "seen")
        lines = box.ok("events", "--since", since, "--until", f"{time.time():.9f}",
                       "-f", "type=container").splitlines()  # fmt: skip
        assert [line.split()[2] for line in lines] == ["create", "start", "die", "destroy"]
        assert "exitCode=3" in lines[2]

    def test_a_stop_and_a_restart(self, box: Proa) -> None:
        box.ok("run", "-d", "--name", "ends", "--stop-signal", "USR1", *SLEEP)
        since = f"{time.time():.9f}"
        box.ok("restart", "-t", "0", "ends")
        box.ok("stop", "-t", "0", "ends")
        form = '{{.Action}}{{with index .Actor.Attributes "signal"}} {{.}}{{end}}'
        lines = box.ok("events", "--since", since, "--until", f"{time.time():.9f}",
                       "-f", "container=ends", "--format", form).splitlines()  # fmt: skip
        killed = ["kill 10", "kill 9", "die", "stop"]
        assert lines == [*killed, "start", "restart", *killed]
        assert box.ok("inspect", "-f", "{{json .State.Health}}", "ends") == "null"
        box.ok("rm", "ends")

    def test_commands_inside(self, box: Proa) -> None:
        box.ok("run", "-d", "--name", "busy", *SLEEP)
        since = f"{time.time():.9f}"
        assert box("exec", "busy", "sh", "-c", "exit 3").code == 3
        words = ("events", "--since", since, "-f", "container=busy", "-f", "event=exec_create",
                 "-f", "event=exec_start", "-f", "event=exec_die", "--format", "json")  # fmt: skip
        found: list[dict[str, Any]] = []
        deadline = time.monotonic() + AWAIT_S
        while len(found) < 3 and time.monotonic() < deadline:  # told after the answer
            text = box.ok(*words, "--until", f"{time.time():.9f}")
            found = [json.loads(line) for line in text.splitlines()]
        command = "sh -c exit 3"
        assert [event["Action"] for event in found] == [
            f"exec_create: {command}", f"exec_start: {command}", "exec_die",
        ]  # fmt: skip
        assert found[-1]["Actor"]["Attributes"]["exitCode"] == "3"
        assert len({event["Actor"]["Attributes"]["execID"] for event in found}) == 1
        box.ok("rm", "-f", "busy")

    def test_following(self, box: Proa) -> None:
        with box.spawn("events", "-f", "container=live", "--format", "{{.Action}}") as follower:
            assert follower.stdout is not None
            deadline = time.monotonic() + AWAIT_S
            first = b""
            attempts = 0
            while not first and time.monotonic() < deadline:
                # The follower may not have begun yet: life goes on until it tells of one.
                box.ok("create", "--name", "live", "busybox")
                box.ok("rm", "live")
                attempts += 1
                import select

                if select.select([follower.stdout], [], [], 0.2)[0]:
                    first = follower.stdout.readline()
            assert first.strip() in (b"create", b"destroy")
            follower.terminate()

    def test_an_unknown_filter(self, box: Proa) -> None:
        refused = box("events", "--until", "1s", "-f", "nx=1")
        assert refused.code == 1
        assert "nx" in refused.stderr


def test_container_prune(box: Proa) -> None:
    box.ok("run", "-d", "--name", "up", *SLEEP)
    stopped = box.ok("create", "--name", "down", "-l", "keep=no", "busybox")
    kept = box.ok("create", "--name", "kept", "-l", "keep=yes", "busybox")
    said = box.ok("container", "prune", "-f", "--filter", "label!=keep=yes")
    assert stopped in said
    assert kept not in said
    assert "Total reclaimed space:" in said
    assert sorted(box.ok("ps", "-a", "--format", "{{.Names}}").split()) == ["kept", "up"]
    assert box("container", "prune", stdin=b"n\n").code == 0
    assert kept in box.containers()
    box.ok("rm", "-f", "up", "kept")
