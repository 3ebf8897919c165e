"""The files of one log: the current one and the rotated ones behind it.

::

    <path>          current, appended to by the supervisor alone
    <path>.1        the one before (``.1.gz`` with compress)
    <path>.2 ...    older ones; the highest number falls off

A rotation makes the new current file under another name first (a full disk then changes nothing),
renames from the oldest to the newest and puts it in place last: a crash in between leaves a gap in
the numbers or no current file, never a lost or doubled entry.

A compressed file carries inode number and modification time of its original in the gzip header
(FNAME, RFC 1952): a reader that still has the original open finds its place in the sequence by
them. (The number alone does not do: it is free, and soon used again, once the original is removed.)
"""

from __future__ import annotations

import os
import struct
from typing import Final

import msgspec

_COPY_BYTES: Final = 256 * 1024


class LogFile(msgspec.Struct, frozen=True):
    """One file of a log.

    Attributes:
        path: where it was when it was listed.
        inode: of the file as it was written, also when that has been compressed since.
        modified_at_ns: of the file as it was written.
    """

    path: str
    inode: int
    modified_at_ns: int
    compressed: bool = False


def rotate(path: str, max_files: int, *, compress: bool) -> int:
    """Put the current file behind and create a new one.

    Returns:
        The descriptor of the new current file.

    Raises:
        OSError: the new file cannot be made; nothing has changed.
    """
    staged = path + ".new"
    _remove(staged)
    descriptor = create(staged)
    kept = max_files - 1
    if kept:
        for suffix in ("", ".gz"):
            _remove(f"{path}.{kept}{suffix}")
        for number in range(kept - 1, 0, -1):
            for suffix in ("", ".gz"):
                _rename(f"{path}.{number}{suffix}", f"{path}.{number + 1}{suffix}")
        _rename(path, f"{path}.1")
    # With one file this replaces it: readers that have it open may finish it.
    os.rename(staged, path)
    if kept and compress:
        try:
            _compress(f"{path}.1")
        except OSError:
            pass  # the uncompressed file is as good; it is not tried again
    return descriptor


def create(path: str) -> int:
    """Open a log's current file for appending, made 0640 if it is not there."""
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
    return os.open(path, flags, 0o640)


def list_files(path: str) -> list[LogFile]:
    """Return the files of a log, oldest first. A rotation at the same time may hide one."""
    directory, name = os.path.split(path)
    found: list[tuple[int, LogFile]] = []
    try:
        entries = os.listdir(directory or ".")
    except FileNotFoundError:
        return []
    for entry in entries:
        number = _number(entry, name)
        if number is None:
            continue
        member = os.path.join(directory, entry)
        compressed = entry.endswith(".gz")
        try:
            inode, modified_at_ns = _read_origin(member) if compressed else _stat(member)
        except OSError:
            continue
        found.append((number, LogFile(member, inode, modified_at_ns, compressed)))
    # While a file is being compressed both forms are complete enough to list; the original wins.
    found.sort(key=lambda item: (-item[0], item[1].compressed))
    return [item for i, (number, item) in enumerate(found) if i == 0 or found[i - 1][0] != number]


def remove(path: str) -> None:
    """Remove all files of a log. Idempotent."""
    for member in list_files(path):
        _remove(member.path)


def _number(entry: str, name: str) -> int | None:
    if entry == name:
        return 0
    if not entry.startswith(name + "."):
        return None
    digits = entry[len(name) + 1 :].removesuffix(".gz")
    return int(digits) if digits.isascii() and digits.isdecimal() else None


def _compress(path: str) -> None:
    from isal import isal_zlib

    staged = path + ".gz.new"
    with open(path, "rb", buffering=0) as source:
        status = os.fstat(source.fileno())
        target = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
        try:
            # The last two: compressed fast, on Unix.
            header = struct.pack("<4BI2B", 0x1F, 0x8B, 8, 8, int(status.st_mtime), 4, 3)
            origin = b"%d-%d\0" % (status.st_ino, status.st_mtime_ns)
            _write_all(target, header + origin)
            deflate = isal_zlib.compressobj(1, isal_zlib.DEFLATED, -15)
            crc, size = 0, 0
            while block := source.read(_COPY_BYTES):
                crc, size = isal_zlib.crc32(block, crc), size + len(block)
                _write_all(target, deflate.compress(block))
            _write_all(target, deflate.flush() + struct.pack("<2I", crc, size & 0xFFFFFFFF))
        except BaseException:
            _remove(staged)
            raise
        finally:
            os.close(target)
    os.rename(staged, path + ".gz")
    os.unlink(path)


def _stat(path: str) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_ino, status.st_mtime_ns


def _read_origin(path: str) -> tuple[int, int]:
    """Return inode number and modification time of what was compressed; zeros if unknown."""
    with open(path, "rb", buffering=0) as file:
        header = file.read(64)
    name = header[10:].split(b"\0", 1)[0] if header[3:4] == b"\x08" else b""
    inode, _, modified_at_ns = name.partition(b"-")
    if inode.isdigit() and modified_at_ns.isdigit():
        return int(inode), int(modified_at_ns)
    return 0, 0


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _rename(source: str, target: str) -> None:
    try:
        os.rename(source, target)
    except FileNotFoundError:
        pass


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
