"""A layer's blob as it is stored, or packed otherwise for a registry."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Literal

import msgspec

from proa.fs.atomicfile import write_all
from proa.image.border import Border
from proa.image.content.store import ContentStore
from proa.image.content.verify import Meter, verified
from proa.image.layers.compression import compressor, decompressed
from proa.image.layers.layer import read_chunks
from proa.image.layers.prefetch import Prefetch
from proa.oci.descriptor import Descriptor
from proa.oci.mediatype import layer_compression, oci_layer


class Packed(msgspec.Struct, frozen=True, kw_only=True):
    """A blob that is open for reading at any offset: its descriptor and its file's."""

    descriptor: Descriptor
    fd: int


@contextmanager
def open_packed(
    content: ContentStore, blob: Descriptor, compression: Literal["", "gzip", "zstd"]
) -> Iterator[Packed]:
    """Open a blob, packed as ``compression`` says (empty: as it is) for as long as the block runs.

    The same layer always gives the same bytes, so a second push finds the first one's blobs.

    Raises:
        Corrupt: missing or damaged.
        Exhausted: no room for the packed layer.
    """
    fd = content.open(blob.digest)
    try:
        if not compression or layer_compression(blob.media_type) == compression:
            yield Packed(descriptor=blob, fd=fd)
            return
        with Border(f"cannot pack layer {blob.digest}"), _unnamed_file(content) as file:
            descriptor = _pack(fd, blob, compression, file.fileno())
            yield Packed(descriptor=descriptor, fd=file.fileno())
    finally:
        os.close(fd)


def _pack(
    source_fd: int, blob: Descriptor, compression: Literal["gzip", "zstd"], target_fd: int
) -> Descriptor:
    what = f"layer {blob.digest}"
    packer, meter = compressor(compression), Meter()

    def write(data: bytes) -> None:
        meter.update(data)
        write_all(target_fd, data)

    ahead = Prefetch(decompressed(verified(read_chunks(source_fd), blob, what), what))
    try:
        for chunk in ahead:
            write(packer.compress(chunk))
        write(packer.flush())
    finally:
        ahead.close()
    return Descriptor(media_type=oci_layer(compression), digest=meter.digest(), size=meter.size)


def _unnamed_file(content: ContentStore) -> IO[bytes]:
    import tempfile

    content.prepare()
    return tempfile.TemporaryFile(dir=f"{content.path}/ingest", buffering=0)
