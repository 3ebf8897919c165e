"""``create``, ``start``, ``stop``, ``kill``, ``rm``, ``wait``, ``ps`` and ``inspect``."""

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
# Init gets no signal that it does not handle; a shell with a trap does.
POLITE = "trap 'echo bye; exit 7' TERM; echo ready; while :; do sleep 0.05; done"


@pytest.fixture
def box(proa: Proa) -> Proa:
    """The command line on a root that has the busybox image."""
    ensure_busybox(proa)
    return proa


def inspect(box: Proa, name: str) -> dict[str, Any]:
    (document,) = json.loads(box.ok("inspect", name))
    assert isinstance(document, dict)
    return document


def start_polite(box: Proa, name: str) -> None:
    box.ok("run", "-d", "--name", name, "--network", "none", "busybox", "sh", "-c", POLITE)
    with box.spawn("logs", "-f", name) as following:
        assert following.stdout is not None
        assert following.stdout.readline() == b"ready\n"
        following.kill()


class TestLife:
    def test_from_create_to_rm(self, box: Proa) -> None:
        container = box.ok("create", "--name", "life", "--network", "none", "busybox", "true")
        assert inspect(box, "life")["State"]["Status"] == "created"
        assert box.ok("start", "life") == "life"
        assert box.ok("wait", "life") == "0"
        state = inspect(box, "life")["State"]
        assert (state["Status"], state["ExitCode"], state["Running"]) == ("exited", 0, False)
        assert box.ok("rm", container[:12]) == container[:12]
        assert box("inspect", "life").code == 1

    def test_files_survive_a_restart(self, box: Proa) -> None:
        script = "cat /kept 2>/dev/null || echo first > /kept"
        box.ok("run", "--name", "again", "--network", "none", "busybox", "sh", "-c", script)
        done = box("start", "-a", "again")
        assert done == (0, "first\n", "")
        box.ok("rm", "again")

    def test_start_attached_gives_the_exit_code(self, box: Proa) -> None:
        words = ("--network", "none", "busybox", "sh", "-c", "echo hi; exit 5")
        box.ok("create", "--name", "five", *words)
        assert box("start", "-a", "five") == (5, "hi\n", "")
        box.ok("rm", "five")

    def test_start_with_input(self, box: Proa) -> None:
        box.ok("create", "-i", "--name", "cat", "--network", "none", "busybox", "cat")
        assert box("start", "-ai", "cat", stdin=b"through") == (0, "through", "")
        box.ok("rm", "cat")


class TestStop:
    def test_the_stop_signal_comes_first(self, box: Proa) -> None:
        start_polite(box, "polite")
        assert box.ok("stop", "polite") == "polite"
        assert inspect(box, "polite")["State"]["ExitCode"] == 7
        assert box.ok("logs", "polite") == "ready\nbye"
        assert box.ok("stop", "polite") == "polite"  # once more is no error
        box.ok("rm", "polite")

    def test_kill_comes_after_the_timeout(self, box: Proa) -> None:
        box.ok("run", "-d", "--name", "deaf", *SLEEP)
        before = time.monotonic()
        box.ok("stop", "-t", "1", "deaf")
        assert 0.9 < time.monotonic() - before < 8
        assert inspect(box, "deaf")["State"]["ExitCode"] == 137
        box.ok("rm", "deaf")

    def test_several_at_once(self, box: Proa) -> None:
        names = [f"many{number}" for number in range(4)]
        for name in names:
            box.ok("run", "-d", "--name", name, *SLEEP)
        before = time.monotonic()
        assert box.ok("stop", "-t", "1", *names).split() == names
        assert time.monotonic() - before < 3.5  # one after the other: 4 s
        assert box.ok("rm", *names).split() == names

    def test_own_signal(self, box: Proa) -> None:
        script = "trap 'exit 3' USR1; echo ready; while :; do sleep 0.05; done"
        box.ok(
            "run", "-d", "--name", "usr", "--stop-signal", "USR1", "--network", "none",
            "busybox", "sh", "-c", script,
        )  # fmt: skip
        with box.spawn("logs", "-f", "usr") as following:
            assert following.stdout is not None
            following.stdout.readline()
            following.kill()
        box.ok("stop", "usr")
        assert inspect(box, "usr")["State"]["ExitCode"] == 3
        box.ok("rm", "usr")


class TestKill:
    def test_kill(self, box: Proa) -> None:
        box.ok("run", "-d", "--name", "killed", *SLEEP)
        assert box.ok("kill", "killed") == "killed"
        assert box.ok("wait", "killed") == "137"
        done = box("kill", "killed")
        assert done.code == 1
        assert "killed" in done.stderr
        box.ok("rm", "killed")

    def test_a_signal_by_name(self, box: Proa) -> None:
        start_polite(box, "named")
        box.ok("kill", "-s", "SIGTERM", "named")
        assert box.ok("wait", "named") == "7"
        box.ok("rm", "named")


