"""The size of a volume, where its filesystem can hold it: a project quota on its directory.

The project's number is on the inode itself, so that nothing else has to remember it. A quota of a
project without files costs nothing; one that a crash leaves behind is lifted by nobody and bothers
nobody: numbers are random.
"""

from __future__ import annotations

import errno
import os

from proa.errors import Unsupported
from proa.linux.inodeflags import assign_project, read_inode_flags
from proa.linux.quota import require_project_quota, write_block_limit

_LOWEST_PROJECT = 1 << 30
"""Above what administrators number by hand (/etc/projects)."""

_WITHOUT = {errno.ESRCH, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTTY, errno.ENODEV, errno.EINVAL}


def check(directory: str) -> None:
    """See whether volumes below a directory can have limits.

    Raises:
        Unsupported: its filesystem keeps no project quotas.
    """
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        require_project_quota(fd)
    except OSError as error:
        raise _unsupported(directory, error) from error
    finally:
        os.close(fd)


def apply(directory: str, limit_bytes: int) -> None:
    """Limit what the files below an empty directory may take.

    Raises:
        Unsupported: its filesystem keeps no project quotas.
        OSError: the disk's own reasons.
    """
    project = _LOWEST_PROJECT | int.from_bytes(os.urandom(4), "little") >> 2
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        assign_project(fd, project)
        write_block_limit(fd, project, limit_bytes)
    except OSError as error:
        if error.errno in _WITHOUT:
            raise _unsupported(directory, error) from error
        raise
    finally:
        os.close(fd)


def lift(directory: str) -> None:
    """Forget the limit of a directory that is about to be removed."""
    try:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        project = read_inode_flags(fd).project
        if project >= _LOWEST_PROJECT:
            write_block_limit(fd, project, 0)
    except OSError:
        return
    finally:
        os.close(fd)


def _unsupported(directory: str, error: OSError) -> Unsupported:
    reason = os.strerror(error.errno or 0).lower()
    return Unsupported(
        f"the filesystem of {directory} cannot limit the size of a volume: it keeps no project "
        f"quotas ({reason})",
        "mount it with -o prjquota (ext4 needs the features quota and project), or leave the "
        "size out",
    )
