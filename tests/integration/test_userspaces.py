"""Different userspaces on one kernel: bookworm, trixie, sid and busybox side by side."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.support.engines import Proa, temporary_root
from tests.support.images import busybox_archive, debian_archive, suite_archive

pytestmark = [
    pytest.mark.requires("root", "userns", "overlay", "busybox", "mmdebstrap"),
    pytest.mark.timeout(300),
]

SUITES = ("bookworm", "trixie", "sid")
IMAGES = (*(f"debian:{suite}" for suite in SUITES), "busybox:latest")


@pytest.fixture(scope="module")
def running() -> Iterator[Proa]:
    """An engine with a container of each image, all of them running at once."""
    archives = [debian_archive(), *map(suite_archive, SUITES[1:]), busybox_archive()]
    with temporary_root() as proa:
        for archive, image in zip(archives, IMAGES, strict=True):
            proa.ok("load", "-q", "-i", archive)
            name = image.replace(":", "-")
            proa.ok("run", "-d", "--name", name, "--network", "none", image, "sleep", "600")
        yield proa
        proa.remove_all()


def ask(proa: Proa, *command: str) -> dict[str, str]:
    """Return what a command says in each container."""
    return {image: proa.ok("exec", image.replace(":", "-"), *command) for image in IMAGES}


def test_one_kernel(running: Proa) -> None:
    assert len(running.ok("ps", "-q").split()) == len(IMAGES)
    assert set(ask(running, "uname", "-r").values()) == {os.uname().release}
    boots = set(ask(running, "cat", "/proc/sys/kernel/random/boot_id").values())
    with open("/proc/sys/kernel/random/boot_id") as file:
        assert boots == {file.read().strip()}


def test_different_userspaces(running: Proa) -> None:
    said = ask(running, "sh", "-c", "cat /etc/os-release 2>/dev/null || echo ID=none")
    codenames = {
        image: next(
            (line for line in text.splitlines() if line.startswith("VERSION_CODENAME=")), ""
        )
        for image, text in said.items()
    }
    assert codenames["debian:bookworm"] == "VERSION_CODENAME=bookworm"
    assert codenames["debian:trixie"] == "VERSION_CODENAME=trixie"
    assert "sid" in said["debian:sid"]
    assert said["busybox:latest"] == "ID=none"
    assert len(set(said.values())) == len(IMAGES)


def test_different_c_libraries(running: Proa) -> None:
    """The libraries are each image's own; busybox has none at all."""
    sums = ask(running, "sh", "-c", "md5sum /lib/*/libc.so.6 2>/dev/null || echo none")
    assert sums["busybox:latest"] == "none"
    assert len({text.split()[0] for text in sums.values()}) == len(IMAGES)


def test_what_one_does_no_other_sees(running: Proa) -> None:
    running.ok("exec", "debian-sid", "sh", "-c", "echo mark > /mark; hostname -F /mark || true")
    seen = {
        image: running("exec", image.replace(":", "-"), "test", "-e", "/mark").code
        for image in IMAGES
    }
    assert seen == {image: int(image != "debian:sid") for image in IMAGES}
    processes = ask(running, "sh", "-c", "ls -d /proc/[0-9]* | wc -l")
    assert all(int(count) <= 4 for count in processes.values())
