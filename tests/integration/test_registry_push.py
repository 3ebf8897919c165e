"""Pushing to Debian's docker-registry, and skopeo as a second opinion in both directions."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from proa.errors import Corrupt, Invalid, NotFound, Unauthorized
from proa.image.model import Image
from proa.image.pull import pull
from proa.image.push import PushCompression, Pushed, push, push_all_tags
from proa.image.registry.client import Client
from proa.image.registry.credentials import Credentials
from proa.image.registry.hosts import Registries, RegistryTable
from proa.image.registry.manifests import get_manifest, list_referrers
from proa.image.registry.repository import Repository
from proa.image.store import ImageStore
from proa.oci import mediatype
from proa.oci.manifest import parse_manifest
from proa.oci.reference import parse_reference
from tests.support.registry import (
    PASSWORD,
    USER,
    Registry,
    make_certificate,
    running_registry,
    running_token_server,
)
from tests.support.registry_images import (
    Built,
    MemoryReferences,
    describe,
    make_blob,
    make_image,
    make_tar,
    names,
    upload_image,
)

pytestmark = pytest.mark.requires("root", "docker-registry")


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with running_registry(str(tmp_path_factory.mktemp("registry"))) as running:
        yield running


@pytest.fixture
def store(registry: Registry, tmp_path: Path) -> ImageStore:
    return ImageStore(str(tmp_path / "root"), MemoryReferences())


def _pull(store: ImageStore, name: str) -> Image:
    with Client(Registries()) as client:
        return pull(store, client, name)


def _push(store: ImageStore, name: str, compression: PushCompression = "") -> Pushed:
    with Client(Registries()) as client:
        return push(store, client, name, compression=compression)


def _image(store: ImageStore, registry: Registry, built: Built, name: str) -> Image:
    """Bring an image into the store by way of another repository."""
    upload_image(f"{registry.host}/source/{name}:1", built)
    return _pull(store, f"{registry.host}/source/{name}:1")


def _built(count: int = 2) -> Built:
    return make_image([make_tar({f"f{n}": os.urandom(5000)}) for n in range(count)])


def _requests(registry: Registry, name: str, since: int) -> list[str]:
    return [line for line in registry.requests()[since:] if f"/v2/{name}/" in line]


def test_what_is_pushed_is_what_is_here(registry: Registry, store: ImageStore) -> None:
    built = _built()
    image = _image(store, registry, built, "same")
    name = f"{registry.host}/same:2"
    store.tag(image.id, name)
    pushed = _push(store, name)
    assert pushed.digest == built.manifest.descriptor.digest == image.manifest_digest
    assert f"{registry.host}/same@{pushed.digest}" in names(store)
    again = ImageStore(f"{store.root}2", MemoryReferences())
    assert _pull(again, name).id == image.id


def test_blobs_of_another_repository_are_mounted(registry: Registry, store: ImageStore) -> None:
    image = _image(store, registry, _built(), "mount")
    store.tag(image.id, f"{registry.host}/mounted:1")
    since = len(registry.requests())
    _push(store, f"{registry.host}/mounted:1")
    asked = _requests(registry, "mounted", since)
    mounts = [line for line in asked if "mount=" in line]
    assert len(mounts) == 2
    assert all("from=source%2Fmount" in line for line in mounts)
    # The config is too small to be worth a mount; it is the only blob that is sent.
    assert len([line for line in asked if line.startswith("PUT") and "/blobs/" in line]) == 1


def test_a_second_push_sends_nothing_but_the_manifest(
    registry: Registry, store: ImageStore
) -> None:
    image = _image(store, registry, _built(), "again")
    store.tag(image.id, f"{registry.host}/again:1")
    _push(store, f"{registry.host}/again:1")
    since = len(registry.requests())
    _push(store, f"{registry.host}/again:1")
    asked = _requests(registry, "again", since)
    assert {line.partition(" ")[0] for line in asked} == {"HEAD", "PUT"}
    assert [line for line in asked if line.startswith("PUT")] == ["PUT /v2/again/manifests/1"]


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_layers_are_packed_otherwise_on_the_way(
    registry: Registry, store: ImageStore, compression: PushCompression
) -> None:
    tars = [make_tar({"text": b"abc" * 50_000}), make_tar({"more": b"x" * 10_000})]
    stored = "zstd" if compression == "gzip" else "gzip"
    image = _image(store, registry, make_image(tars, compression=stored), f"pack-{compression}")
    name = f"{registry.host}/packed:{compression}"
    store.tag(image.id, name)
    pushed = _push(store, name, compression)
    assert pushed.digest != image.manifest_digest
    with Client(Registries()) as client:
        fetched = get_manifest(Repository(client, parse_reference(name)), compression)
    manifest = parse_manifest(fetched.data, "it")
    assert {one.media_type for one in manifest.layers} == {f"{mediatype.OCI_LAYER}+{compression}"}
    assert _push(store, name, compression).digest == pushed.digest
    assert os.listdir(f"{store.root}/content/ingest") == []
    again = ImageStore(f"{store.root}2", MemoryReferences())
    copy = _pull(again, name)
    assert copy.id == image.id
    assert [one.diff_id for one in copy.layers] == [one.diff_id for one in image.layers]


def test_all_tags_of_a_repository(registry: Registry, store: ImageStore) -> None:
    image = _image(store, registry, _built(1), "tags")
    for tag in ("b", "a"):
        store.tag(image.id, f"{registry.host}/tags:{tag}")
    with Client(Registries()) as client:
        pushed = push_all_tags(store, client, f"{registry.host}/tags")
        assert [one.reference for one in pushed] == [
            f"{registry.host}/tags:a",
            f"{registry.host}/tags:b",
        ]
        with pytest.raises(Invalid):
            push_all_tags(store, client, f"{registry.host}/tags:a")
        with pytest.raises(NotFound):
            push_all_tags(store, client, f"{registry.host}/none")


def test_what_cannot_be_pushed(registry: Registry, store: ImageStore) -> None:
    with pytest.raises(NotFound, match="no such image"):
        _push(store, f"{registry.host}/nothing:1")
    with pytest.raises(Invalid, match="has a digest"):
        _push(store, f"{registry.host}/x@sha256:{'0' * 64}")


def test_a_damaged_blob_is_not_accepted(registry: Registry, store: ImageStore) -> None:
    image = _image(store, registry, _built(1), "damaged")
    name = "other.invalid/damaged:1"
    store.tag(image.id, name)
    path = Path(store.content.blob_path(image.layers[0].blob.digest))
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(bytes(data))
    # Under another name of the same registry, which is therefore not known to have the blob.
    tables = {"other.invalid": RegistryTable(location=registry.host, plain_http=True)}
    with Client(Registries(registry=tables)) as client, pytest.raises(Corrupt):
        push(store, client, name)


def test_an_image_that_refers_to_another_is_listed(registry: Registry, store: ImageStore) -> None:
    subject = make_blob(b'{"some": "manifest"}', mediatype.OCI_MANIFEST)
    built = _built(1)
    document = {**json.loads(built.manifest.data), "subject": describe(subject)}
    built = built._replace(
        manifest=make_blob(json.dumps(document).encode(), mediatype.OCI_MANIFEST)
    )
    image = _image(store, registry, built, "referring")
    store.tag(image.id, f"{registry.host}/referred:1")
    pushed = _push(store, f"{registry.host}/referred:1")
    with Client(Registries()) as client:
        repository = Repository(client, parse_reference(f"{registry.host}/referred"))
        (entry,) = list_referrers(repository, subject.descriptor.digest)
    assert entry.digest == pushed.digest


def test_a_token_is_asked_for_push_and_for_the_mounts_source(
    registry: Registry, store: ImageStore, tmp_path: Path
) -> None:
    certificate = make_certificate(str(tmp_path))
    with (
        running_token_server(certificate, tls=certificate) as tokens,
        running_registry(str(tmp_path), certificate=certificate, token_server=tokens) as guarded,
    ):
        tables = Registries(registry={guarded.host: RegistryTable(ca=certificate.path)})
        image = _image(store, registry, _built(1), "tokens")
        for name in ("first", "second"):
            store.tag(image.id, f"{guarded.host}/{name}:1")
            with Client(tables, Credentials(username=USER, password=PASSWORD)) as client:
                push(store, client, f"{guarded.host}/{name}:1")
        assert any("mount=" in line and "/v2/second/" in line for line in guarded.requests())
        assert tokens.asked[-1] == (
            USER,
            ("repository:second:pull,push", "repository:first:pull"),
        )
        with Client(tables, Credentials()) as client, pytest.raises(Unauthorized):
            push(store, client, f"{guarded.host}/first:1")


@pytest.mark.requires("skopeo")
def test_skopeo_reads_what_we_push(registry: Registry, store: ImageStore, tmp_path: Path) -> None:
    tar = make_tar({"etc/motd": b"hello"})
    image = _image(store, registry, make_image([tar]), "for-skopeo")
    name = f"{registry.host}/for-skopeo:1"
    store.tag(image.id, name)
    pushed = _push(store, name)
    _skopeo("copy", "--src-tls-verify=false", f"docker://{name}", f"oci:{tmp_path}/layout:1")
    shown = json.loads(_skopeo("inspect", "--tls-verify=false", f"docker://{name}"))
    assert shown["Digest"] == pushed.digest
    index = json.loads((tmp_path / "layout" / "index.json").read_text())
    assert index["manifests"][0]["digest"] == pushed.digest
    layer = image.layers[0].blob.digest.removeprefix("sha256:")
    blob = (tmp_path / "layout" / "blobs" / "sha256" / layer).read_bytes()
    assert hashlib.sha256(gzip.decompress(blob)).hexdigest() == hashlib.sha256(tar).hexdigest()


@pytest.mark.requires("skopeo")
@pytest.mark.parametrize("kind", ["oci", "v2s2"])
def test_we_read_what_skopeo_pushes(
    registry: Registry, store: ImageStore, tmp_path: Path, kind: str
) -> None:
    image = _image(store, registry, make_image([make_tar({"f": b"by skopeo"})]), f"to-{kind}")
    source, target = f"{registry.host}/source/to-{kind}:1", f"{registry.host}/by-skopeo:{kind}"
    _skopeo(
        *("copy", "--src-tls-verify=false", "--dest-tls-verify=false", f"--format={kind}"),
        *(f"docker://{source}", f"docker://{target}"),
    )
    again = ImageStore(f"{store.root}2", MemoryReferences())
    copy = _pull(again, target)
    assert [one.diff_id for one in copy.layers] == [one.diff_id for one in image.layers]
    assert Path(again.root, copy.lowers[0], "f").read_bytes() == b"by skopeo"


def _skopeo(*words: str) -> str:
    done = subprocess.run(
        ("skopeo", "--insecure-policy", *words), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
