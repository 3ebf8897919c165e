"""Images for another kernel or another machine: refused in a sentence, or run by an emulator."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from proa.oci.platform import host_platform
from tests.support import remains
from tests.support.emulation import REGISTRY, registered_aarch64, without_aarch64
from tests.support.engines import Proa, temporary_root
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
    name = load_made_for(fresh_proa, tmp_path / "image.tar", "linux", "sparc64")
    before = remains.holdings(fresh_proa)
    done = fresh_proa(*RUN, name, "hello")
    assert (done.code, done.stdout) == (125, "")
    (sentence,) = done.stderr.splitlines()
    host = f"linux/{host_platform().architecture}"
    for word in (name, "linux/sparc64", host, "no emulator", "qemu-user-static"):
        assert word in sentence, sentence
    assert remains.holdings(fresh_proa) == before


def test_the_hosts_namespace_needs_the_hosts_registry(fresh_proa: Proa, tmp_path: Path) -> None:
    """A container without a user namespace of its own has no registry of its own either."""
    name = load_made_for(fresh_proa, tmp_path / "image.tar", "linux", FOREIGN)
    with without_aarch64():
        done = fresh_proa(*RUN, "--userns", "host", name, "hello")
    assert (done.code, done.stdout) == (125, "")
    assert f"proa system emulate install {FOREIGN}" in done.stderr


@pytest.mark.requires("busybox")
def test_a_platform_that_is_asked_for_and_not_the_images(fresh_proa: Proa) -> None:
    fresh_proa.ok("load", "-q", "-i", busybox_archive())
    done = fresh_proa(*RUN, "--platform", "windows/amd64", "busybox", "true")
    assert done.code == 125
    (sentence,) = done.stderr.splitlines()
    assert "windows/amd64" in sentence
    assert f"linux/{host_platform().architecture}" in sentence


@pytest.mark.requires("busybox")
def test_the_vm_isolation_needs_a_kernel(fresh_proa: Proa) -> None:
    fresh_proa.ok("load", "-q", "-i", busybox_archive())
    before = remains.holdings(fresh_proa)
    for words in (("--isolation", "vm"), ("--runtime", "proa-vm")):
        done = fresh_proa(*RUN, *words, "busybox", "true")
        assert done.code == 125
        (sentence,) = done.stderr.splitlines()
        assert "proa vm kernel install" in sentence
    assert remains.settled(lambda: sorted(remains.holdings(fresh_proa) ^ before)) == []


@pytest.fixture(scope="module")
def arm64_root() -> Iterator[Proa]:
    """An engine with a real arm64 Debian. The image takes minutes to make and is kept."""
    with registered_aarch64():
        archive = debian_arm64_archive()
    with temporary_root() as proa:
        proa.ok("load", "-q", "--platform", "linux/arm64", "-i", archive)
        yield proa
        proa.remove_all()


@pytest.mark.requires("qemu-aarch64-static", "mmdebstrap")
@pytest.mark.timeout(300)
class TestEmulated:
    @pytest.mark.requires("binfmt-userns")
    def test_a_registry_of_its_own(self, arm64_root: Proa) -> None:
        """On Linux 6.7 and later; the host's registry has no such entry and gets none."""
        with without_aarch64():
            before = host_entries()
            code, out, err = arm64_root(*RUN, DEBIAN, "uname", "-m")
            assert (code, out) == (0, "aarch64\n")
            assert "linux/arm64" in err
            assert "emulated by qemu-aarch64" in err
            asked = arm64_root(*RUN, "--platform", "linux/arm64", DEBIAN, "apt", "--version")
            assert (asked.code, asked.stderr) == (0, "")
            assert "(arm64)" in asked.stdout
            assert arm64_root.ok(*RUN, "-u", "nobody", DEBIAN, "id", "-un") == "nobody"
            web = ("run", "-d", "--name", "web", "--network", "none", DEBIAN, "sleep", "600")
            arm64_root.ok(*web)
            assert arm64_root.ok("exec", "web", "dpkg", "--print-architecture") == "arm64"
            entry = arm64_root.ok("exec", "web", "cat", f"{REGISTRY}/proa-aarch64")
            assert "interpreter /usr/bin/qemu-aarch64-static" in entry
            assert "flags: OCF" in entry
            line = "echo :x:E::x::/bin/true: > /proc/sys/fs/binfmt_misc/register"
            refused = arm64_root("exec", "web", "sh", "-c", line)
            assert "Read-only file system" in refused.stderr
            assert host_entries() == before
            arm64_root.ok("restart", "-t", "0", "web")
            assert arm64_root.ok("exec", "web", "uname", "-m") == "aarch64"
            arm64_root.ok("rm", "-f", "web")

    def test_the_hosts_registry(self, arm64_root: Proa) -> None:
        """Registered and undone by ``proa system emulate``; others' entries stay."""
        before = host_entries()
        with without_aarch64():
            assert "arm64: /usr/bin/qemu-aarch64-static" in arm64_root.ok(
                "system", "emulate", "install", "arm64"
            )
            try:
                assert arm64_root.ok("system", "emulate", "install", "arm64") == ""
                listed = arm64_root.ok("system", "emulate", "list")
                assert re.search(r"^arm64 +/usr/bin/qemu-\S+ +proa-aarch64 ", listed, re.MULTILINE)
                host = ("--userns", "host", "--platform", "linux/arm64")
                assert arm64_root.ok(*RUN, *host, DEBIAN, "uname", "-m") == "aarch64"
            finally:
                assert arm64_root.ok("system", "emulate", "remove") == "arm64"
            assert arm64_root.ok("system", "emulate", "remove", "arm64") == ""
        assert host_entries() == before

    def test_wrong_words(self, arm64_root: Proa) -> None:
        own = host_platform().architecture
        for words, why in (
            (("install", "vax"), "unknown architecture 'vax'"),
            (("install", own), f"{own} is this machine's own"),
            (("uninstall",), "unknown verb: uninstall"),
        ):
            done = arm64_root("system", "emulate", *words)
            assert (done.code, done.stdout) == (1, "")
            assert why in done.stderr


def host_entries() -> list[str]:
    return sorted(os.listdir(REGISTRY))


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


@pytest.mark.requires("busybox")
def test_debug_shows_the_plan_that_another_process_executes(fresh_proa: Proa) -> None:
    fresh_proa.ok("load", "-q", "-i", busybox_archive())
    words = ("--name", "web", "--network", "none", "busybox", "sleep", "1000")
    fresh_proa.ok("create", *words)
    for verb, call in ((("start", "web"), "sleep"), (("exec", "web", "echo", "Hello"), "echo")):
        code, _, err = fresh_proa("--debug", *verb)
        assert code == 0
        plan = [line for line in err.splitlines() if " runtime.plan " in line]
        assert any(f'execve(\\"/bin/{call}\\"' in line for line in plan)
        assert "runtime.plan" not in fresh_proa("exec", "web", "true").stderr


def test_what_the_engine_says_of_itself(fresh_proa: Proa) -> None:
    version = fresh_proa.ok("version")
    assert f"Arch: {host_platform().architecture}" in version
    assert f"Kernel Version: {os.uname().release}" in version
    info = fresh_proa.ok("info")
    for line in ("Isolation: process", f"Docker Root Dir: {fresh_proa.root}", "name=seccomp"):
        assert line in info
