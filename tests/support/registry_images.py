"""Small images for registry tests: built in memory, put straight into a registry."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from proa.image.layers.compression import compressor
from proa.image.references import ImageRecord
from proa.image.registry import manifests, uploads
from proa.image.registry.client import Client
from proa.image.registry.hosts import Registries
from proa.image.registry.repository import Repository
from proa.image.store import ImageStore
from proa.oci import mediatype
from proa.oci.descriptor import Descriptor
from proa.oci.digest import digest_of
from proa.oci.platform import host_platform
from proa.oci.reference import parse_reference


class MemoryReferences:
    """The table of names, in a dictionary."""

    def __init__(self) -> None:
        self._records: dict[str, ImageRecord] = {}

    def find(self, reference: str) -> ImageRecord | None:
        return self._records.get(reference)

    def list(self) -> list[ImageRecord]:
        return sorted(self._records.values(), key=lambda one: one.updated_at_ns)

    def put(self, record: ImageRecord) -> ImageRecord | None:
        before = self._records.get(record.reference)
        self._records[record.reference] = record
        return before

    def remove(self, reference: str) -> bool:
        return self._records.pop(reference, None) is not None

    def names(self) -> set[str]:
        """Return all names, for assertions."""
        return set(self._records)


class Blob(NamedTuple):
    """Bytes with what a manifest says about them."""

    descriptor: Descriptor
    data: bytes


class Built(NamedTuple):
    """An image as documents and blobs.

    Attributes:
        manifest: its media type is in the descriptor.
        blobs: config and layers.
    """

    manifest: Blob
    blobs: tuple[Blob, ...]


def make_tar(files: Mapping[str, bytes]) -> bytes:
    """Return a layer's tar: regular files with fixed owner and time, parents made."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def make_layer(tar: bytes, compression: str = "gzip", *, docker: bool = False) -> Blob:
    """Compress a tar and describe it."""
    if compression == "gzip":
        data = gzip.compress(tar, compresslevel=1, mtime=0)
    elif compression == "zstd":
        packer = compressor("zstd")
        data = packer.compress(tar) + packer.flush()
    else:
        data = tar
    if docker:
        media_type = mediatype.DOCKER_LAYER + (f".{compression}" if compression != "none" else "")
    else:
        media_type = mediatype.OCI_LAYER + (f"+{compression}" if compression != "none" else "")
    return make_blob(data, media_type)


def make_blob(data: bytes, media_type: str) -> Blob:
    """Describe bytes."""
    return Blob(Descriptor(media_type=media_type, digest=digest_of(data), size=len(data)), data)


def make_image(
    tars: Sequence[bytes],
    *,
    compression: str = "gzip",
    docker: bool = False,
    architecture: str = "",
    command: Sequence[str] = ("/bin/true",),
    layers: Sequence[Blob] | None = None,
    diff_ids: Sequence[str] | None = None,
) -> Built:
    """Put an image together; ``layers`` and ``diff_ids`` override what the tars would give."""
    if layers is None:
        layers = [make_layer(tar, compression, docker=docker) for tar in tars]
    document = {
        "architecture": architecture or host_platform().architecture,
        "os": "linux",
        "config": {"Cmd": list(command)},
        "rootfs": {
            "type": "layers",
            "diff_ids": list(diff_ids or [digest_of(tar) for tar in tars]),
        },
    }
    config = make_blob(
        json.dumps(document).encode(),
        mediatype.DOCKER_CONFIG if docker else mediatype.OCI_CONFIG,
    )
    media_type = mediatype.DOCKER_MANIFEST if docker else mediatype.OCI_MANIFEST
    manifest = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": describe(config),
        "layers": [describe(layer) for layer in layers],
    }
    return Built(make_blob(json.dumps(manifest).encode(), media_type), (config, *layers))


def make_index(*images: tuple[Built, str]) -> Blob:
    """Return an OCI index of images with the architectures that are said of them."""
    entries = [
        {**describe(built.manifest), "platform": {"os": "linux", "architecture": architecture}}
        for built, architecture in images
    ]
    document = {"schemaVersion": 2, "mediaType": mediatype.OCI_INDEX, "manifests": entries}
    return make_blob(json.dumps(document).encode(), mediatype.OCI_INDEX)


def describe(blob: Blob) -> dict[str, Any]:
    """Return a descriptor as it stands in a document."""
    descriptor = blob.descriptor
    return {
        "mediaType": descriptor.media_type,
        "digest": descriptor.digest,
        "size": descriptor.size,
    }


def upload_image(name: str, built: Built, *more: Blob, index: Blob | None = None) -> None:
    """Put an image into a registry that is open; under its digest when ``index`` has the tag."""
    reference = parse_reference(name)
    with Client(Registries()) as client:
        repository = Repository(client, reference, push=True)
        for blob in (*built.blobs, *more):
            upload_blob(repository, blob)
        tag = reference.tag if index is None else built.manifest.descriptor.digest
        manifests.put_manifest(
            repository, tag, built.manifest.descriptor.media_type, built.manifest.data
        )
        if index is not None:
            manifests.put_manifest(
                repository, reference.tag, index.descriptor.media_type, index.data
            )


def upload_blob(repository: Repository, blob: Blob) -> None:
    """Put one blob into a repository."""
    location = uploads.start_upload(repository, blob.descriptor.digest)
    assert location
    uploads.upload(
        repository,
        blob.descriptor,
        lambda start, end: [blob.data[start:end]],
        location,
        lambda sent: None,
    )


def names(store: ImageStore) -> set[str]:
    """Return all names of a store, nameless ones included."""
    return {record.reference for record in store.references.list()}
