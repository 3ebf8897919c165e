"""The 512-byte header of tar: v7, POSIX ustar and GNU (GNU tar manual, "Basic Tar Format")."""

from __future__ import annotations

import struct
import zlib

from proa.errors import Corrupt
from proa.image.layers.entry import (
    BLOCK,
    CHARACTER,
    DIRECTORY,
    FIFO,
    LINK,
    REGULAR,
    SYMLINK,
    Entry,
)
from proa.image.layers.pax import clamp_time_ns
from proa.image.layers.stream import BLOCK_BYTES

ZERO_BLOCK = bytes(BLOCK_BYTES)

GNU_LONG_NAME = b"L"
GNU_LONG_LINK = b"K"
GNU_SPARSE = b"S"
PAX_NEXT = b"x"
PAX_GLOBAL = b"g"

# name mode uid gid size mtime checksum type link magic version uname gname major minor prefix
_FIELDS = struct.Struct("100s8s8s8s12s12s8s1s100s6s2s32s32s8s8s155s12x")
_POSIX_MAGIC = b"ustar\0"
_CHECKSUM_SPACES = 8 * 0x20
_ENDS = b" \0"
_KINDS = {
    b"\0": REGULAR,
    b"0": REGULAR,
    b"7": REGULAR,  # contiguous: a hint to filesystems of the 1980s
    b"D": DIRECTORY,  # GNU's dump directory; the list of names in its data is for incremental dumps
}
_WITHOUT_DATA = frozenset({LINK, SYMLINK, CHARACTER, BLOCK, DIRECTORY, FIFO})


def parse_header(block: bytes, what: str) -> Entry:
    """Read one header; extended headers and GNU's additions come out with their own ``kind``.

    Args:
        block: 512 bytes that are not all zero.
        what: names the archive in messages.

    Raises:
        Corrupt: wrong checksum or malformed numbers.
    """
    (
        name,
        mode,
        uid,
        gid,
        size,
        mtime,
        checksum,
        kind,
        link,
        magic,
        _,
        _,
        _,
        major,
        minor,
        prefix,
    ) = _FIELDS.unpack(block)
    _check_sum(block, checksum, what)
    name = _until_nul(name)
    if magic == _POSIX_MAGIC and prefix[0]:
        name = _until_nul(prefix) + b"/" + name
    if kind in b"\x000" and name.endswith(b"/"):
        kind = DIRECTORY  # v7 had no type for directories
    else:
        kind = _KINDS.get(kind, kind)
    entry = Entry(
        name,
        kind,
        mode=parse_number(mode, what) & 0o7777,
        uid=parse_number(uid, what),
        gid=parse_number(gid, what),
        size=parse_number(size, what),
        mtime_ns=clamp_time_ns(parse_number(mtime, what) * 1_000_000_000),
        link=_until_nul(link),
    )
    if kind in (CHARACTER, BLOCK):
        entry.major = parse_number(major, what)
        entry.minor = parse_number(minor, what)
    return entry


def has_data(kind: bytes) -> bool:
    """Say whether data follows the header; the size of other kinds means nothing (POSIX pax)."""
    return kind not in _WITHOUT_DATA


def parse_number(field: bytes, what: str) -> int:
    """Read a numeric field: octal digits, or GNU's base 256 when the first bit is set.

    Raises:
        Corrupt: malformed.
    """
    if field[0] & 0x80:
        # Two's complement of all bits but the marker; 0xff starts a negative number.
        number = int.from_bytes(field, "big")
        bits = len(field) * 8
        number = number - (1 << bits) if field[0] == 0xFF else number - (1 << (bits - 1))
        if not -(1 << 63) <= number < 1 << 63:
            raise Corrupt(f"{what} has a number of more than 63 bits in a header")
        return number
    digits = field[:-1]
    if not (digits.isdigit() and field[-1] in _ENDS):
        # Spaces before, or garbage after the NUL that ends the digits: both are old habits.
        digits = field.partition(b"\0")[0].strip(b" ")
        if not digits:
            return 0
    # isdigit() keeps out the signs, prefixes and underscores that int() takes.
    if digits.isdigit():
        try:
            return int(digits, 8)
        except ValueError:
            pass
    raise Corrupt(f"{what} has the malformed number {field!r} in a header")


def _check_sum(block: bytes, checksum: bytes, what: str) -> None:
    try:
        expected = parse_number(checksum, what) - _CHECKSUM_SPACES
    except Corrupt:
        expected = -1
    # The low half of Adler-32 is 1 plus the sum of the bytes modulo 65521 (RFC 1950): the same
    # check at a tenth of the price of sum(), which would be a quarter of reading a header.
    if (expected + sum(checksum) + 1) % 65521 == zlib.adler32(block) & 0xFFFF:
        return
    # Sun's tar summed signed chars; readers accept both (POSIX pax, rationale).
    if expected != sum(struct.unpack("512b", block)) - sum(struct.unpack("8b", checksum)):
        raise Corrupt(f"{what} is not a tar archive, or is damaged: wrong header checksum")


def _until_nul(field: bytes) -> bytes:
    end = field.find(b"\0")
    return field if end < 0 else field[:end]
