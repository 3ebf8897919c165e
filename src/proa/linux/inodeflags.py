"""What an inode carries beside owner, mode and extended attributes: flags and the project.

Source: ioctl_fslist of linux/fs.h, ``FS_IOC_FSGETXATTR`` and ``struct fsxattr``.
"""

from __future__ import annotations

import fcntl
import struct
from typing import NamedTuple

_FS_IOC_FSGETXATTR = 0x801C581F
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
