"""What an inode carries beside owner, mode and extended attributes: flags and the project.

Source: ioctl_fslist of linux/fs.h, ``FS_IOC_FSGETXATTR`` and ``struct fsxattr``; ioctl_iflags(2).
"""

from __future__ import annotations

import fcntl
import os
import struct
from typing import NamedTuple

_FS_IOC_FSGETXATTR = 0x801C581F
_FS_IOC_GETFLAGS = 0x80086601
_FS_IOC_SETFLAGS = 0x40086602
_TOPDIR = 0x00020000
_FLAGS = struct.Struct("i")
_FS_IOC_FSSETXATTR = 0x401C5820
_PROJECT_INHERIT = 0x200
_FSXATTR = struct.Struct("5I8x")


class InodeFlags(NamedTuple):
    """``FS_XFLAG_*`` bits (immutable, noatime ...) and the project id of quotas."""

    flags: int
    project: int


def read_inode_flags(fd: int) -> InodeFlags:
    """Read them of an open file or directory.

    Raises:
        OSError: ENOTTY where the filesystem has none.
    """
    raw = fcntl.ioctl(fd, _FS_IOC_FSGETXATTR, bytes(_FSXATTR.size))
    flags, _, _, project, _ = _FSXATTR.unpack(raw)
    return InodeFlags(flags, project)


def spread_children(path: str) -> None:
    """Let ext4 treat the directories in this one as unrelated (FS_TOPDIR_FL).

    Each gets a place of its own on the disk. Beside one another they suffer from each other: where
    many files have just been deleted, every new file waits for a search through their inodes
    (``recently_deleted`` of fs/ext4/ialloc.c), tens of times as long as the making itself.

    Raises:
        OSError: ENOTTY, EOPNOTSUPP: another filesystem, which has no use for it.
    """
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        (flags,) = _FLAGS.unpack(fcntl.ioctl(fd, _FS_IOC_GETFLAGS, bytes(_FLAGS.size)))
        fcntl.ioctl(fd, _FS_IOC_SETFLAGS, _FLAGS.pack(flags | _TOPDIR))
    finally:
        os.close(fd)


def assign_project(fd: int, project: int) -> None:
    """Put a directory, and what will be made in it, under a project of quotas.

    Raises:
        OSError: ENOTTY, EOPNOTSUPP: the filesystem has no projects.
    """
    raw = fcntl.ioctl(fd, _FS_IOC_FSGETXATTR, bytes(_FSXATTR.size))
    flags, extent_size, extents, _, cow_size = _FSXATTR.unpack(raw)
    wanted = _FSXATTR.pack(flags | _PROJECT_INHERIT, extent_size, extents, project, cow_size)
    fcntl.ioctl(fd, _FS_IOC_FSSETXATTR, wanted)
