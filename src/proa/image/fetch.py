"""Bringing blobs of a repository into the content store; a layer is unpacked while it arrives."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from proa.errors import Unavailable
from proa.image.content.ingest import Ingest
from proa.image.content.store import ContentStore
from proa.image.model import Progress
from proa.image.registry.blobs import BlobReader, read_blob
from proa.image.registry.repository import Repository
from proa.image.unpack import LayerSource, StoredLayers
from proa.oci.codec import MAX_DOCUMENT_BYTES
from proa.oci.descriptor import Descriptor


class RemoteLayers:
    """Layers of a repository, for :func:`~proa.image.unpack.ensure_snapshots`.

    A layer that the store has is read from there. Any other is written to an ingest as it arrives;
    what an interrupted pull left of it is read back first and the rest is fetched. Its digest is
    known to be right only at its end: then the blob is committed, and until then its snapshot is
    only staged.
    """

    workers = 3
    """As many layers at a time as Docker fetches: enough to hide the way there and back, and with
    the largest zstd window that is taken still well below the engine's bound of memory."""

    def __init__(self, repository: Repository, content: ContentStore, progress: Progress) -> None:
        self._repository = repository
        self._content = content
        self._progress = progress
        self._stored = StoredLayers(content, progress)

    @contextmanager
    def open(self, layer: LayerSource) -> Iterator[Iterator[bytes]]:
        """Give the blob's bytes; it is in the content store when the block has ended well.

        Raises:
            Corrupt: not what its descriptor says.
            NotFound, Unavailable, Unauthorized: the registry's reasons.
        """
        here = self._content.find(layer.blob.digest) is not None
        with self._stored.open(layer) if here else self._ingesting(layer.blob) as chunks:
            yield chunks

    def abort(self) -> None:
        """Let every read in another thread fail at once."""
        self._stored.abort()
        self._repository.client.abort()

    def fetch(self, blob: Descriptor) -> None:
        """Bring a blob into the store without unpacking it; idempotent, errors as :meth:`open`."""
        if self._content.find(blob.digest) is None:
            with self._ingesting(blob) as chunks:
                for _ in chunks:
                    pass

    @contextmanager
    def _ingesting(self, blob: Descriptor) -> Iterator[Iterator[bytes]]:
        with self._content.ingest(blob) as ingest:
            try:
                yield self._arriving(ingest, blob)
                ingest.commit()
            except (Unavailable, KeyboardInterrupt):
                ingest.keep()
                raise

    def _arriving(self, ingest: Ingest, blob: Descriptor) -> Iterator[bytes]:
        step = f"layer {blob.digest}"
        done = 0
        for chunk in ingest.staged():
            done += len(chunk)
            self._progress(step, done, blob.size)
            yield chunk
        with BlobReader(self._repository, blob, offset=done) as reader:
            while chunk := reader.read():
                ingest.write(chunk)
                self._progress(step, reader.offset, blob.size)
                yield chunk


def fetch_document(repository: Repository, content: ContentStore, descriptor: Descriptor) -> None:
    """Bring an image config into the store, verified; idempotent.

    Raises:
        Corrupt: not what its descriptor says, or longer than a document can be.
    """
    if content.find(descriptor.digest) is None:
        put_document(content, descriptor, read_blob(repository, descriptor, MAX_DOCUMENT_BYTES))


def put_document(content: ContentStore, descriptor: Descriptor, data: bytes) -> None:
    """Store a document that must be what its descriptor says; errors as :func:`fetch_document`."""
    with content.ingest(descriptor) as ingest:
        # What a crash left of a document is not worth continuing.
        ingest.write(data[ingest.offset :])
        ingest.commit()
