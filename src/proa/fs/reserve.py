"""Room on a filesystem that is kept for the moment when there is none left.

Two forms. A *preallocated* file has blocks beyond its end, which its owner fills without asking for
more (fallocate(2), FALLOC_FL_KEEP_SIZE): nobody else can take them. A *reserve* is a file whose
removal gives blocks and an inode back to whoever is first, for what cannot be preallocated: files
that have to be made.
"""

from __future__ import annotations

import os

from proa.linux.syscalls import call, number

_KEEP_SIZE = 1
_SECTOR_BYTES = 512
"""Unit of ``st_blocks``, whatever the filesystem's own (stat(2))."""


def preallocate(path: str, size_bytes: int) -> None:
    """Give a file blocks for its first ``size_bytes``; its length and content stay.

    A file that is not there, a full disk and filesystems that cannot do it are no errors: the room
    is then simply not kept.
    """
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if os.fstat(fd).st_blocks * _SECTOR_BYTES < size_bytes:
            call(number("fallocate"), fd, _KEEP_SIZE, 0, size_bytes)
    except (OSError, KeyError):
        pass
    finally:
        os.close(fd)


def allocated_bytes(path: str) -> int:
    """How much of the disk a file has; 0 when it is not there."""
    try:
        return os.stat(path).st_blocks * _SECTOR_BYTES
    except OSError:
        return 0


class Reserve:
    """A file that holds room until it is needed."""

    def __init__(self, path: str, size_bytes: int) -> None:
        """Describe it.

        Args:
            path: the file; it is made by :meth:`ensure`.
            size_bytes: how much it holds.
        """
        self._path = path
        self._size_bytes = size_bytes

    def ensure(self) -> None:
        """Take the room, where there is plenty of it: three times the size."""
        if os.path.exists(self._path) or _free_bytes(self._path) < 3 * self._size_bytes:
            return
        try:
            fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            return
        try:
            os.posix_fallocate(fd, 0, self._size_bytes)
        except OSError:
            # Half of it is better than nothing.
            pass
        finally:
            os.close(fd)

    def release(self) -> bool:
        """Give the room back; False when there was none."""
        try:
            os.unlink(self._path)
        except OSError:
            return False
        return True


def is_nearly_full(path: str, size_bytes: int) -> bool:
    """Whether users have less than ``size_bytes`` or no inode left on the filesystem of ``path``.

    What only root may use is not counted: ext4 keeps a part of it even from root.
    """
    try:
        space = os.statvfs(path)
    except OSError:
        return False
    no_inodes = space.f_files > 0 and space.f_favail == 0
    return no_inodes or space.f_bavail * space.f_frsize < size_bytes


def _free_bytes(path: str) -> int:
    try:
        space = os.statvfs(os.path.dirname(path))
    except OSError:
        return 0
    return space.f_bavail * space.f_frsize
