"""Mount propagation: who sees the mounts that others make (mount_namespaces(7))."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator

import pytest

from tests.support.engines import Proa
from tests.support.images import ensure_busybox

pytestmark = pytest.mark.requires("root", "userns", "overlay", "busybox")


@pytest.fixture
def box(proa: Proa) -> Proa:
    ensure_busybox(proa)
    return proa


@pytest.fixture
def shared() -> Iterator[str]:
    """A shared mount of the host with a directory ``sub`` in it."""
    with tempfile.TemporaryDirectory(prefix="proa-shared-", dir="/var/tmp") as place:
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", place], check=True)
        subprocess.run(["mount", "--make-shared", place], check=True)
        os.mkdir(f"{place}/sub")
        try:
            yield place
        finally:
            subprocess.run(["umount", "-R", place], check=True)


@pytest.mark.parametrize(("mode", "seen"), [("rprivate", False), ("rslave", True)])
def test_a_mount_of_the_host_shows_up(box: Proa, shared: str, mode: str, seen: bool) -> None:
    words = ("--network", "none", "-v", f"{shared}:/data:{mode}", "busybox", "sleep", "1000")
    box.ok("run", "-d", "--name", "web", *words)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", f"{shared}/sub"], check=True)
    mounts = box.ok("exec", "web", "cat", "/proc/self/mountinfo")
    assert (" /data/sub " in mounts) is seen
    box.ok("rm", "-f", "web")


def test_a_mount_of_the_container_reaches_the_host(box: Proa, shared: str) -> None:
    words = ("run", "--rm", "--network", "none", "--privileged", "-v", f"{shared}:/data:rshared")
    box.ok(*words, "busybox", "mount", "-t", "tmpfs", "tmpfs", "/data/sub")
    assert os.path.ismount(f"{shared}/sub")


def test_one_with_a_user_namespace_of_its_own_only_listens(box: Proa, shared: str) -> None:
    words = ("run", "--rm", "--network", "none", "--cap-add", "SYS_ADMIN", "-v")
    command = ("busybox", "mount", "-t", "tmpfs", "tmpfs", "/data/sub")
    done = box(*words, f"{shared}:/data:rshared", *command)
    assert "--userns host" in done.stderr
    assert not os.path.ismount(f"{shared}/sub")


@pytest.mark.parametrize("mode", ["shared", "rshared", "slave", "rslave"])
def test_a_private_source_is_refused(box: Proa, shared: str, mode: str) -> None:
    subprocess.run(["mount", "--make-private", shared], check=True)
    done = box("run", "--rm", "-v", f"{shared}/sub:/data:{mode}", "busybox", "true")
    assert done.code == 125
    assert f"mounted on {shared} but it is not a shared" in done.stderr
