"""The files of a log as one sequence of lines that can be read on while it grows and rotates."""

from __future__ import annotations

import os
from types import TracebackType
from typing import IO, Final

from proa.engine.logs.rotation import LogFile, list_files

_BLOCK_BYTES: Final = 128 * 1024
# An entry is 16 KiB of text, at most sixfold by escapes, plus attributes: beyond this it is damage.
_LONGEST_LINE_BYTES: Final = 4 * 1024 * 1024
# A file's times come from a clock that may be a tick behind that of its entries.
_CLOCK_MARGIN_NS: Final = 1_000_000_000


class LogSequence:
    """A place in a log. A context manager that owns one open file."""

    def __init__(self, path: str) -> None:
        """Begin before the oldest entry of the log at ``path``."""
        self._path = path
        self._file: IO[bytes] | None = None
        self._opened: LogFile | None = None
        self._rest = b""

    def __enter__(self) -> LogSequence:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the open file."""
        self.close()

    def close(self) -> None:
        """Close the open file. Idempotent."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def seek(self, tail: int, since_ns: int) -> None:
        """Go to the first line to read.

        Args:
            tail: that many lines before the end; -1: to the beginning.
            since_ns: rotated files whose last entry is older may be skipped; 0: none.
        """
        files = _stable_list(self._path)
        if tail >= 0:
            self._seek_tail(files, tail)
            return
        for file in files:
            if file is not files[-1] and file.modified_at_ns + _CLOCK_MARGIN_NS < since_ns:
                continue
            if self._open(file):
                return

    def read_lines(self) -> bytes:
        """Return the next whole lines, or nothing when there is no more for now."""
        while True:
            block = self._file.read(_BLOCK_BYTES) if self._file else b""
            if block:
                lines = self._whole_lines(block)
                if lines:
                    return lines
            elif not self._advance():
                return b""

    def _whole_lines(self, block: bytes) -> bytes:
        data = self._rest + block
        cut = data.rfind(b"\n") + 1
        self._rest = data[cut:]
        if len(self._rest) > _LONGEST_LINE_BYTES:
            self._rest = b""
        return data[:cut]

    def _advance(self) -> bool:
        """Go to the next file; False when the current one is the newest and read to its end."""
        if self._file is not None and self._is_newest():
            return False
        # Written to between the read that found the end and the rotation?
        if self._file is not None and (block := self._file.read(_BLOCK_BYTES)):
            self._file.seek(-len(block), os.SEEK_CUR)
            return True
        files = _stable_list(self._path)
        here = self._identity()
        position = next(
            (i for i, file in enumerate(files) if (file.inode, file.modified_at_ns) == here), -1
        )
        return any(self._open(file) for file in files[position + 1 :])

    def _is_newest(self) -> bool:
        if self._opened is None or self._opened.compressed:
            return False
        try:
            return os.stat(self._path).st_ino == self._opened.inode
        except FileNotFoundError:
            return True  # in the middle of a rotation: the next file is not there yet

    def _identity(self) -> tuple[int, int]:
        """Return what the open file is found by, wherever rotations have put it."""
        if self._file is None or self._opened is None:
            return -1, -1
        if self._opened.compressed:
            return self._opened.inode, self._opened.modified_at_ns
        status = os.fstat(self._file.fileno())
        return status.st_ino, status.st_mtime_ns

    def _open(self, file: LogFile) -> bool:
        """Make ``file`` the current one; False if it has been rotated away meanwhile."""
        try:
            opened = _open_compressed(file) if file.compressed else _open_plain(file)
        except FileNotFoundError:
            return False
        if not file.compressed and os.fstat(opened.fileno()).st_ino != file.inode:
            opened.close()
            return False
        self.close()
        self._file, self._opened, self._rest = opened, file, b""
        return True

    def _seek_tail(self, files: list[LogFile], lines: int) -> None:
        # One newline more than lines: the one that ends the line before them.
        wanted = lines + 1
        for file in reversed(files):
            if not self._open(file) or self._file is None:
                continue
            if file.compressed:
                offset, wanted = _find_line_forwards(self._file, wanted)
            else:
                offset, wanted = _find_line_backwards(self._file, wanted)
            self._file.seek(offset)
            if wanted == 0:
                return


def _find_line_backwards(file: IO[bytes], newlines: int) -> tuple[int, int]:
    """Return the offset behind the n-th newline from the end, and how many were not found."""
    end = os.fstat(file.fileno()).st_size
    while end > 0:
        start = max(end - _BLOCK_BYTES, 0)
        block = os.pread(file.fileno(), end - start, start)
        found = block.count(b"\n")
        if found >= newlines:
            position = len(block)
            for _ in range(newlines):
                position = block.rfind(b"\n", 0, position)
            return start + position + 1, 0
        newlines -= found
        end = start
    return 0, newlines


def _find_line_forwards(file: IO[bytes], newlines: int) -> tuple[int, int]:
    """Do the same for a file that can only be read from its beginning."""
    total = 0
    while block := file.read(_BLOCK_BYTES):
        total += block.count(b"\n")
    file.seek(0)
    if total < newlines:
        return 0, newlines - total
    skipped, offset = total - newlines + 1, 0
    while block := file.read(_BLOCK_BYTES):
        found = block.count(b"\n")
        if found >= skipped:
            position = -1
            for _ in range(skipped):
                position = block.find(b"\n", position + 1)
            return offset + position + 1, 0
        skipped -= found
        offset += len(block)
    return offset, 0


def _stable_list(path: str) -> list[LogFile]:
    """Return the files as no rotation in between has shown them."""
    files = list_files(path)
    while _places(again := list_files(path)) != _places(files):
        files = again
    return again


def _places(files: list[LogFile]) -> list[tuple[str, int]]:
    return [(file.path, file.inode) for file in files]


def _open_compressed(file: LogFile) -> IO[bytes]:
    from isal import igzip

    opened: IO[bytes] = igzip.open(file.path, "rb")  # type: ignore[no-untyped-call]
    return opened


def _open_plain(file: LogFile) -> IO[bytes]:
    return open(file.path, "rb", buffering=0)
