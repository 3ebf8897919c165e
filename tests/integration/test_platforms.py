"""Images for another kernel or another machine: refused in a sentence, or run by an emulator."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from proa.oci.platform import host_platform
from tests.support import remains
from tests.support.emulation import registered_aarch64, without_aarch64
from tests.support.engines import Proa
from tests.support.images import DEBIAN, busybox_archive, debian_arm64_archive
from tests.support.layers import LayerBuilder, OciLayout

pytestmark = pytest.mark.requires("root", "userns", "overlay")

RUN = ("run", "--rm", "--network", "none")
FOREIGN = "arm64" if host_platform().architecture == "amd64" else "amd64"


def load_made_for(proa: Proa, path: Path, os_name: str, architecture: str) -> str:
    """Load an image whose config says that it is for that platform; return its name."""
    name = f"made-for:{os_name}-{architecture}"
    layout = OciLayout()
    tar = LayerBuilder().file("hello", b"hello", mode=0o755).tar()
    manifest = layout.image([tar], os=os_name, architecture=architecture)
    platform = {"os": os_name, "architecture": architecture}
    layout.add(manifest, name=f"docker.io/library/{name}", platform=platform)
    path.write_bytes(layout.tar())
    proa.ok("load", "-q", "--platform", f"{os_name}/{architecture}", "-i", str(path))
    return name


@pytest.mark.parametrize("verb", [RUN, ("run", "-d"), ("create",)], ids=" ".join)
@pytest.mark.parametrize("os_name", ["windows", "freebsd"])
def test_another_kernel_is_refused(
    fresh_proa: Proa, tmp_path: Path, os_name: str, verb: tuple[str, ...]
) -> None:
    name = load_made_for(fresh_proa, tmp_path / "image.tar", os_name, "amd64")
    before = remains.holdings(fresh_proa)
    done = fresh_proa(*verb, name, "hello")
    assert (done.code, done.stdout) == (125 if verb[0] == "run" else 1, "")
    (sentence,) = done.stderr.splitlines()
    for word in (name, os_name, "containers share the host's kernel", "use an image for linux/"):
        assert word in sentence, sentence
    assert remains.holdings(fresh_proa) == before


def test_another_machine_without_an_emulator_is_refused(fresh_proa: Proa, tmp_path: Path) -> None:
    architecture = "arm64" if FOREIGN == "arm64" else "s390x"
    name = load_made_for(fresh_proa, tmp_path / "image.tar", "linux", architecture)
    before = remains.holdings(fresh_proa)
    with without_aarch64():
        done = fresh_proa(*RUN, name, "hello")
    assert (done.code, done.stdout) == (125, "")
    (sentence,) = done.stderr.splitlines()
    host = f"linux/{host_platform().architecture}"
    for word in (name, f"linux/{architecture}", host, "no emulator", "qemu-user-static"):
        assert word in sentence, sentence
    assert remains.holdings(fresh_proa) == before


@pytest.mark.requires("busybox")
def test_a_platform_that_is_asked_for_and_not_the_images(fresh_proa: Proa) -> None:
    fresh_proa.ok("load", "-q", "-i", busybox_archive())
    done = fresh_proa(*RUN, "--platform", "windows/amd64", "busybox", "true")
    assert done.code == 125
    (sentence,) = done.stderr.splitlines()
    assert "windows/amd64" in sentence
    assert f"linux/{host_platform().architecture}" in sentence


@pytest.mark.requires("busybox")
def test_the_vm_isolation_is_refused_until_it_is_there(fresh_proa: Proa) -> None:
    fresh_proa.ok("load", "-q", "-i", busybox_archive())
    before = remains.holdings(fresh_proa)
    for words in (("--isolation", "vm"), ("--runtime", "proa-vm")):
        done = fresh_proa(*RUN, *words, "busybox", "true")
        assert done.code == 125
        (sentence,) = done.stderr.splitlines()
        assert "'vm'" in sentence
        assert "leave out --isolation" in sentence
    assert remains.settled(lambda: sorted(remains.holdings(fresh_proa) ^ before)) == []


class TestEmulated:
    """A real arm64 Debian on this machine. The image takes minutes to make and is kept."""

    @pytest.fixture
    def arm64(self, fresh_proa: Proa) -> Iterator[Proa]:
        with registered_aarch64():
            fresh_proa.ok(
                "load", "-q", "--platform", "linux/arm64", "-i", debian_arm64_archive(),
            )  # fmt: skip
            yield fresh_proa
            fresh_proa.remove_all()

    @pytest.mark.requires("qemu-aarch64-static", "mmdebstrap")
    @pytest.mark.timeout(300)
    def test_debian_runs(self, arm64: Proa) -> None:
        code, out, err = arm64(*RUN, DEBIAN, "uname", "-m")
        assert (code, out) == (0, "aarch64\n")
        assert "linux/arm64" in err
        assert "emulated by qemu-aarch64" in err
        asked = arm64(*RUN, "--platform", "linux/arm64", DEBIAN, "apt", "--version")
        assert (asked.code, asked.stderr) == (0, "")
        assert asked.stdout.startswith("apt ")
        assert "(arm64)" in asked.stdout
        assert arm64.ok(*RUN, "-u", "nobody", DEBIAN, "id", "-un") == "nobody"
        arm64.ok("run", "-d", "--name", "web", "--network", "none", DEBIAN, "sleep", "600")
        assert arm64.ok("exec", "web", "dpkg", "--print-architecture") == "arm64"


@pytest.mark.requires("busybox")
def test_debug_shows_the_launch_plan(fresh_proa: Proa) -> None:
    fresh_proa.ok("load", "-q", "-i", busybox_archive())
    words = (*RUN, "-e", "TOKEN=unspeakable", "busybox", "echo", "Hello")
    code, out, err = fresh_proa("--debug", *words)
    assert (code, out) == (0, "Hello\n")
    plan = [line for line in err.splitlines() if " runtime.plan " in line]
    numbers = [int(line.partition("number=")[2].split()[0]) for line in plan]
    assert numbers == list(range(len(plan)))
    for call in ("unshare(", "pivot_root(", "capset(", "seccomp(", 'execve(\\"/bin/echo\\"'):
        assert any(call in line for line in plan), call
    assert "TOKEN" in err
    assert "unspeakable" not in err


def test_what_the_engine_says_of_itself(fresh_proa: Proa) -> None:
    version = fresh_proa.ok("version")
    assert f"Arch: {host_platform().architecture}" in version
    assert f"Kernel Version: {os.uname().release}" in version
    info = fresh_proa.ok("info")
    for line in ("Isolation: process", f"Docker Root Dir: {fresh_proa.root}", "name=seccomp"):
        assert line in info
