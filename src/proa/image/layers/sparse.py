"""Sparse files in archives: GNU's old format and pax 0.0, 0.1 and 1.0.

GNU tar manual, "Sparse Formats". A map lists the pieces of data; what lies between stays a hole on
disk.
"""

from __future__ import annotations

from collections.abc import Callable

from proa.errors import Corrupt
from proa.image.layers.entry import Entry
from proa.image.layers.header import parse_number
from proa.image.layers.pax import Extended
from proa.image.layers.pax import parse_number as parse_decimal
from proa.image.layers.stream import BLOCK_BYTES
from proa.image.limits import Limits

_OLD_MAP = 386  # offset of the 4 pairs in a header; 21 pairs fill an extension block
_OLD_PAIRS = 4
_OLD_IS_EXTENDED = 482
_OLD_REAL_SIZE = slice(483, 495)
_EXTENSION_PAIRS = 21
_EXTENSION_IS_EXTENDED = 504
_PAIR_BYTES = 24

ReadBlock = Callable[[], bytes]


def read_old_map(
    entry: Entry, header: bytes, read_block: ReadBlock, what: str, limits: Limits
) -> None:
    """Fill an entry of GNU's type ``S`` from its header and the extension blocks after it."""
    extents = _old_pairs(header, _OLD_MAP, _OLD_PAIRS, what)
    more = header[_OLD_IS_EXTENDED]
    while more:
        block = read_block()
        if not block:
            raise Corrupt(f"{what} is cut short in a sparse map")
        extents += _old_pairs(block, 0, _EXTENSION_PAIRS, what)
        _check_count(len(extents) // 2, what, limits)
        more = block[_EXTENSION_IS_EXTENDED]
    entry.real_size = parse_number(header[_OLD_REAL_SIZE], what)
    _finish(entry, extents, what)


def read_pax_map(
    entry: Entry, extended: Extended, read_block: ReadBlock, what: str, limits: Limits
) -> None:
    """Fill an entry that has ``GNU.sparse.*`` records; format 1.0 has its map in the data."""
    records = extended.records
    name = records.get(b"GNU.sparse.name")
    if name:
        entry.name = name
    size = records.get(b"GNU.sparse.realsize") or records.get(b"GNU.sparse.size")
    real_size = parse_decimal(size, what) if size else None
    if records.get(b"GNU.sparse.major") == b"1":
        extents = _read_map_in_data(entry, read_block, what, limits)
    elif b"GNU.sparse.map" in records:
        text = records[b"GNU.sparse.map"]
        _check_count(text.count(b",") // 2, what, limits)
        extents = [parse_decimal(word, what) for word in text.split(b",")] if text else []
    elif extended.sparse_pairs:
        extents = extended.sparse_pairs
        _check_count(len(extents) // 2, what, limits)
    elif real_size is not None:
        extents = []
    else:
        return
    entry.real_size = entry.real_size if real_size is None else real_size
    _finish(entry, extents, what)


def _read_map_in_data(entry: Entry, read_block: ReadBlock, what: str, limits: Limits) -> list[int]:
    """Format 1.0: decimal numbers, one a line, padded to a block: the count, then the pairs."""
    lines: list[bytes] = []  # last one first
    rest = b""

    def next_number() -> int:
        nonlocal rest
        while not lines:
            block = read_block()
            entry.size -= BLOCK_BYTES
            if not block or entry.size < 0:
                raise Corrupt(f"{what} is cut short in a sparse map")
            *complete, rest = (rest + block).split(b"\n")
            if not complete:
                raise Corrupt(f"{what} has a malformed sparse map")
            lines.extend(reversed(complete))
        return parse_decimal(lines.pop(), what)

    count = next_number()
    _check_count(count, what, limits)
    return [next_number() for _ in range(2 * count)]


def _old_pairs(block: bytes, offset: int, count: int, what: str) -> list[int]:
    numbers: list[int] = []
    for index in range(count):
        pair = block[offset + index * _PAIR_BYTES : offset + (index + 1) * _PAIR_BYTES]
        if not pair[0]:
            break
        numbers += (parse_number(pair[:12], what), parse_number(pair[12:], what))
    return numbers


def _check_count(count: int, what: str, limits: Limits) -> None:
    if count > limits.sparse_extents:
        raise Corrupt(f"{what} has a sparse map of more than {limits.sparse_extents} pieces")


def _finish(entry: Entry, extents: list[int], what: str) -> None:
    """Check that the map is ordered, within the file, and accounts for all data."""
    end = total = 0
    if len(extents) % 2:
        raise Corrupt(f"{what} has a sparse map with half a pair")
    for offset, length in zip(extents[::2], extents[1::2], strict=True):
        if offset < end or length < 0:
            raise Corrupt(f"{what} has a sparse map that is not in order")
        end = offset + length
        total += length
    if end > entry.real_size or total != entry.size:
        raise Corrupt(f"{what} has a sparse map that does not fit its file")
    entry.extents = extents
