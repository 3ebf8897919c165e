"""The 512-byte header of tar: v7, POSIX ustar and GNU (GNU tar manual, "Basic Tar Format")."""

from __future__ import annotations

import re
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
EXTENSIONS = frozenset({GNU_LONG_NAME, GNU_LONG_LINK, PAX_NEXT, PAX_GLOBAL})

# Offsets of the fields; numbers are kept apart from names.
_NAME_END = 100
_MODE = slice(100, 108)
_UID = slice(108, 116)
_GID = slice(116, 124)
_SIZE = slice(124, 136)
_MTIME = slice(136, 148)
_CHECKSUM = slice(148, 156)
_KIND = 156
_LINK = 157
_LINK_END = 257
_MAGIC = slice(257, 263)
_MAJOR = slice(329, 337)
_MINOR = slice(337, 345)
_PREFIX = 345
_PREFIX_END = 500

# The numeric fields as nearly all writers write them; one match takes the place of six parses.
_PLAIN_NUMBERS = re.compile(
    rb"([0-7]{7})[ \0]([0-7]{7})[ \0]([0-7]{7})[ \0]"
    rb"([0-7]{11})[ \0]([0-7]{11})[ \0]([0-7]{6})[ \0]{2}"
)
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
    plain = _PLAIN_NUMBERS.match(block, _NAME_END)
    if plain:
        mode, uid, gid, size, mtime, checksum = [int(digits, 8) for digits in plain.groups()]
        _check_sum(block, checksum, what)
        mtime_ns = mtime * 1_000_000_000
    else:
        _check_sum(block, _parse_checksum(block[_CHECKSUM], what), what)
        mode, uid, gid = (parse_number(block[field], what) for field in (_MODE, _UID, _GID))
        size = parse_number(block[_SIZE], what)
        mtime_ns = clamp_time_ns(parse_number(block[_MTIME], what) * 1_000_000_000)
    name = _until_nul(block, 0, _NAME_END)
    if block[_PREFIX] and block[_MAGIC] == _POSIX_MAGIC:
        name = _until_nul(block, _PREFIX, _PREFIX_END) + b"/" + name
    kind = block[_KIND : _KIND + 1]
    if kind in b"\x000" and name.endswith(b"/"):
        kind = DIRECTORY  # v7 had no type for directories
    else:
        kind = _KINDS.get(kind, kind)
    link = _until_nul(block, _LINK, _LINK_END) if block[_LINK] else b""
    entry = Entry(name, kind, mode & 0o7777, uid, gid, size, mtime_ns, link)
    if kind in (CHARACTER, BLOCK):
        entry.major = parse_number(block[_MAJOR], what)
        entry.minor = parse_number(block[_MINOR], what)
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


def _check_sum(block: bytes, checksum: int, what: str) -> None:
    # The field itself counts as spaces. The low half of Adler-32 is 1 plus the sum of the bytes
    # modulo 65521 (RFC 1950): the same check at a tenth of the price of sum().
    expected = checksum - _CHECKSUM_SPACES
    written = sum(block[_CHECKSUM])
    if (expected + written + 1) % 65521 == zlib.adler32(block) & 0xFFFF:
        return
    # Sun's tar summed signed chars; readers accept both (POSIX pax, rationale).
    signed = sum(struct.unpack("512b", block)) - sum(struct.unpack("8b", block[_CHECKSUM]))
    if expected != signed:
        raise _no_tar(what)


def _parse_checksum(field: bytes, what: str) -> int:
    try:
        return parse_number(field, what)
    except Corrupt as error:
        raise _no_tar(what) from error


def _no_tar(what: str) -> Corrupt:
    return Corrupt(f"{what} is not a tar archive, or is damaged: wrong header checksum")


def _until_nul(block: bytes, start: int, end: int) -> bytes:
    nul = block.find(b"\0", start, end)
    return block[start : nul if nul >= 0 else end]
