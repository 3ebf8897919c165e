"""CVE-2018-15664, CVE-2019-14271: copying while the container swaps links, and marker images."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import proa as package
from tests.support.engines import Proa
from tests.support.images import ensure_busybox

pytestmark = pytest.mark.requires("root", "userns", "overlay", "busybox")

ROUNDS = int(os.environ.get("PROA_ATTACK_ROUNDS", "1500"))
"""How many copies race the swap; the catalogue's 5,000 take two minutes."""

# busybox has no renameat2(RENAME_EXCHANGE): two renames in a row leave the same window open.
SWAP = """
mkdir -p /work/real; echo inside > /work/real/file
ln -s CANARY /work/evil
while :; do
  mv /work/dir /work/parked 2>/dev/null; mv -T /work/evil /work/dir 2>/dev/null
  mv -T /work/dir /work/evil 2>/dev/null; mv /work/parked /work/dir 2>/dev/null
done
"""


@pytest.fixture
def engine(proa: Proa) -> Iterator[package.Engine]:
    """An engine on a root that has the busybox image."""
    ensure_busybox(proa)
    with package.Engine(proa.root, proa.run_dir) as engine:
        yield engine


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Path]:
    """A directory of the host whose content must neither change nor come out."""
    place = tmp_path / "canary"
    place.mkdir()
    (place / "file").write_text("secret of the host")
    before = _digest(place)
    yield place
    assert _digest(place) == before, "the host's files were changed"


