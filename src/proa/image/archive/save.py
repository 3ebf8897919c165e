"""Writing images: an OCI layout, as a folder or tar.

Docker's ``manifest.json`` is put beside it for tools that read only that. Blobs go out as they are
stored; the same images give the same bytes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import msgspec

from proa.fs.atomicfile import save_file, write_all
from proa.image.archive.docker_archive import Item
from proa.image.border import Border
from proa.image.content.store import ContentStore
from proa.image.layers.compression import CHUNK_BYTES, compressor
from proa.image.layers.entry import REGULAR, Entry
from proa.image.layers.writer import TarWriter
from proa.image.model import ArchiveFormat, Image, Progress, silent
from proa.image.platforms import complete_manifests, list_entries
from proa.oci.codec import encode_json
from proa.oci.descriptor import Descriptor
from proa.oci.digest import Digest, algorithm, encoded, parse_digest
from proa.oci.index import ANNOTATION_IMAGE_NAME, ANNOTATION_REF_NAME, Index, parse_index
from proa.oci.manifest import parse_manifest
from proa.oci.mediatype import OCI_INDEX, OCI_MANIFEST, Compression
from proa.oci.platform import Platform
from proa.oci.reference import parse_reference

_LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'


class Saved:
    """An image that goes into an archive.

    Attributes:
        index: digest of the index that its names point at; empty: at its manifest.
        names: normalized, those that it has in the archive.
    """

    __slots__ = ("image", "index", "names")

    def __init__(self, image: Image, index: str = "", names: Sequence[str] = ()) -> None:
        self.image = image
        self.index = index
        self.names = list(names)


Named = Sequence[Saved]


def save_archive(
    content: ContentStore,
    images: Named,
    destination: str | int,
    *,
    format: ArchiveFormat = "docker",  # noqa: A002 - the word of the command line
    compression: Compression = "none",
    progress: Progress = silent,
) -> None:
    """Write an archive; arguments as ``ImageStore.save``.

    Raises:
        Corrupt: a blob is missing.
        ProaError: the disk's reasons; a path keeps what it was before.
    """
    documents = _documents(content, images, format)
    blobs = _blobs(content, images)
    with Border(f"cannot save to {destination}"):
        if isinstance(destination, int):
            _write_tar(content, documents, blobs, destination, compression, progress)
        elif destination.endswith("/") or os.path.isdir(destination):
            _write_folder(content, documents, blobs, destination, progress)
        else:
            partial = f"{destination}.{os.getpid()}.partial"
            fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                try:
                    _write_tar(content, documents, blobs, fd, compression, progress)
                finally:
                    os.close(fd)
                os.rename(partial, destination)
            except BaseException:
                os.unlink(partial)
                raise


def _documents(
    content: ContentStore, images: Named, archive_format: ArchiveFormat
) -> list[tuple[str, bytes]]:
    entries = []
    items = []
    for saved in images:
        plain = _describe(content, saved)
        for name in saved.names:
            annotations = {
                ANNOTATION_IMAGE_NAME: name,
                ANNOTATION_REF_NAME: name if archive_format == "oci" else parse_reference(name).tag,
            }
            entries.append(msgspec.structs.replace(plain, annotations=annotations))
        if not saved.names:
            entries.append(plain)
        items.append(
            Item(
                config=_member(saved.image.id),
                repo_tags=tuple(parse_reference(name).familiar for name in saved.names) or None,
                layers=tuple(_member(layer.blob.digest) for layer in saved.image.layers),
            )
        )
    index = Index(schema_version=2, media_type=OCI_INDEX, manifests=tuple(entries))
    documents = [("oci-layout", _LAYOUT), ("index.json", encode_json(index))]
    if archive_format == "docker":
        documents.append(("manifest.json", encode_json(items)))
    return documents


def _describe(content: ContentStore, saved: Saved) -> Descriptor:
    """Return the entry of the archive's index: the name's own index if it is whole."""
    if _manifests_of(content, saved) is not None:
        index = parse_digest(saved.index)
        data = content.read(index)
        media_type = parse_index(data, f"index {index}").media_type or OCI_INDEX
        return Descriptor(media_type=media_type, digest=index, size=len(data))
    image = saved.image
    data = content.read(image.manifest_digest)
    manifest = parse_manifest(data, f"manifest {image.manifest_digest}")
    config = image.config
    return Descriptor(
        media_type=manifest.media_type or OCI_MANIFEST,
        digest=image.manifest_digest,
        size=len(data),
        platform=Platform(os=config.os, architecture=config.architecture, variant=config.variant),
    )


def _manifests_of(content: ContentStore, saved: Saved) -> list[Digest] | None:
    return complete_manifests(content, saved.index) if saved.index else None


def _blobs(content: ContentStore, images: Named) -> list[Digest]:
    digests: set[Digest] = set()
    for saved in images:
        image = saved.image
        digests.update((image.manifest_digest, image.id))
        digests.update(layer.blob.digest for layer in image.layers)
        manifests = _manifests_of(content, saved)
        if manifests is None:
            continue
        digests.add(parse_digest(saved.index))
        digests.update(entry.digest for entry in list_entries(content, saved.index))
        for digest in manifests:
            manifest = parse_manifest(content.read(digest), f"manifest {digest}")
            digests.add(manifest.config.digest)
            digests.update(layer.digest for layer in manifest.layers)
    for digest in digests:
        os.close(content.open(digest))  # missing ones are found before anything is written
    return sorted(digests)


def _write_tar(
    content: ContentStore,
    documents: list[tuple[str, bytes]],
    blobs: list[Digest],
    fd: int,
    compression: Compression,
    progress: Progress,
) -> None:
    packer = compressor(compression)
    writer = TarWriter(lambda data: write_all(fd, packer.compress(data)))
    for name, data in documents:
        writer.add_file(name, data)
    writer.add_directory("blobs")
    for name in sorted({algorithm(digest) for digest in blobs}):
        writer.add_directory(f"blobs/{name}")
    for digest in blobs:
        size = content.find(digest) or 0
        progress(f"saving {digest}", 0, size)
        writer.add(Entry(_member(digest).encode(), REGULAR, size=size), _pieces(content, digest))
    writer.close()
    write_all(fd, packer.flush())


def _write_folder(
    content: ContentStore,
    documents: list[tuple[str, bytes]],
    blobs: list[Digest],
    path: str,
    progress: Progress,
) -> None:
    for name in sorted({algorithm(digest) for digest in blobs}):
        os.makedirs(f"{path}/blobs/{name}", exist_ok=True)
    for digest in blobs:
        progress(f"saving {digest}", 0, content.find(digest) or 0)
        target = f"{path}/{_member(digest)}"
        fd = os.open(f"{target}.partial", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC)
        try:
            for piece in _pieces(content, digest):
                write_all(fd, piece)
            os.fchmod(fd, 0o644)
        finally:
            os.close(fd)
        os.rename(f"{target}.partial", target)
    for name, data in reversed(documents):
        save_file(f"{path}/{name}", data, mode=0o644)


def _pieces(content: ContentStore, digest: Digest) -> Iterator[bytes]:
    fd = content.open(digest)
    try:
        while piece := os.read(fd, CHUNK_BYTES):
            yield piece
    finally:
        os.close(fd)


def _member(digest: Digest) -> str:
    return f"blobs/{algorithm(digest)}/{encoded(digest)}"
