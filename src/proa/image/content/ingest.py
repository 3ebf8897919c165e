"""Writing one blob: staged under ``ingest/``, hashed as it comes, fsynced, renamed into place.

The file is locked while it has a writer. One whose digest is known beforehand is named after it,
so that a later ingest of the same content takes over what an interrupted one left (its bytes are
hashed again, not trusted). When somebody else is writing it right now, a second file is written:
waiting would tie this image to the pace of another.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from types import TracebackType

from proa.errors import Corrupt
from proa.fs.atomicfile import write_all
from proa.image.border import Border
from proa.image.content.verify import Meter, check
from proa.oci.descriptor import Descriptor
from proa.oci.digest import algorithm, encoded

_READ_BYTES = 1024 * 1024
_MODE = 0o600


class Ingest:
    """A blob on its way in. A context manager: what was not committed is removed at its end.

    Attributes:
        offset: bytes that are there already; the writer goes on from here.
    """

    def __init__(self, content: str, expected: Descriptor | None = None) -> None:
        """Open the staged file below ``content``.

        Args:
            content: directory of the store, prepared.
            expected: what the blob must be; None: sha256 of whatever comes.
        """
        self._content = content
        self._expected = expected
        self._meter = Meter(algorithm(expected.digest) if expected else "sha256")
        self._keep = False
        with Border("cannot stage a blob"):
            self._path, self._fd = self._open()
            self.offset = self._resume()

    def staged(self) -> Iterator[bytes]:
        """Yield the ``offset`` bytes that were there already."""
        position = 0
        with Border(f"cannot read {self._path}"):
            while position < self.offset:
                wanted = min(_READ_BYTES, self.offset - position)
                data = os.pread(self._fd, wanted, position)
                position += len(data)
                yield data

    def write(self, data: bytes | memoryview) -> None:
        """Append.

        Raises:
            Corrupt: more than was announced.
            ProaError: the disk's reasons.
        """
        self._meter.update(data)
        if self._expected and self._meter.size > self._expected.size:
            check(self._meter, self._expected, f"content {self._expected.digest}")
        with Border(f"cannot write {self._path}"):
            write_all(self._fd, data)

    def commit(self) -> Descriptor:
        """Make the blob part of the store; idempotent for one content.

        Its name survives power loss from ``ContentStore.sync_names`` on, which comes before
        anything refers to it.

        Returns:
            Digest and size (with the media type that was expected, else
            ``application/octet-stream``).

        Raises:
            Corrupt: not what was expected; nothing is committed.
        """
        if self._expected:
            check(self._meter, self._expected, f"content {self._expected.digest}")
        digest = self._meter.digest()
        target = f"{self._content}/blobs/{algorithm(digest)}/{encoded(digest)}"
        with Border(f"cannot commit {digest}"):
            try:
                present = os.stat(target).st_size == self._meter.size
            except FileNotFoundError:
                present = False
            if not present:
                os.fsync(self._fd)
                os.rename(self._path, target)
                self._close()
        return self._expected or Descriptor(
            media_type="application/octet-stream", digest=digest, size=self._meter.size
        )

    def keep(self) -> None:
        """Leave what is there for a later ingest of the same digest to go on from."""
        self._keep = self._expected is not None

    def __enter__(self) -> Ingest:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._fd >= 0:
            # Unlinked while still locked: nobody can have taken it over in between.
            if not self._keep or isinstance(error, Corrupt):
                os.unlink(self._path)
            self._close()

    def _open(self) -> tuple[str, int]:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        if self._expected:
            path = f"{self._content}/ingest/{self._expected.digest.replace(':', '-')}"
            fd = os.open(path, flags, _MODE)
            if _lock(fd) and _is_at(fd, path):
                return path, fd
            os.close(fd)
        path = f"{self._content}/ingest/{os.urandom(16).hex()}"
        fd = os.open(path, flags | os.O_EXCL, _MODE)
        _lock(fd)
        return path, fd

    def _resume(self) -> int:
        expected = self._expected
        if expected and os.fstat(self._fd).st_size > expected.size:
            os.ftruncate(self._fd, 0)
        while data := os.read(self._fd, _READ_BYTES):
            self._meter.update(data)
        return self._meter.size

    def _close(self) -> None:
        os.close(self._fd)
        self._fd = -1


def _lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(fd: int, path: str) -> bool:
    """Say whether the name still means this file: its last writer may have renamed it away."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return False
    own = os.fstat(fd)
    return (found.st_dev, found.st_ino) == (own.st_dev, own.st_ino)