def _digest(place: Path) -> str:
    parts = [
        f"{path.relative_to(place)} {path.stat().st_mode} {path.stat().st_uid} "
        f"{path.read_bytes() if path.is_file() else b''!r}"
        for path in sorted(place.rglob("*"))
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _tar(name: str, data: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        member = tarfile.TarInfo(name)
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
    return out.getvalue()


@pytest.fixture
def swapping(engine: package.Engine, canary: Path) -> Iterator[package.Container]:
    """A container that swaps a directory with a link to the host's path of the canary."""
    script = "mkdir -p /work/dir; echo inside > /work/dir/file;" + SWAP.replace(
        "CANARY", str(canary)
    )
    config = package.ContainerConfig(
        image="busybox", command=("sh", "-c", script), network_mode="none"
    )
    with engine.containers.launch(config) as container:
        yield container


class TestCopyRace:
    def test_in(self, swapping: package.Container, canary: Path) -> None:
        landed = refused = 0
        for number in range(ROUNDS):
            try:
                swapping.put_archive("/work/dir", [_tar("planted", b"%d" % number)])
                landed += 1
            except package.errors.ProaError:
                refused += 1  # the link was there, or nothing
        assert landed, "no copy ever found the directory: nothing was raced"
        assert refused, "no copy ever found the link: nothing was raced"
        assert not (canary / "planted").exists()

    def test_out(self, swapping: package.Container) -> None:
        seen, refused = set(), 0
        for _ in range(ROUNDS):
            try:
                seen.add(swapping.read_file("/work/dir/file"))
            except package.errors.ProaError:
                refused += 1
        assert seen == {b"inside\n"}
        assert refused, "the link was never there: nothing was raced"

    def test_whole_directories_out(self, swapping: package.Container, tmp_path: Path) -> None:
        for number in range(ROUNDS // 10):
            target = tmp_path / f"out{number}"
            try:
                swapping.copy_from("/work", str(target))
            except package.errors.ProaError:
                continue
            for path in target.rglob("*"):
                if path.is_file() and not path.is_symlink():
                    assert "secret" not in path.read_text(), path

    def test_a_link_in_a_stopped_container(self, engine: package.Engine, canary: Path) -> None:
        config = package.ContainerConfig(
            image="busybox", network_mode="none",
            command=("sh", "-c", f"ln -s {canary} /evil; ln -s {canary}/file /leak"),
        )  # fmt: skip
        with engine.containers.launch(config) as container:
            container.wait()
            with pytest.raises(package.errors.NotFound):
                container.put_archive("/evil", [_tar("planted", b"x")])
            with pytest.raises(package.errors.NotFound):
                container.read_file("/leak")
            with pytest.raises(package.errors.NotFound):
                container.read_file("/evil/file")


class TestSpecialFiles:
    @pytest.mark.parametrize("state", ["running", "stopped"])
    def test_no_fifo_and_no_device_is_opened(self, engine: package.Engine, state: str) -> None:
        """A FIFO would block for ever; a device may do anything when it is opened."""
        script = "mkfifo /special; mkdir /d; mkfifo /d/fifo; echo done; exec sleep 600"
        config = package.ContainerConfig(
            image="busybox", network_mode="none", command=("sh", "-c", script)
        )
        with engine.containers.launch(config) as container:
            next(container.logs(follow=True))
            if state == "stopped":
                container.stop(timeout_s=0)
            done = threading.Event()

            def copy() -> None:
                b"".join(container.get_archive("/d"))
                b"".join(container.get_archive("/special"))
                b"".join(container.export())
                done.set()

            threading.Thread(target=copy, daemon=True).start()
            assert done.wait(20), "a copy hangs"

    def test_proc_of_a_container_leads_nowhere(self, engine: package.Engine) -> None:
        config = package.ContainerConfig(
            image="busybox", network_mode="none", command=("sleep", "600")
        )
        with engine.containers.launch(config) as container:
            for path in ("/proc/1/root/etc/passwd", "/proc/self/cwd", "/proc/1/exe"):
                with pytest.raises(package.errors.ProaError):
                    container.read_file(path)


MARKER = b"#!/bin/sh\necho ran > /marker-ran\n"


MARKERS = (
    "lib/libnss_files.so.2", "lib/x86_64-linux-gnu/libnss_dns.so.2", "usr/bin/xz",
    "usr/bin/unpigz", "usr/bin/git", "usr/bin/tar", "usr/bin/ps", "usr/bin/gzip",
    "usr/lib/python3.11/encodings/__init__.py", "usr/lib/python3.11/encodings/utf_8.py",
    "usr/lib/python3.11/sitecustomize.py", "usr/lib/python3.11/tarfile.py",
)  # fmt: skip


def test_nothing_of_a_marker_image_is_ever_loaded_or_run(engine: package.Engine) -> None:
    """CVE-2019-14271: no helper, name service, codec or module comes out of a container's root."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name in MARKERS:
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(MARKER), 0o755
            archive.addfile(member, io.BytesIO(MARKER))
    with engine.containers.create(package.ContainerConfig(image="busybox")) as base:
        base.put_archive("/", [out.getvalue()])
        base.commit("marker:latest")
    config = package.ContainerConfig(image="marker", command=("sleep", "600"), network_mode="none")
    with engine.containers.launch(config) as container:
        container.top()
        container.write_file("/in", b"x")
        assert container.read_file("/in") == b"x"
        container.exec(["true"]).wait()
        b"".join(container.export())
        image = container.commit("marker-committed")
        changed = [change.path for change in container.diff()]
        assert "/marker-ran" not in changed
        assert container.exec(["test", "-e", "/marker-ran"]).wait() == 1
    engine.images.remove(image.id, force=True)
    engine.images.remove("marker:latest")


def test_metadata_is_no_control_input(engine: package.Engine) -> None:
    """Labels, annotations and environment of any name change nothing of what runs."""
    hostile = {
        "io.proa.privileged": "true", "org.opencontainers.runtime": "runc",
        "io.kubernetes.cri.container-type": "sandbox", "run.oci.hooks.stdout": "/dev/console",
        "LD_PRELOAD": "/evil.so", "PROA_ROOT": "/",
    }  # fmt: skip
    report = ("sh", "-c", "grep -E 'Cap|NoNewPrivs|Seccomp' /proc/self/status; ls /dev; id")
    plain = package.ContainerConfig(image="busybox", command=report, network_mode="none")
    loaded = package.ContainerConfig(
        image="busybox", command=report, network_mode="none", labels=hostile,
        annotations=hostile, env=tuple(f"X_{name}={value}" for name, value in hostile.items()),
    )  # fmt: skip
    said = []
    for config in (plain, loaded):
        with engine.containers.launch(config) as container:
            container.wait()
            said.append([line.data for line in container.logs()])
    assert said[0] == said[1]
