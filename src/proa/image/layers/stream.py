"""A stream of bytes that comes in pieces, read by exact amounts."""

from __future__ import annotations

import os
from collections.abc import Iterator

from proa.errors import Corrupt

BLOCK_BYTES = 512


class ByteStream:
    """Reads pieces as one stream, holding one piece at a time.

    Attributes:
        offset: bytes taken so far.
    """

    __slots__ = ("_chunk", "_chunks", "_position", "_what", "offset")

    def __init__(self, chunks: Iterator[bytes], what: str) -> None:
        """Read ``chunks``; ``what`` names the stream in messages."""
        self._chunks = chunks
        self._what = what
        self._chunk = b""
        self._position = 0
        self.offset = 0

    def read_block(self) -> bytes:
        """Return the next 512 bytes; empty at the end of the stream.

        Raises:
            Corrupt: the end comes within the block.
        """
        start = self._position
        block = self._chunk[start : start + BLOCK_BYTES]
        if len(block) == BLOCK_BYTES:
            self._position = start + BLOCK_BYTES
            self.offset += BLOCK_BYTES
            return block
        if not block and not self._refill():
            return b""
        return self.read(BLOCK_BYTES)

    def read(self, size: int) -> bytes:
        """Return exactly ``size`` bytes (the caller has bounded it).

        Raises:
            Corrupt: the stream ends before.
        """
        parts = [bytes(view) for view in self.views(size)]
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def views(self, size: int) -> Iterator[memoryview]:
        """Yield exactly ``size`` bytes in pieces; each is valid until the next is asked for.

        Raises:
            Corrupt: the stream ends before.
        """
        left = size
        while left:
            available = len(self._chunk) - self._position
            if not available:
                if not self._refill():
                    raise Corrupt(f"{self._what} is cut short: {left} more bytes were announced")
                continue
            take = min(available, left)
            start = self._position
            self._position = start + take
            self.offset += take
            left -= take
            yield memoryview(self._chunk)[start : start + take]

    def copy(self, fd: int, size: int) -> None:
        """Write exactly ``size`` bytes to ``fd``; errors as :meth:`views` and write(2)."""
        # The common case, a small file within one piece, costs one write and no generator.
        start = self._position
        if size <= len(self._chunk) - start:
            view = memoryview(self._chunk)[start : start + size]
            self._position = start + size
            self.offset += size
            while view:
                view = view[os.write(fd, view) :]
            return
        for view in self.views(size):
            rest = view
            while rest:
                rest = rest[os.write(fd, rest) :]

    def skip(self, size: int) -> None:
        """Pass over exactly ``size`` bytes."""
        left = len(self._chunk) - self._position
        if size <= left:
            self._position += size
            self.offset += size
            return
        for _ in self.views(size):
            pass

    def rest(self) -> Iterator[memoryview]:
        """Yield whatever is left."""
        while self._position < len(self._chunk) or self._refill():
            view = memoryview(self._chunk)[self._position :]
            self._position = len(self._chunk)
            self.offset += len(view)
            yield view

    def _refill(self) -> bool:
        for chunk in self._chunks:
            if chunk:
                self._chunk = chunk
                self._position = 0
                return True
        return False
