"""Namespaces that containers share: ``--pid``, ``--ipc``, ``--uts``, ``--userns`` and others."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

import pytest

from tests.support.engines import Completed, Proa
from tests.support.images import ensure_busybox

pytestmark = pytest.mark.requires("root", "userns", "overlay", "busybox")

UID_MAP = re.compile(r"\s*0\s+(\d+)\s+\d+")


@pytest.fixture
def box(proa: Proa) -> Proa:
    ensure_busybox(proa)
    return proa


@pytest.fixture
def web(box: Proa) -> Iterator[str]:
    """A container that offers its IPC objects, with a file in its /dev/shm."""
    script = "echo from-web > /dev/shm/file; echo up; exec sleep 1000"
    words = ("run", "-d", "--name", "web", "--ipc", "shareable", "--network", "none", "busybox")
    box.ok(*words, "sh", "-c", script)
    while "up" not in box.ok("logs", "web"):
        pass
    yield "web"
    box.ok("rm", "-f", "web")


def run(box: Proa, *words: str) -> Completed:
    return box("run", "--rm", "--network", "none", *words)


def namespace(box: Proa, kind: str, *words: str) -> str:
    return run(box, *words, "busybox", "readlink", f"/proc/self/ns/{kind}").stdout.strip()


@pytest.mark.parametrize("kind", ["pid", "ipc", "uts", "user", "cgroup"])
def test_of_the_host(box: Proa, kind: str) -> None:
    flag = {"user": "userns", "cgroup": "cgroupns"}.get(kind, kind)
    assert namespace(box, kind, f"--{flag}", "host") == os.readlink(f"/proc/self/ns/{kind}")
    assert namespace(box, kind) != os.readlink(f"/proc/self/ns/{kind}")


def test_the_hosts_cgroups_are_shown_read_only(box: Proa) -> None:
    script = "ls /sys/fs/cgroup; for d in /sys/fs/cgroup/*; do mkdir $d/made; done"
    done = run(box, "--cgroupns", "host", "busybox", "sh", "-c", script)
    assert done.stdout.split() == sorted(os.listdir("/sys/fs/cgroup"))
    assert "Read-only" in done.stderr


def test_processes_of_another_container(box: Proa, web: str) -> None:
    script = "ps -o args; kill -0 1 && echo mine; cat /proc/self/uid_map; : > /file"
    done = run(box, "--pid", f"container:{web}", "busybox", "sh", "-c", script)
    assert "sleep 1000" in done.stdout
    assert "mine" in done.stdout
    base = UID_MAP.search(box.ok("exec", web, "cat", "/proc/self/uid_map"))
    assert base is not None
    assert base[0].split() == done.stdout.split()[-3:]


def test_one_that_shares_processes_is_like_any_other(box: Proa, web: str) -> None:
    words = ("run", "-d", "--name", "side", "--pid", "container:web", "--network", "none")
    box.ok(*words, "busybox", "sh", "-c", ": > /made; exec sleep 2000")
    assert "sleep 2000" in box.ok("exec", "side", "ps", "-o", "args")
    assert "root" in box.ok("top", "side").splitlines()[1]
    box.ok("cp", "/etc/hostname", "side:/copied")
    assert box.ok("exec", "side", "stat", "-c", "%u", "/copied") == "0"
    box.ok("pause", "side")
    box.ok("unpause", "side")
    box.ok("stop", "--time", "0", "side")
    assert "sleep 1000" in box.ok("exec", web, "ps", "-o", "args")
    box.ok("start", "side")
    box.ok("stop", "--time", "0", web)
    assert box.ok("wait", "side") == "137"
    box.ok("rm", "side")


def test_ipc_objects_of_another_container(box: Proa, web: str) -> None:
    script = (
        "cat /dev/shm/file; echo back > /dev/shm/back; readlink /proc/self/ns/ipc; ls /dev/mqueue"
    )
    done = run(box, "--ipc", f"container:{web}", "busybox", "sh", "-c", script)
    own = box.ok("exec", web, "readlink", "/proc/self/ns/ipc")
    assert done.stdout.split() == ["from-web", own]
    assert box.ok("exec", web, "cat", "/dev/shm/back") == "back"
    assert box.ok("exec", web, "stat", "-c", "%u", "/dev/shm/back") == "0"


def test_the_hosts_shared_memory(box: Proa) -> None:
    done = run(box, "--ipc", "host", "busybox", "df", "/dev/shm")
    size = os.statvfs("/dev/shm")
    assert str(size.f_blocks * size.f_frsize // 1024) in done.stdout


class TestRefusals:
    def test_one_that_does_not_offer_its_objects(self, box: Proa) -> None:
        box.ok("run", "-d", "--name", "own", "--network", "none", "busybox", "sleep", "1000")
        done = run(box, "--ipc", "container:own", "busybox", "true")
        assert (done.code, "--ipc shareable" in done.stderr) == (125, True)
        box.ok("rm", "-f", "own")

    def test_one_that_does_not_run(self, box: Proa) -> None:
        box.ok("create", "--name", "own", "--network", "none", "busybox", "true")
        done = run(box, "--pid", "container:own", "busybox", "true")
        assert (done.code, "proa start own" in done.stderr) == (125, True)
        box.ok("rm", "own")

    def test_one_that_does_not_exist(self, box: Proa) -> None:
        done = run(box, "--pid", "container:nonesuch", "busybox", "true")
        assert (done.code, "nonesuch" in done.stderr) == (125, True)

    def test_a_name_for_the_host(self, box: Proa) -> None:
        done = run(box, "--uts", "host", "--hostname", "other", "busybox", "true")
        assert done.code == 125
        assert "conflicting options: hostname and the UTS mode" in done.stderr


def test_the_hosts_users_are_shared_along(box: Proa) -> None:
    words = ("run", "-d", "--name", "web", "--userns", "host", "--network", "none", "busybox")
    box.ok(*words, "sleep", "1000")
    done = run(box, "--pid", "container:web", "busybox", "readlink", "/proc/self/ns/user")
    assert done.stdout.strip() == os.readlink("/proc/self/ns/user")
    assert "user namespace, as web is" in done.stderr
    box.ok("rm", "-f", "web")
