"""A FAT16 file system with one file in it: all that an EFI system partition needs.

Source: Microsoft "FAT: General Overview of On-Disk Format" 1.03; UEFI specification 13.3.
"""

from __future__ import annotations

import struct

from proa.errors import Invalid

SECTOR_BYTES = 512
_CLUSTER_SECTORS = 4
_CLUSTER_BYTES = SECTOR_BYTES * _CLUSTER_SECTORS
_ROOT_ENTRIES = 512
_ROOT_SECTORS = _ROOT_ENTRIES * 32 // SECTOR_BYTES
_LEAST_CLUSTERS = 4096
"""Fewer than 4085 would make it FAT12."""
_MOST_CLUSTERS = 65524
_END = 0xFFFF
_DIRECTORY = 0x10
_ARCHIVE = 0x20
_MEDIA = 0xF8


def build_filesystem(path: str, content: bytes, label: str = "ESP") -> bytes:
    """Return a file system that has the file and its directories.

    Args:
        path: ``EFI/BOOT/BOOTX64.EFI``: names of at most 8 and 3 capital letters and digits.
        content: of the file.

    Raises:
        Invalid: the file is too large for FAT16 (134 MB).
    """
    *directories, name = path.split("/")
    content_clusters = max(1, -(-len(content) // _CLUSTER_BYTES))
    clusters = max(_LEAST_CLUSTERS, content_clusters + len(directories) + 64)
    if clusters > _MOST_CLUSTERS:
        raise Invalid(f"{len(content)} bytes do not fit an EFI system partition")
    fat_sectors = -(-(clusters + 2) * 2 // SECTOR_BYTES)
    chain = [0xFF00 | _MEDIA, _END, *[_END] * len(directories)]
    first = len(chain)
    chain += [*range(first + 1, first + content_clusters), _END]
    fat = struct.pack(f"<{len(chain)}H", *chain).ljust(fat_sectors * SECTOR_BYTES, b"\0")
    # Cluster n + 2 holds directory n; the root directory has a place of its own.
    areas = []
    for depth in range(len(directories)):
        parent = depth + 1 if depth else 0
        inner = _entry(".", _DIRECTORY, depth + 2, 0) + _entry("..", _DIRECTORY, parent, 0)
        if depth + 1 < len(directories):
            inner += _entry(directories[depth + 1], _DIRECTORY, depth + 3, 0)
        else:
            inner += _entry(name, _ARCHIVE, first, len(content))
        areas.append(inner.ljust(_CLUSTER_BYTES, b"\0"))
    root = _entry(label, 0x08, 0, 0) + _entry(directories[0], _DIRECTORY, 2, 0)
    sectors = 1 + 2 * fat_sectors + _ROOT_SECTORS + clusters * _CLUSTER_SECTORS
    data = b"".join(
        (
            _boot_sector(sectors, fat_sectors, label), fat, fat,
            root.ljust(_ROOT_SECTORS * SECTOR_BYTES, b"\0"), *areas, content,
        )
    )  # fmt: skip
    return data.ljust(sectors * SECTOR_BYTES, b"\0")


def _boot_sector(sectors: int, fat_sectors: int, label: str) -> bytes:
    head = struct.pack(
        "<3s8sHBHBHHBHHHII", b"\xeb\x3c\x90", b"PROA    ", SECTOR_BYTES, _CLUSTER_SECTORS, 1, 2,
        _ROOT_ENTRIES, 0, _MEDIA, fat_sectors, 63, 255, 0, sectors,
    )  # fmt: skip
    tail = struct.pack("<BBBI11s8s", 0x80, 0, 0x29, 0x50524F41, _padded(label, ""), b"FAT16   ")
    return (head + tail).ljust(510, b"\0") + b"\x55\xaa"


def _entry(name: str, attributes: int, cluster: int, size: int) -> bytes:
    if name.startswith("."):
        short = name.encode().ljust(11)
    else:
        stem, _, extension = name.partition(".")
        short = _padded(stem, extension)
    # 1 January 1980, the beginning of FAT's time.
    return struct.pack("<11sB8xHHHHI", short, attributes, 0, 0, 0x21, cluster, size)


def _padded(stem: str, extension: str) -> bytes:
    return stem.encode().ljust(8) + extension.encode().ljust(3)
