"""Netlink attributes: type, length and value, padded to four bytes (``linux/netlink.h``)."""

from __future__ import annotations

import struct

NESTED = 0x8000
_TYPE_MASK = 0x3FFF

_HEADER = struct.Struct("<HH")
_U32 = struct.Struct("<I")
_BE32 = struct.Struct(">I")


def attr(kind: int, value: bytes) -> bytes:
    """One attribute with raw bytes."""
    length = 4 + len(value)
    return _HEADER.pack(length, kind) + value + bytes(-length % 4)


def attr_u32(kind: int, value: int) -> bytes:
    """One attribute with a number in the machine's order (little-endian here)."""
    return attr(kind, _U32.pack(value & 0xFFFFFFFF))


def attr_be32(kind: int, value: int) -> bytes:
    """One attribute with a number in network order, as nf_tables wants it."""
    return attr(kind, _BE32.pack(value & 0xFFFFFFFF))


def attr_be64(kind: int, value: int) -> bytes:
    """One attribute with a long number in network order."""
    return attr(kind, value.to_bytes(8, "big"))


def attr_text(kind: int, value: str) -> bytes:
    """One attribute with a NUL-terminated string.

    Raises:
        ValueError: the text has a NUL, which would cut it short.
    """
    raw = value.encode()
    if b"\0" in raw:
        raise ValueError(f"a name with a NUL byte: {value!r}")
    return attr(kind, raw + b"\0")


def nest(kind: int, *attributes: bytes) -> bytes:
    """One attribute that holds others."""
    return attr(kind | NESTED, b"".join(attributes))


def parse(data: bytes) -> dict[int, bytes]:
    """Values by type; of repeated types the last. A truncated tail is ignored."""
    return dict(parse_list(data))


def parse_list(data: bytes) -> list[tuple[int, bytes]]:
    """Types and values in order, for lists of elements that share a type."""
    found = []
    at = 0
    while at + 4 <= len(data):
        length, kind = _HEADER.unpack_from(data, at)
        if length < 4:
            break
        found.append((kind & _TYPE_MASK, data[at + 4 : at + length]))
        at += length + (-length % 4)
    return found


def text(value: bytes) -> str:
    """A string attribute without its NUL."""
    return value.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")
