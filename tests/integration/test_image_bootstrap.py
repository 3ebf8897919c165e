"""Base images from signed packages: mmdebstrap and the mirror that this machine uses."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from proa.errors import Unavailable
from proa.image.bootstrap.bootstrap import bootstrap
from proa.image.store import ImageStore
from tests.support.images import open_store
from tests.support.layers import LayerBuilder

pytestmark = pytest.mark.requires("root")

CACHED_S = 5.0


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return open_store(tmp_path / "root")


def leftovers(store: ImageStore) -> list[str]:
    found: list[str] = []
    for name in ("content/blobs/sha256", "content/ingest", "snapshots/staging", "snapshots/l"):
        path = f"{store.root}/{name}"
        found += os.listdir(path) if os.path.isdir(path) else []
    return found


@pytest.mark.requires("mmdebstrap")
@pytest.mark.timeout(300)
def test_debian(store: ImageStore) -> None:
    steps: list[str] = []
    image = bootstrap(store, "debian:bookworm", progress=lambda step, *_: steps.append(step))
    root = Path(store.root, image.lowers[0])
    assert "bookworm" in (root / "etc/os-release").read_text()
    assert (
        "URIs: http://deb.debian.org/debian\n"
        in (root / "etc/apt/sources.list.d/debian.sources").read_text()
    )
    assert not (root / "etc/resolv.conf").exists()
    assert not (root / "etc/hostname").exists()
    assert not list((root / "var/cache/apt").glob("**/*.deb"))
    assert not list((root / "var/cache/apt").glob("*.bin"))
    assert not list((root / "var/lib/apt/lists").glob("*Packages*"))
    assert os.access(root / "usr/sbin/policy-rc.d", os.X_OK)
    # merged before anything was unpacked: no usrmerge, which would bring all of perl
    assert (root / "bin").is_symlink()
    assert image.size_bytes < 140_000_000
    assert image.config.config.cmd == ("bash",)
    assert image.references == ("docker.io/library/debian:bookworm",)
    assert any("extracting" in step for step in steps)

    begin = time.monotonic()
    store.remove("debian:bookworm", in_use=lambda: {image.id: "kept"}, force=True)
    again = bootstrap(store, "debian:bookworm")
    assert again.id == image.id
    assert again.references == image.references
    assert time.monotonic() - begin < CACHED_S


@pytest.mark.requires("busybox")
def test_busybox(store: ImageStore) -> None:
    image = bootstrap(store, "busybox")
    root = Path(store.root, image.lowers[0])
    assert os.stat(root / "bin/sh").st_ino == os.stat(root / "bin/busybox").st_ino
    assert bootstrap(store, "busybox:1", refresh=True).manifest_digest == image.manifest_digest
    assert set(store.get("busybox").references) == {
        "docker.io/library/busybox:latest",
        "docker.io/library/busybox:1",
    }


@pytest.mark.requires("mmdebstrap")
@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"target": "debian:nosuchsuite"}, "nosuchsuite"),
        ({"target": "debian:bookworm", "mirror": "http://127.0.0.1:9/debian"}, "cannot fetch"),
    ],
)
def test_failure_leaves_nothing(store: ImageStore, fields: dict[str, str], why: str) -> None:
    with pytest.raises(Unavailable, match=why):
        bootstrap(store, **fields)  # type: ignore[arg-type]
    assert store.list() == []
    assert leftovers(store) == []


@pytest.mark.parametrize("written", [b"", LayerBuilder().file("f", bytes(3000)).tar()])
def test_a_tool_that_fails_half_way(
    store: ImageStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: bytes
) -> None:
    # A whole archive does not make a failure a success: packages may be half configured in it.
    (tmp_path / "tar").write_bytes(written)
    (tmp_path / "bin").mkdir()
    tool = tmp_path / "bin" / "mmdebstrap"
    tool.write_text(
        f"#!/bin/sh\ncat {tmp_path}/tar\necho 'I: working' >&2\necho 'E: dpkg died' >&2\nexit 1\n"
    )
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    with pytest.raises(Unavailable, match="cannot bootstrap debian bookworm: E: dpkg died"):
        bootstrap(store, "debian:bookworm")
    assert store.list() == []
    assert leftovers(store) == []


def test_without_mmdebstrap(store: ImageStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(Unavailable, match="mmdebstrap is not installed") as caught:
        bootstrap(store, "debian:bookworm")
    assert caught.value.hint == "apt-get install mmdebstrap"
