"""The content store: blobs by digest, in an OCI image layout.

On disk, below ``<root>/content`` (0700)::

    oci-layout               says that this is a layout (OCI image spec, "Image Layout")
    index.json               empty: names live in the engine's database
    blobs/<algorithm>/<hex>  0600, never changed once there
    ingest/<name>            being written, locked (flock) by its writer; see content.ingest

Committing is rename(2) of a file that was hashed while it was written and fsynced before, so a blob
is complete or not there, whatever crashes; the directories are fsynced once for all blobs of an
image. Two writers of one digest are both right: the second
rename replaces a file by its equal. Blobs are removed only by the collector, under the image
store's exclusive lock; ``ingest`` files without a writer are garbage then.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from proa.errors import Corrupt
from proa.fs.atomicfile import load_file, save_file, sync_directory
from proa.fs.usage import allocated_bytes
from proa.image.border import Border
from proa.image.content.ingest import Ingest
from proa.image.content.verify import Meter, check
from proa.oci.codec import MAX_DOCUMENT_BYTES
from proa.oci.descriptor import Descriptor
from proa.oci.digest import Digest, algorithm, encoded, parse_digest

_LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'
_INDEX = b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}'
_ALGORITHMS = ("sha256", "sha512")


class ContentStore:
    """Blobs below one directory. Making one touches no disk."""

    def __init__(self, path: str) -> None:
        """Use the layout at ``path``; it is made with the first blob."""
        self.path = path
        self._prepared = False

    def blob_path(self, digest: Digest) -> str:
        """Return where the blob is or would be."""
        return f"{self.path}/blobs/{algorithm(digest)}/{encoded(digest)}"

    def find(self, digest: Digest) -> int | None:
        """Return the size of a blob in bytes, None when it is not there."""
        try:
            return os.stat(self.blob_path(digest)).st_size
        except FileNotFoundError:
            return None

    def open(self, digest: Digest) -> int:
        """Open a blob for reading; the descriptor is the caller's.

        Raises:
            Corrupt: it is not there, although something names it.
        """
        try:
            return os.open(self.blob_path(digest), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise Corrupt(
                f"content {digest} is missing from {self.path}", "load or pull the image again"
            ) from error

    def read(self, digest: Digest) -> bytes:
        """Return a document, checked against its digest.

        Raises:
            Corrupt: missing, damaged, or too long to be a document.
        """
        fd = self.open(digest)
        try:
            if os.fstat(fd).st_size > MAX_DOCUMENT_BYTES:
                raise Corrupt(f"content {digest} is too long to be a document")
        finally:
            os.close(fd)
        data = load_file(self.blob_path(digest))
        meter = Meter(algorithm(digest))
        meter.update(data)
        check(meter, digest, f"content {digest}")
        return data

    def put(self, data: bytes) -> Digest:
        """Store a document; return its digest."""
        with self.ingest() as ingest:
            ingest.write(data)
            return ingest.commit().digest

    def ingest(self, expected: Descriptor | None = None) -> Ingest:
        """Start writing a blob.

        Args:
            expected: what it must turn out to be; None: whatever it is.
        """
        self.prepare()
        return Ingest(self.path, expected)

    def sync_names(self) -> None:
        """Make commits durable; before anything refers to them."""
        for name in _ALGORITHMS:
            sync_directory(f"{self.path}/blobs/{name}")

    def prepare(self) -> None:
        """Make the layout when it is not there."""
        if self._prepared:
            return
        with Border(f"cannot make the content store {self.path}"):
            if not os.path.exists(f"{self.path}/oci-layout"):
                for name in (*(f"blobs/{name}" for name in _ALGORITHMS), "ingest"):
                    os.makedirs(f"{self.path}/{name}", 0o700, exist_ok=True)
                save_file(f"{self.path}/index.json", _INDEX)
                save_file(f"{self.path}/oci-layout", _LAYOUT)
        self._prepared = True

    def remove(self, digest: Digest) -> int:
        """Forget a blob; return the bytes that it took on disk, 0 when it was not there.

        Only for the collector (see the module's docstring).
        """
        path = self.blob_path(digest)
        size_bytes = allocated_bytes(path)
        try:
            os.unlink(path)
        except FileNotFoundError:
            return 0
        return size_bytes

    def digests(self) -> Iterator[Digest]:
        """Yield the digest of every blob."""
        for name in _ALGORITHMS:
            try:
                with os.scandir(f"{self.path}/blobs/{name}") as entries:
                    names = [entry.name for entry in entries]
            except FileNotFoundError:
                continue
            for encoded_name in names:
                yield parse_digest(f"{name}:{encoded_name}")

    def ingest_paths(self) -> list[str]:
        """Return the files of blobs that are being written, or that a crash or a cut left."""
        directory = f"{self.path}/ingest"
        try:
            return [f"{directory}/{name}" for name in os.listdir(directory)]
        except FileNotFoundError:
            return []
