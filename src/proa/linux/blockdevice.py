"""Block devices: partitions that are not on the disk (BLKPG, linux/blkpg.h)."""

from __future__ import annotations

import ctypes
import fcntl
import struct

_BLKPG = 0x1269
_BLKPG_ADD_PARTITION = 1
_PARTITION = struct.Struct("<qqi64s64s4x")
_ARGUMENT = struct.Struct("<iiixxxxQ")


def add_partition(fd: int, partition: int, offset_bytes: int, size_bytes: int) -> None:
    """Give a part of a disk a device of its own (``/dev/vda1``).

    Args:
        fd: the whole disk.
        partition: its number, from 1.
        offset_bytes, size_bytes: multiples of the disk's sector size.

    Raises:
        OSError: EBUSY for a number or a range that is taken.
    """
    data = _PARTITION.pack(offset_bytes, size_bytes, partition, b"", b"")
    buffer = ctypes.create_string_buffer(data, len(data))
    address = ctypes.addressof(buffer)
    fcntl.ioctl(fd, _BLKPG, _ARGUMENT.pack(_BLKPG_ADD_PARTITION, 0, len(data), address))
