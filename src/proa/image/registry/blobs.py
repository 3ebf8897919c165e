"""Reading blobs of a repository, also from the middle on after a cut.

OCI distribution spec 1.1, "Pulling blobs"; RFC 9110 section 14 for ranges. Nothing is hashed here:
what arrives is a claim until whoever writes it down has compared its digest.
"""

from __future__ import annotations

import re
from types import TracebackType

from proa.errors import Corrupt, NotFound, Unavailable
from proa.image.registry.client import Request
from proa.image.registry.repository import Repository, escape
from proa.image.registry.retry import backoff_s
from proa.image.registry.transport import Answer, discard, read_some
from proa.oci.descriptor import Descriptor
from proa.oci.digest import Digest

CHUNK_BYTES = 256 << 10
_CUTS_WITHOUT_PROGRESS = 5
_CONTENT_RANGE = re.compile(r"bytes\s+(\d+)-(\d+)/(\d+|\*)\Z", re.ASCII)


class BlobReader:
    """The bytes of a blob, exactly ``descriptor.size`` of them; a context manager.

    A connection that breaks or stands still is replaced by one that starts where it ended. The
    length that the registry announces is held against the descriptor before the first byte is used.

    Args:
        repository: where.
        descriptor: which, and how long.
        offset: first byte wanted; the bytes before are at hand already.
    """

    def __init__(self, repository: Repository, descriptor: Descriptor, offset: int = 0) -> None:
        self.offset = offset
        self._repository = repository
        self._descriptor = descriptor
        self._answer: Answer | None = None
        self._skipped = 0
        self._cuts = 0

    def __enter__(self) -> BlobReader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Drop the connection, unless it is at its end and can be used again."""
        if self._answer is not None:
            self._answer.close()
            self._answer = None

    def read(self) -> bytes:
        """Return the next bytes, at most ``CHUNK_BYTES``; empty at the end.

        Raises:
            NotFound: the registry does not have it.
            Corrupt: it is longer than its descriptor says.
            Unavailable: the connection was cut too often without getting further.
        """
        size = self._descriptor.size
        while self.offset < size:
            if self._answer is None:
                # Fails for good when it fails: the client has repeated it already.
                self._answer = self._open()
            try:
                self._skip_known()
                piece = self._read_piece()
                if not piece:
                    raise Unavailable(f"{self._name()} ended after {self.offset} of {size} bytes")
            except Unavailable:
                self.close()
                self._cuts += 1
                if self._cuts > _CUTS_WITHOUT_PROGRESS:
                    raise
                endpoint = self._repository.endpoints[-1]
                self._repository.client.pause(backoff_s(self._cuts - 1), endpoint)
                continue
            self._cuts = 0
            self.offset += len(piece)
            self._skipped = self.offset
            if self.offset == size:
                self._finish()
            return piece
        return b""

    def _finish(self) -> None:
        """Refuse a blob that goes on after its size."""
        more = self._read_piece()
        self.close()
        if more:
            raise Corrupt(f"{self._name()} is longer than the {self._descriptor.size} bytes it has")

    def _read_piece(self) -> bytes:
        answer = self._answer
        assert answer is not None
        left = max(self._descriptor.size - self.offset, 1)
        return read_some(answer, min(CHUNK_BYTES, left))

    def _open(self) -> Answer:
        """Ask for the blob from ``offset`` on; a registry without ranges sends all of it again."""
        headers = {"Range": f"bytes={self.offset}-"} if self.offset else {}
        answer = self._repository.read(
            Request(
                method="GET",
                target=f"blobs/{escape(self._descriptor.digest)}",
                doing=f"cannot fetch {self._name()}",
                headers=headers,
                success=(200, 206),
            )
        )
        self._skipped = 0 if answer.status == 200 else self.offset
        try:
            self._check_length(answer)
        except BaseException:
            answer.close()
            raise
        return answer

    def _check_length(self, answer: Answer) -> None:
        size = self._descriptor.size
        length = answer.headers.get("Content-Length")
        if answer.status == 206:
            found = _CONTENT_RANGE.match(answer.headers.get("Content-Range") or "")
            if not found or int(found[1]) != self.offset:
                raise Corrupt(f"{self._name()} was answered with a range that was not asked for")
            if found[3] != "*" and int(found[3]) != size:
                raise Corrupt(f"{self._name()} is {found[3]} bytes long instead of {size}")
        elif length is not None and length.isdigit() and int(length) != size:
            raise Corrupt(f"{self._name()} is {length} bytes long instead of {size}")

    def _skip_known(self) -> None:
        """Drop what a registry without ranges sends again."""
        answer = self._answer
        assert answer is not None
        while self._skipped < self.offset:
            piece = read_some(answer, min(CHUNK_BYTES, self.offset - self._skipped))
            if not piece:
                raise Unavailable(f"{self._name()} was cut before byte {self.offset}")
            self._skipped += len(piece)

    def _name(self) -> str:
        return f"blob {self._descriptor.digest} of {self._repository}"


def read_blob(repository: Repository, descriptor: Descriptor, limit_bytes: int) -> bytes:
    """Fetch a small blob into memory; it is not verified.

    Raises:
        Corrupt: it is or claims to be larger than ``limit_bytes``.
    """
    if descriptor.size > limit_bytes:
        raise Corrupt(
            f"blob {descriptor.digest} of {repository} claims {descriptor.size} bytes, more than "
            f"{limit_bytes}"
        )
    pieces = []
    with BlobReader(repository, descriptor) as reader:
        while piece := reader.read():
            pieces.append(piece)
    return b"".join(pieces)


def has_blob(repository: Repository, digest: Digest) -> bool:
    """Tell whether the registry itself (no mirror) has a blob."""
    try:
        answer = repository.ask(
            Request(
                method="HEAD",
                target=f"blobs/{escape(digest)}",
                doing=f"cannot look for blob {digest} of {repository}",
            )
        )
    except NotFound:
        return False
    discard(answer)
    return True
