"""A GUID partition table.

Source: UEFI specification 2.10, chapter 5.
"""

from __future__ import annotations

import struct
import uuid
import zlib

import msgspec

SECTOR_BYTES = 512
FIRST_LBA = 2048
"""Partitions begin at a multiple of 1 MiB."""
EFI_SYSTEM = uuid.UUID("c12a7328-f81f-11d2-ba4b-00a0c93ec93b")
LINUX_ROOT = {
    "x86_64": uuid.UUID("4f68bce3-e8cd-4db1-96e7-fbcaf984b709"),
    "aarch64": uuid.UUID("b921b045-1df0-41c3-af44-4c6f280d3fae"),
}

_ENTRIES = 128
_ENTRY = struct.Struct("<16s16sQQQ72s")
_HEADER = struct.Struct("<8sIIIIQQQQ16sQIII")
_TABLE_SECTORS = _ENTRIES * _ENTRY.size // SECTOR_BYTES


class Partition(msgspec.Struct, frozen=True, kw_only=True):
    """One partition: 512-byte sectors from ``first_lba`` on."""

    kind: uuid.UUID
    identity: uuid.UUID
    first_lba: int
    sectors: int
    name: str


def build_table(
    disk: uuid.UUID, partitions: tuple[Partition, ...], total_sectors: int
) -> tuple[bytes, bytes]:
    """Return what begins the disk (34 sectors) and what ends it (33 sectors)."""
    entries = b"".join(
        _ENTRY.pack(
            partition.kind.bytes_le,
            partition.identity.bytes_le,
            partition.first_lba,
            partition.first_lba + partition.sectors - 1,
            0,
            partition.name.encode("utf-16-le"),
        )
        for partition in partitions
    ).ljust(_ENTRIES * _ENTRY.size, b"\0")
    last = total_sectors - 1
    primary = _header(disk, entries, here=1, other=last, table=2, last=last)
    backup = _header(disk, entries, here=last, other=1, table=last - _TABLE_SECTORS, last=last)
    return _protective_mbr(total_sectors) + primary + entries, entries + backup


def _header(
    disk: uuid.UUID, entries: bytes, *, here: int, other: int, table: int, last: int
) -> bytes:
    def pack(checksum: int) -> bytes:
        return _HEADER.pack(
            b"EFI PART", 0x10000, _HEADER.size, checksum, 0, here, other, 2 + _TABLE_SECTORS,
            last - _TABLE_SECTORS - 1, disk.bytes_le, table, _ENTRIES, _ENTRY.size,
            zlib.crc32(entries),
        )  # fmt: skip

    return pack(zlib.crc32(pack(0))).ljust(SECTOR_BYTES, b"\0")


def _protective_mbr(total_sectors: int) -> bytes:
    size = min(total_sectors - 1, 0xFFFFFFFF)
    entry = struct.pack("<B3sB3sII", 0, b"\0\2\0", 0xEE, b"\xff\xff\xff", 1, size)
    return (bytes(446) + entry).ljust(510, b"\0") + b"\x55\xaa"
