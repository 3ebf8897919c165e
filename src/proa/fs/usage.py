"""What a tree takes on disk."""

from __future__ import annotations

import errno
import os

import msgspec

from proa.linux.openat2 import (
    RESOLVE_BENEATH,
    RESOLVE_NO_SYMLINKS,
    RESOLVE_NO_XDEV,
    openat2,
)

_BLOCK_BYTES = 512  # unit of st_blocks on Linux, whatever the filesystem's block size


_RESOLVE = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EXDEV, errno.ENAMETOOLONG)


class Usage(msgspec.Struct, frozen=True):
    """Allocated bytes and inodes; a file with several names counts once."""

    size_bytes: int = 0
    inodes: int = 0


def usage(path: str) -> Usage:
    """Measure ``path`` and all below it, on its own filesystem only.

    The tree may change meanwhile: what vanishes is not counted, a directory that becomes a symbolic
    link is not followed, what is deeper than PATH_MAX is left out.

    Raises:
        OSError: ``path`` itself is no directory or cannot be read.
    """
    top_fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return _measure(top_fd)
    finally:
        os.close(top_fd)


def allocated_bytes(path: str) -> int:
    """Return the allocated bytes of a file, or of a directory and all below it; 0 when missing.

    Raises:
        OSError: it cannot be read.
    """
    try:
        return usage(path).size_bytes
    except FileNotFoundError:
        return 0
    except OSError as error:
        if error.errno not in (errno.ENOTDIR, errno.ELOOP):
            raise
    try:
        return os.lstat(path).st_blocks * _BLOCK_BYTES
    except FileNotFoundError:
        return 0


def _measure(top_fd: int) -> Usage:
    top = os.fstat(top_fd)
    size, inodes = top.st_blocks * _BLOCK_BYTES, 1
    linked: set[int] = set()
    pending = ["."]
    while pending:
        directory = pending.pop()
        try:
            fd = openat2(top_fd, directory, os.O_RDONLY | os.O_DIRECTORY, _RESOLVE)
        except OSError as error:
            if error.errno not in _GONE:
                raise
            continue
        try:
            with os.scandir(fd) as entries:
                for entry in entries:
                    try:
                        status = entry.stat(follow_symlinks=False)
                    except FileNotFoundError:
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(f"{directory}/{entry.name}")
                    elif status.st_nlink > 1:
                        if status.st_ino in linked:
                            continue
                        linked.add(status.st_ino)
                    size += status.st_blocks * _BLOCK_BYTES
                    inodes += 1
        finally:
            os.close(fd)
    return Usage(size, inodes)
