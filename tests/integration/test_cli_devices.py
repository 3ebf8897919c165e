"""Devices of the host in containers: ``--device``, ``--device-cgroup-rule``, ``--privileged``."""

from __future__ import annotations

import os

import pytest

from tests.support.engines import Completed, Proa
from tests.support.images import ensure_busybox

pytestmark = pytest.mark.requires("root", "userns", "overlay", "busybox")

OPEN = "true < $0 && echo read; true > $0 && echo write"
"""busybox opens the device; loop-control (10:237) does nothing at that."""

LOOP = "/dev/loop-control"


@pytest.fixture
def box(proa: Proa) -> Proa:
    ensure_busybox(proa)
    return proa


def run(box: Proa, *words: str) -> Completed:
    return box("run", "--rm", "--network", "none", *words)


@pytest.mark.parametrize(
    ("flag", "inside", "said"),
    [
        ("/dev/loop-control", "/dev/loop-control", "read\nwrite\n"),
        ("/dev/loop-control:/dev/in/side", "/dev/in/side", "read\nwrite\n"),
        ("/dev/loop-control:r", "/dev/loop-control", "read\n"),
        ("/dev/loop-control:/dev/x:w", "/dev/x", "write\n"),
    ],
)
def test_a_device_is_usable_as_far_as_allowed(box: Proa, flag: str, inside: str, said: str) -> None:
    assert run(box, "--device", flag, "busybox", "sh", "-c", OPEN, inside).stdout == said


def test_a_device_is_a_node_with_the_hosts_number_and_mode(box: Proa) -> None:
    info = os.stat(LOOP)
    done = run(box, "--device", LOOP, "busybox", "stat", "-c", "%F %t:%T %a", LOOP)
    kind, number, mode = "character special file", "a:ed", f"{info.st_mode & 0o7777:o}"
    assert done.stdout == f"{kind} {number} {mode}\n"


def test_a_directory_brings_its_devices(box: Proa) -> None:
    done = run(box, "--device", "/dev/net:/dev/other", "busybox", "ls", "/dev/other")
    assert "tun" in done.stdout.split()


def test_a_device_of_its_own_user_stays_closed_to_others(box: Proa) -> None:
    done = run(box, "-u", "1000", "--device", LOOP, "busybox", "sh", "-c", OPEN, LOOP)
    assert done.stdout == ""
    assert "denied" in done.stderr.lower()


@pytest.mark.parametrize(
    ("path", "reason"),
    [("/dev/nonesuch", "no such file"), ("/etc/passwd", "not a device node"),
     ("/etc", "not a device node")],
)  # fmt: skip
def test_what_is_no_device_is_refused_at_create(box: Proa, path: str, reason: str) -> None:
    done = run(box, "--device", path, "busybox", "true")
    assert done.code == 125
    assert path in done.stderr
    assert reason in done.stderr
    assert box.containers() == []


@pytest.mark.parametrize(
    ("rules", "said"),
    [((), ""), (("c 10:237 r",), "read\n"), (("c 10:* rw",), "read\nwrite\n"),
     (("a *:* rwm",), "read\nwrite\n")],
)  # fmt: skip
def test_rules_decide_over_nodes_that_a_container_makes(
    box: Proa, rules: tuple[str, ...], said: str
) -> None:
    words = [word for rule in rules for word in ("--device-cgroup-rule", rule)]
    script = f"mknod /node c 10 237; {OPEN}"
    done = run(box, "--userns", "host", *words, "busybox", "sh", "-c", script, "/node")
    assert done.stdout == said


def test_a_privileged_container_has_the_hosts_devices(box: Proa) -> None:
    script = f"ls /dev; {OPEN}"
    done = run(box, "--privileged", "busybox", "sh", "-c", script, LOOP)
    assert set(done.stdout.split()) >= {"loop-control", "fuse", "null", "read", "write"}


def test_devices_are_shown_by_inspect(box: Proa) -> None:
    words = ("--device", f"{LOOP}:/dev/x:r", "--device-cgroup-rule", "c 1:3 r", "busybox", "true")
    name = box.ok("create", "--network", "none", *words)
    template = "{{json .HostConfig.Devices}} {{json .HostConfig.DeviceCgroupRules}}"
    shown = box.ok("inspect", "-f", template, name)
    assert '"PathOnHost":"/dev/loop-control"' in shown
    assert '"PathInContainer":"/dev/x"' in shown
    assert shown.endswith('["c 1:3 r"]')
    box.ok("rm", name)
