"""Reading a container's files without mounting anything: overlay lookup by descriptors.

A container's root is a stack of directories, uppermost first: its writable one and the layers. This
module finds a file in the stack as overlayfs would (whiteouts, opaque and merged directories) and
follows symbolic links inside the root only, one component at a time by ``*at`` calls, so that
nothing in an image leads outside. It needs no privilege but reading the directories.

Source: Documentation/filesystems/overlayfs.rst, "whiteouts and opaque directories".
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence

from proa.image.layers import whiteout

_MAX_LINKS = 40
"""As the kernel's limit (path_resolution(7))."""

_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class LayeredView:
    """A read-only look into a stack of directories; use as a context manager.

    Descriptors of the stack are opened at once, so later swaps of the directories do not matter.
    """

    def __init__(self, directories: Sequence[str]) -> None:
        """Open the stack.

        Args:
            directories: absolute paths, uppermost first; missing ones are passed over.

        Raises:
            OSError: one cannot be opened.
        """
        self._stack: list[int] = []
        for path in directories:
            try:
                self._stack.append(os.open(path, _DIRECTORY & ~os.O_NOFOLLOW))
            except FileNotFoundError:
                continue

    def __enter__(self) -> LayeredView:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the stack. Idempotent."""
        for fd in self._stack:
            os.close(fd)
        self._stack.clear()

    def open_file(self, path: str) -> int:
        """Open a regular file for reading and return its descriptor (close-on-exec).

        Raises:
            FileNotFoundError: nothing is there.
            OSError: ELOOP, ENOTDIR, EISDIR, or EACCES for what is no regular file.
        """
        where, name = self._resolve(path)
        try:
            for fd in where:
                info = _lookup(fd, name)
                if info is None:
                    continue
                return _open_regular(fd, name, path, info)
        finally:
            _close_all(where)
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)

    def open_directory(self, path: str) -> list[int]:
        """Return descriptors (O_PATH) of the directories that merge at ``path``, uppermost first.

        The caller closes them. Raises as :meth:`open_file`, ENOTDIR for what is no directory.
        """
        where, name = self._resolve(path, follow_last=True)
        try:
            return _merge(where, name, path) if name else [os.dup(fd) for fd in where]
        finally:
            _close_all(where)

    def _resolve(self, path: str, *, follow_last: bool = True) -> tuple[list[int], str]:
        """Return duplicates of the merged parent directories and the final name, links followed."""
        pending = [part for part in reversed(path.split("/")) if part and part != "."]
        trail: list[list[int]] = [[os.dup(fd) for fd in self._stack]]
        links = 0
        try:
            while pending:
                name = pending.pop()
                if name == "..":
                    if len(trail) > 1:
                        _close_all(trail.pop())
                    continue
                target = _read_link(trail[-1], name)
                if target is not None and (pending or follow_last):
                    links += 1
                    if links > _MAX_LINKS:
                        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
                    if target.startswith("/"):
                        while len(trail) > 1:
                            _close_all(trail.pop())
                    pending += [
                        part for part in reversed(target.split("/")) if part and part != "."
                    ]
                    continue
                if not pending:
                    return trail.pop(), name
                trail.append(_merge(trail[-1], name, path))
            return trail.pop(), ""
        finally:
            for level in trail:
                _close_all(level)


def _close_all(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)
    fds.clear()


def _lookup(directory: int, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _read_link(level: list[int], name: str) -> str | None:
    for fd in level:
        info = _lookup(fd, name)
        if info is None:
            continue
        return os.readlink(name, dir_fd=fd) if stat.S_ISLNK(info.st_mode) else None
    return None


def _merge(level: list[int], name: str, path: str) -> list[int]:
    """Open the directory ``name`` in every layer where it shows through."""
    merged: list[int] = []
    for fd in level:
        info = _lookup(fd, name)
        if info is None:
            continue
        if not stat.S_ISDIR(info.st_mode):
            # A whiteout or another kind of file hides what is below.
            if not merged:
                number = (
                    errno.ENOENT
                    if whiteout.is_whiteout(info.st_mode, info.st_rdev)
                    else errno.ENOTDIR
                )
                raise OSError(number, os.strerror(number), path)
            break
        child = os.open(name, _DIRECTORY, dir_fd=fd)
        merged.append(child)
        if whiteout.is_opaque(child):
            break
    if not merged:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    return merged


def _open_regular(directory: int, name: str, path: str, info: os.stat_result) -> int:
    if whiteout.is_whiteout(info.st_mode, info.st_rdev):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    if stat.S_ISDIR(info.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    fd = os.open(name, flags, dir_fd=directory)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise PermissionError(errno.EACCES, "not a regular file", path)
    return fd
