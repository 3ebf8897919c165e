"""Names that point at an index: several platforms of one name, here and on the way out."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from proa.errors import NotFound
from proa.image.model import Image
from proa.image.pull import Policy, pull
from proa.image.push import PushCompression, Pushed, push
from proa.image.registry.client import Client
from proa.image.registry.hosts import Registries
from proa.image.registry.manifests import get_manifest
from proa.image.registry.repository import Repository
from proa.image.store import ImageStore
from proa.oci.platform import host_platform
from proa.oci.reference import parse_reference
from tests.support.registry import Registry, running_registry
from tests.support.registry_images import (
    Blob,
    Built,
    MemoryReferences,
    make_image,
    make_index,
    make_tar,
    names,
    upload_image,
)

pytestmark = pytest.mark.requires("root", "docker-registry")

HOST = host_platform().architecture
OTHER = "s390x" if HOST != "s390x" else "amd64"
HERE, THERE = f"linux/{HOST}", f"linux/{OTHER}"
OURS = make_image([make_tar({"arch": b"ours"})])
THEIRS = make_image([make_tar({"arch": b"theirs"})], architecture=OTHER)
INDEX = make_index((THEIRS, OTHER), (OURS, HOST))


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with running_registry(str(tmp_path_factory.mktemp("registry"))) as running:
        yield running


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore(str(tmp_path / "root"), MemoryReferences())


@pytest.fixture
def name(registry: Registry, request: pytest.FixtureRequest) -> str:
    """A name in the registry that points at an index of two images."""
    words = request.node.name.partition("[")[0].lower().replace("_", "-")
    reference = f"{registry.host}/{words}:1"
    upload_image(reference, THEIRS)
    upload_image(reference, OURS, index=INDEX)
    return reference


def take(store: ImageStore, name: str, platform: str = "", policy: Policy = "always") -> Image:
    with Client(Registries()) as client:
        return pull(store, client, name, platform=platform, policy=policy)


def give(
    store: ImageStore, name: str, platform: str = "", compression: PushCompression = ""
) -> Pushed:
    with Client(Registries()) as client:
        return push(store, client, name, platform=platform, compression=compression)


def document(name: str) -> tuple[str, dict[str, object]]:
    """Return digest and content of what a name points at in its registry."""
    reference = parse_reference(name)
    with Client(Registries()) as client:
        fetched = get_manifest(Repository(client, reference), reference.tag)
    return fetched.descriptor.digest, json.loads(fetched.data)


def digest(blob: Blob | Built) -> str:
    found = blob.manifest if isinstance(blob, Built) else blob
    return str(found.descriptor.digest)


def test_both_platforms_stay(registry: Registry, store: ImageStore, name: str) -> None:
    ours = take(store, name)
    theirs = take(store, name, THERE)
    assert (ours.config.architecture, theirs.config.architecture) == (HOST, OTHER)
    assert store.get(name).id == theirs.id
    before = len(registry.requests())
    assert take(store, name, HERE, "missing").id == ours.id
    assert take(store, name, THERE, "never").id == theirs.id
    assert store.get_for(name, HERE).id == ours.id
    assert len(registry.requests()) == before
    with pytest.raises(NotFound, match="riscv64"):
        store.get_for(name, "linux/riscv64")
    assert take(store, name, HERE).id == ours.id  # asked for by digest only
    assert not [line for line in registry.requests()[before:] if line.startswith("GET")]


def test_the_whole_index_goes_on(store: ImageStore, name: str) -> None:
    take(store, name, THERE)
    take(store, name)
    target = name.replace("/test", "/copy/test")
    store.tag(name, target)
    assert give(store, target).digest == digest(INDEX)
    found, content = document(target)
    assert found == digest(INDEX)
    assert content == json.loads(INDEX.data)
    fresh = ImageStore(f"{store.root}2", MemoryReferences())
    assert take(fresh, target, THERE).id == store.get_for(name, THERE).id
    assert take(fresh, target, HERE).id == store.get_for(name, HERE).id
    assert f"{parse_reference(target).repository}@{digest(INDEX)}" in names(store)


def test_packed_otherwise(store: ImageStore, name: str) -> None:
    take(store, name, THERE)
    take(store, name)
    target = name.replace("/test", "/zstd/test")
    store.tag(name, target)
    pushed = give(store, target, compression="zstd")
    found, content = document(target)
    assert pushed.digest == found != digest(INDEX)
    entries = content["manifests"]
    assert isinstance(entries, list)
    assert [entry["platform"]["architecture"] for entry in entries] == [OTHER, HOST]
    fresh = ImageStore(f"{store.root}2", MemoryReferences())
    for platform, architecture in ((HERE, HOST), (THERE, OTHER)):
        image = take(fresh, target, platform)
        assert image.config.architecture == architecture
        assert image.layers[0].blob.media_type.endswith("zstd")


def test_one_platform_goes_alone(store: ImageStore, name: str) -> None:
    take(store, name)
    target = name.replace("/test", "/single/test")
    store.tag(name, target)
    told: list[str] = []
    with Client(Registries()) as client:
        pushed = push(store, client, target, progress=lambda step, *_: told.append(step))
    assert pushed.digest == digest(OURS)
    assert f"pushing one platform of several: not here are {THERE}" in told
    take(store, name, THERE)
    assert give(store, target, platform=HERE).digest == digest(OURS)
    assert give(store, target, platform=THERE).digest == digest(THEIRS)
    with pytest.raises(NotFound, match="riscv64"):
        give(store, target, platform="linux/riscv64")


@pytest.mark.parametrize("kind", ["docker", "oci"])
def test_archives_carry_both(store: ImageStore, name: str, tmp_path: Path, kind: str) -> None:
    take(store, name, THERE)
    take(store, name)
    archive = str(tmp_path / "both.tar")
    store.save([name], archive, format=kind)  # type: ignore[arg-type]
    fresh = ImageStore(f"{store.root}2", MemoryReferences())
    (image,) = fresh.load(archive)
    assert (image.config.architecture, image.references) == (HOST, (name,))
    assert fresh.get_for(name, THERE).config.architecture == OTHER
    assert Path(fresh.root, fresh.get_for(name, THERE).lowers[0], "arch").read_bytes() == b"theirs"
    store.save([name], archive, platform=THERE, format=kind)  # type: ignore[arg-type]
    alone = ImageStore(f"{store.root}3", MemoryReferences())
    (image,) = alone.load(archive)
    assert image.config.architecture == OTHER
    with pytest.raises(NotFound):
        alone.get_for(name, HERE)


@pytest.mark.requires("skopeo")
def test_skopeo_reads_both(store: ImageStore, name: str, tmp_path: Path) -> None:
    take(store, name, THERE)
    take(store, name)
    store.save([name], f"{tmp_path}/layout/", format="oci")
    words = ("copy", "--all", "--dest-tls-verify=false", f"oci:{tmp_path}/layout:{name}")
    target = name.replace("/test", "/by-skopeo/test")
    done = subprocess.run(
        ("skopeo", "--insecure-policy", *words, f"docker://{target}"),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert document(target)[0] == digest(INDEX)


def test_what_a_name_keeps_goes_with_it(store: ImageStore, name: str) -> None:
    theirs = take(store, name, THERE)
    ours = take(store, name)
    removed, _ = store.prune()
    assert removed == []
    assert store.get_for(name, THERE).id == theirs.id
    assert store.usage().images[0].size_bytes > ours.content_bytes + theirs.content_bytes
    gone = {one.target for one in store.remove(name) if one.action == "deleted"}
    assert {ours.id, theirs.id} <= gone
    assert names(store) == set()
    assert os.listdir(f"{store.root}/content/blobs/sha256") == []


def test_a_platform_in_use_outlives_its_name(store: ImageStore, name: str) -> None:
    theirs = take(store, name, THERE)
    take(store, name)
    store.remove(name, in_use=lambda: {theirs.id: "web"})
    assert store.get(theirs.id).config.architecture == OTHER
    store.prune(in_use=lambda: {theirs.id: "web"})
    assert store.get(theirs.id).id == theirs.id
    store.prune()
    assert store.list() == []
