"""Whole directory trees, relative to descriptors and never through a symbolic link.

Trees come from images and containers: they may be deeper than a path can be long or a process may
hold descriptors, and may change while they are walked.
"""

from __future__ import annotations

import errno
import itertools
import os

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

# Below this depth a directory is first moved up, so that neither the stack nor the table of
# descriptors grows with the tree.
_MAX_DEPTH = 64

# Names held at a time: a directory of a million files must not become a list of a million.
_BATCH = 4096

_counter = itertools.count()


def remove_tree(path: str, *, dir_fd: int | None = None, missing_ok: bool = True) -> None:
    """Remove ``path`` and all below it; mounts are not entered (EBUSY).

    Args:
        path: a directory, or anything else, which is unlinked. Its last component is not followed.
        dir_fd: what a relative path starts at.
        missing_ok: a path that is not there is fine, also when it vanishes meanwhile.

    Raises:
        OSError: what could not be removed.
    """
    try:
        fd = os.open(path, _DIRECTORY, dir_fd=dir_fd)
    except FileNotFoundError:
        if missing_ok:
            return
        raise
    except OSError as error:
        if error.errno not in (errno.ENOTDIR, errno.ELOOP):
            raise
        os.unlink(path, dir_fd=dir_fd)
        return
    try:
        _empty(fd, fd, 0)
    finally:
        os.close(fd)
    _rmdir(path, dir_fd)


def empty_tree(path: str, *, dir_fd: int | None = None) -> None:
    """Remove all below the directory ``path`` and keep the directory."""
    fd = os.open(path, _DIRECTORY, dir_fd=dir_fd)
    try:
        _empty(fd, fd, 0)
    finally:
        os.close(fd)


def _empty(top_fd: int, fd: int, depth: int) -> None:
    # Read again until nothing is there: what was too deep appears in the top meanwhile.
    while listed := _some_entries(fd):
        for name, is_directory in listed:
            if not is_directory:
                _unlink(name, fd)
            elif _try_rmdir(name, fd):
                continue
            elif depth < _MAX_DEPTH:
                _remove_below(top_fd, fd, name, depth)
            else:
                upper = f".{next(_counter)}-{os.getpid()}"
                os.rename(name, upper, src_dir_fd=fd, dst_dir_fd=top_fd)


def _some_entries(fd: int) -> list[tuple[str, bool]]:
    with os.scandir(fd) as entries:
        return [
            (entry.name, entry.is_dir(follow_symlinks=False))
            for entry in itertools.islice(entries, _BATCH)
        ]


def _remove_below(top_fd: int, fd: int, name: str, depth: int) -> None:
    try:
        below = os.open(name, _DIRECTORY, dir_fd=fd)
    except FileNotFoundError:
        return
    try:
        _empty(top_fd, below, depth + 1)
    finally:
        os.close(below)
    _rmdir(name, fd)


def _try_rmdir(name: str, fd: int) -> bool:
    try:
        os.rmdir(name, dir_fd=fd)
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        return False
    return True


def _rmdir(name: str, fd: int | None) -> None:
    try:
        os.rmdir(name, dir_fd=fd)
    except FileNotFoundError:
        pass


def _unlink(name: str, fd: int) -> None:
    try:
        os.unlink(name, dir_fd=fd)
    except FileNotFoundError:
        pass
