"""A container that shares its namespaces lures the one that joins."""

from __future__ import annotations

import pytest

from tests.support.engines import Proa
from tests.support.images import ensure_busybox

pytestmark = pytest.mark.requires("root", "userns", "overlay", "busybox")


@pytest.mark.parametrize("target", ["/", "/etc", "../../.."])
def test_shared_memory_that_is_a_link_to_the_host(proa: Proa, target: str) -> None:
    """/dev/shm of the shared container is looked up without following any link in it."""
    ensure_busybox(proa)
    script = f"umount /dev/shm; rmdir /dev/shm; ln -s {target} /dev/shm; echo up; exec sleep 1000"
    words = (
        "run",
        "-d",
        "--name",
        "lure",
        "--privileged",
        "--ipc",
        "shareable",
        "--network",
        "none",
    )
    proa.ok(*words, "busybox", "sh", "-c", script)
    while "up" not in proa.ok("logs", "lure"):
        pass
    sharing = ("run", "--rm", "--ipc", "container:lure", "--network", "none", "busybox")
    done = proa(*sharing, "ls", "/dev/shm/")
    assert done.code == 125
    assert done.stdout == ""
    assert "/dev/shm" in done.stderr
    proa.ok("rm", "-f", "lure")
