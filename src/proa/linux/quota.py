"""Project quotas: how much the files of a directory tree may take of a filesystem.

Sources: quotactl_fd (Linux 5.14), quotactl(2), ``linux/quota.h``.
"""

from __future__ import annotations

import ctypes
import struct

from proa.linux.syscalls import call, number

_PRJQUOTA = 2
_Q_GETINFO = 0x800005
_Q_GETQUOTA = 0x800007
_Q_SETQUOTA = 0x800008
_QIF_BLIMITS = 1
_BLOCK_BYTES = 1024
"""Unit of limits, whatever the filesystem's blocks are."""

_DQBLK = struct.Struct("<8QI4x")
_DQINFO_BYTES = 24


def require_project_quota(fd: int) -> None:
    """Check that the filesystem of ``fd`` keeps project quotas.

    Raises:
        OSError: ESRCH: not turned on; ENOSYS, EOPNOTSUPP, ENOTTY: it has none.
    """
    info = ctypes.create_string_buffer(_DQINFO_BYTES)
    _quotactl(fd, _Q_GETINFO, 0, ctypes.addressof(info))


def write_block_limit(fd: int, project: int, limit_bytes: int) -> None:
    """Set the hard limit of a project on the filesystem of ``fd``; 0 lifts it.

    Raises:
        OSError: as :func:`require_project_quota`; EPERM.
    """
    blocks = -(-limit_bytes // _BLOCK_BYTES)
    limits = ctypes.create_string_buffer(_DQBLK.pack(blocks, 0, 0, 0, 0, 0, 0, 0, _QIF_BLIMITS))
    _quotactl(fd, _Q_SETQUOTA, project, ctypes.addressof(limits))


def read_block_limit(fd: int, project: int) -> int:
    """Hard limit of a project in bytes, 0 for none.

    Raises:
        OSError: as :func:`require_project_quota`.
    """
    limits = ctypes.create_string_buffer(_DQBLK.size)
    _quotactl(fd, _Q_GETQUOTA, project, ctypes.addressof(limits))
    blocks: int = _DQBLK.unpack_from(limits)[0]
    return blocks * _BLOCK_BYTES


def _quotactl(fd: int, command: int, project: int, address: int) -> None:
    call(number("quotactl_fd"), fd, command << 8 | _PRJQUOTA, project, address)
