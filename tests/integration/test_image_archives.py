"""Archives and layouts between Proa and skopeo, both ways."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from proa.image.model import Image
from proa.image.store import ImageStore
from tests.support.images import load_layers, open_store
from tests.support.layers import LayerBuilder

pytestmark = pytest.mark.requires("root", "skopeo")

BASE = LayerBuilder().directory("bin").file("bin/sh", b"#!" * 5000, mode=0o755).tar()
TOP = LayerBuilder().file("bin/.wh.sh").file("etc/motd", b"hello").tar()


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return open_store(tmp_path / "root")


@pytest.fixture
def image(store: ImageStore, tmp_path: Path) -> Image:
    return load_layers(store, [BASE, TOP], str(tmp_path / "a.tar"), "r.io/app:1")


def skopeo(*words: str) -> str:
    done = subprocess.run(
        ["skopeo", "--insecure-policy", *words], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def config(transport: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(skopeo("inspect", "--config", transport))
    return found


@pytest.mark.parametrize("archive_format", ["docker", "oci"])
def test_skopeo_reads_ours(
    store: ImageStore, image: Image, tmp_path: Path, archive_format: str
) -> None:
    path = str(tmp_path / "saved")
    store.save(["r.io/app:1"], path, format=archive_format)  # type: ignore[arg-type]
    transports = [f"oci-archive:{path}"]
    if archive_format == "docker":
        transports.append(f"docker-archive:{path}:r.io/app:1")
    for transport in transports:
        found = config(transport)
        assert found["rootfs"]["diff_ids"] == [layer.diff_id for layer in image.layers]
    # Copying makes skopeo read and verify every layer.
    skopeo("copy", transports[-1], f"dir:{tmp_path}/copied")


def test_skopeo_reads_our_folder(store: ImageStore, image: Image, tmp_path: Path) -> None:
    store.save(["r.io/app:1"], f"{tmp_path}/layout/", format="oci")
    raw = skopeo("inspect", "--raw", f"oci:{tmp_path}/layout:r.io/app:1")
    assert store.content.read(image.manifest_digest) == raw.encode()


@pytest.mark.parametrize(
    ("transport", "words"),
    [
        ("docker-archive", ()),
        ("oci-archive", ()),
        ("oci-archive", ("--dest-compress-format", "zstd")),
        ("oci", ()),
        ("oci", ("--dest-oci-accept-uncompressed-layers",)),
    ],
)
def test_we_read_skopeos(
    store: ImageStore, image: Image, tmp_path: Path, transport: str, words: tuple[str, ...]
) -> None:
    store.save(["r.io/app:1"], str(tmp_path / "saved"))
    path = f"{tmp_path}/theirs"
    name = "r.io/app:2"
    source = f"docker-archive:{tmp_path}/saved:r.io/app:1"
    skopeo("copy", *words, source, f"{transport}:{path}:{name}")
    other = open_store(tmp_path / "other")
    (loaded,) = other.load(path)
    assert loaded.references == (name,)
    assert [layer.diff_id for layer in loaded.layers] == [layer.diff_id for layer in image.layers]
    assert (Path(other.root) / loaded.lowers[0] / "etc/motd").read_bytes() == b"hello"
