"""Writing tar archives: ustar headers, pax records for what does not fit, nothing that varies."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from proa.image.layers.entry import DIRECTORY, REGULAR, Entry
from proa.image.layers.stream import BLOCK_BYTES

Write = Callable[[bytes | memoryview], object]

_MAX_OCTAL_8 = 0o7777777
_MAX_OCTAL_12 = 0o77777777777
_NAME_BYTES = 100
_END = bytes(2 * BLOCK_BYTES)
_NANOSECONDS = 1_000_000_000


class TarWriter:
    """Writes entries to a function that takes bytes. ``close`` writes the end of the archive."""

    def __init__(self, write: Write) -> None:
        """Write through ``write``, which takes all that it is given."""
        self._write = write

    def add(self, entry: Entry, data: Iterable[bytes | memoryview] = ()) -> None:
        """Write an entry and its data, which is ``entry.size`` bytes long.

        Raises:
            ValueError: the data is longer or shorter; the archive is unusable then.
        """
        self._write(encode_header(entry))
        left = entry.size
        for piece in data:
            left -= len(piece)
            if left < 0:
                break
            self._write(piece)
        if left:
            raise ValueError(f"{entry.name!r} changed its size while it was written")
        if padding := -entry.size % BLOCK_BYTES:
            self._write(bytes(padding))

    def add_file(self, name: str, data: bytes) -> None:
        """Write a small read-only file of root's, with no time."""
        self.add(Entry(name.encode(), REGULAR, size=len(data)), (data,))

    def add_directory(self, name: str) -> None:
        """Write a directory of root's, with no time."""
        self.add(Entry(f"{name}/".encode(), DIRECTORY, mode=0o755))

    def close(self) -> None:
        """End the archive."""
        self._write(_END)


def encode_header(entry: Entry) -> bytes:
    """Return the header blocks of an entry, with an extended header before if one is needed."""
    records: list[tuple[bytes, bytes]] = []
    name, link = entry.name, entry.link
    if len(name) > _NAME_BYTES or not name.isascii():
        records.append((b"path", name))
        name = name[:_NAME_BYTES]
    if len(link) > _NAME_BYTES or not link.isascii():
        records.append((b"linkpath", link))
        link = link[:_NAME_BYTES]
    for key, number, limit in (
        (b"uid", entry.uid, _MAX_OCTAL_8),
        (b"gid", entry.gid, _MAX_OCTAL_8),
        (b"size", entry.size, _MAX_OCTAL_12),
    ):
        if number > limit:
            records.append((key, b"%d" % number))
    seconds, fraction = divmod(entry.mtime_ns, _NANOSECONDS)
    if fraction or not 0 <= seconds <= _MAX_OCTAL_12:
        records.append((b"mtime", _time(entry.mtime_ns)))
    for attribute, value in sorted((entry.xattrs or {}).items()):
        records.append((b"SCHILY.xattr." + attribute.encode("utf-8", "surrogateescape"), value))
    header = _block(entry, name, link, max(0, min(seconds, _MAX_OCTAL_12)))
    return _extended_header(records) + header if records else header


def _block(
    entry: Entry, name: bytes, link: bytes, seconds: int, kind: bytes | None = None
) -> bytes:
    fields = [
        name.ljust(_NAME_BYTES, b"\0"),
        b"%07o\0" % entry.mode,
        b"%07o\0" % min(entry.uid, _MAX_OCTAL_8),
        b"%07o\0" % min(entry.gid, _MAX_OCTAL_8),
        b"%011o\0" % min(entry.size, _MAX_OCTAL_12),
        b"%011o\0" % seconds,
        b" " * 8,
        kind or entry.kind,
        link.ljust(_NAME_BYTES, b"\0"),
        b"ustar\x0000",
        bytes(64),
        b"%07o\0" % entry.major,
        b"%07o\0" % entry.minor,
        bytes(167),
    ]
    block = b"".join(fields)
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def _extended_header(records: list[tuple[bytes, bytes]]) -> bytes:
    data = b"".join(_record(key, value) for key, value in records)
    entry = Entry(b"././@PaxHeader", b"x", size=len(data))
    return _block(entry, entry.name, b"", 0) + data + bytes(-len(data) % BLOCK_BYTES)


def _record(key: bytes, value: bytes) -> bytes:
    body = b" " + key + b"=" + value + b"\n"
    # The length counts its own digits.
    length = len(body) + len(b"%d" % len(body))
    if len(b"%d" % length) + len(body) != length:
        length += 1
    return b"%d" % length + body


def _time(time_ns: int) -> bytes:
    sign = b"-" if time_ns < 0 else b""
    seconds, fraction = divmod(abs(time_ns), _NANOSECONDS)
    digits = (b"%09d" % fraction).rstrip(b"0")
    return sign + b"%d" % seconds + (b"." + digits if digits else b"")