class TestRm:
    def test_a_running_container_needs_force(self, box: Proa) -> None:
        box.ok("run", "-d", "--name", "up", *SLEEP)
        done = box("rm", "up")
        assert (done.code, done.stdout) == (1, "")
        assert "up" in done.stderr
        assert box.ok("rm", "-f", "up") == "up"
        assert box.containers() == []

    def test_unknown(self, box: Proa) -> None:
        done = box("rm", "nx")
        assert done == (1, "", done.stderr)
        assert "no such container: nx" in done.stderr
        assert box("rm", "-f", "nx").code == 0


def test_wait_is_told_the_end(box: Proa) -> None:
    start_polite(box, "awaited")
    with box.spawn("wait", "awaited") as waiting:
        box.ok("stop", "awaited")
        assert waiting.stdout is not None
        assert waiting.stdout.read() == b"7\n"
        assert waiting.wait(timeout=10) == 0
    box.ok("rm", "awaited")


class TestPs:
    def test_table(self, box: Proa) -> None:
        box.ok("run", "-d", "--name", "up", *SLEEP)
        box("run", "--name", "gone", "--network", "none", "busybox", "sh", "-c", "exit 3")
        header, row = box.ok("ps").splitlines()
        assert header.split() == [
            "CONTAINER", "ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES",
        ]  # fmt: skip
        assert re.fullmatch(r'[0-9a-f]{12}   busybox +"sleep 600" +\S.* ago +Up .* +up', row)
        rows = box.ok("ps", "-a").splitlines()[1:]
        assert len(rows) == 2
        assert re.search(r"Exited \(3\) .* ago +gone$", rows[0])  # newest first
        box.ok("rm", "-f", "up", "gone")

    def test_filters_and_formats(self, box: Proa) -> None:
        for name, label in (("a1", "x=1"), ("a2", "x=2")):
            box.ok("create", "--name", name, "-l", label, "busybox")
        names = "{{.Names}}"

        def ps(*words: str) -> list[str]:
            return box.ok("ps", "-a", "--format", names, *words).split()

        assert ps() == ["a2", "a1"]
        assert ps("-f", "label=x=1") == ["a1"]
        assert ps("-f", "label=x") == ["a2", "a1"]
        assert ps("-f", "name=a1", "-f", "status=created") == ["a1"]
        assert ps("-f", "status=running") == []
        assert ps("-n", "1") == ["a2"]
        assert box.ok("ps", "-l", "--format", names) == "a2"
        document = json.loads(box.ok("ps", "-a", "--format", "json", "-f", "name=a1"))
        assert document["State"] == "created"
        assert "x=1" in document["Labels"].split(",")
        done = box("ps", "-f", "nx=1")
        assert done.code == 1
        assert "nx" in done.stderr
        box.ok("rm", "a1", "a2")

    def test_size(self, box: Proa) -> None:
        box.ok("run", "--name", "fat", "--network", "none", "busybox",
               "sh", "-c", "head -c 5000000 /dev/zero > /fat")  # fmt: skip
        assert re.match(
            r"5(\.\d+)?MB \(virtual .*MB\)", box.ok("ps", "-as", "--format", "{{.Size}}")
        )
        box.ok("rm", "fat")


class TestInspect:
    def test_what_was_asked_for(self, box: Proa) -> None:
        box.ok(
            "create", "--name", "asked", "-e", "A=1", "-w", "/w", "-u", "5", "-m", "64m",
            "--cpus", "0.5", "--restart", "on-failure:2", "--read-only", "-l", "k=v",
            "--network", "none", "busybox", "echo", "x",
        )  # fmt: skip
        document = inspect(box, "asked")
        config, host = document["Config"], document["HostConfig"]
        assert document["Name"] == "/asked"
        assert "A=1" in config["Env"]
        assert (config["WorkingDir"], config["User"], config["Cmd"]) == ("/w", "5", ["echo", "x"])
        assert config["Labels"]["k"] == "v"
        assert (host["Memory"], host["NanoCpus"]) == (64 << 20, 500_000_000)
        assert host["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 2}
        assert host["ReadonlyRootfs"] is True
        assert host["NetworkMode"] == "none"
        box.ok("rm", "asked")

    def test_templates(self, box: Proa) -> None:
        box.ok("run", "-d", "--name", "shown", *SLEEP)
        pid = box.ok("inspect", "-f", "{{.State.Pid}}", "shown")
        assert int(pid) > 1
        assert box.ok("inspect", "-f", "{{json .Config.Cmd}}", "shown") == '["sleep","600"]'
        done = box("inspect", "-f", "{{.Nope}}", "shown")
        assert (done.code, done.stdout) == (1, "")
        assert "Nope" in done.stderr
        box.ok("rm", "-f", "shown")

    def test_missing(self, box: Proa) -> None:
        done = box("inspect", "nx")
        assert (done.code, done.stdout) == (1, "[]\n")
        assert "no such object: nx" in done.stderr
