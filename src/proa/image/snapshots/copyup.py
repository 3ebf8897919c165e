"""Copying a directory out of a stack of layers, as overlayfs would show it.

Used to fill a new volume with what the image has at its place. Everything goes by descriptors:
names are opened relative to their directories and never followed, so nothing in an image leads
outside. Owners, modes, times and extended attributes are kept; hard links become copies.
"""

from __future__ import annotations

import os
import stat

from proa.image.layers import whiteout
from proa.image.snapshots.view import LayeredView

_COPY_BYTES = 1 << 30
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def copy_directory(view: LayeredView, path: str, destination: str) -> None:
    """Copy what the stack shows at ``path`` into the existing directory ``destination``.

    Nothing happens when the stack has no directory there.

    Raises:
        OSError: reading or writing failed.
    """
    try:
        sources = view.open_directory(path)
    except (FileNotFoundError, NotADirectoryError):
        return
    target = os.open(destination, _DIRECTORY)
    try:
        _copy_merged(sources, target)
    finally:
        os.close(target)


def _copy_merged(sources: list[int], target: int) -> None:
    """Copy merged directories (O_PATH, closed here) into ``target``, attributes last."""
    try:
        for name, holders in _merged_names(sources).items():
            _copy_entry(name, holders, target)
        readable = os.open(f"/proc/self/fd/{sources[0]}", _DIRECTORY & ~os.O_NOFOLLOW)
        try:
            _copy_attributes(readable, target)
        finally:
            os.close(readable)
    finally:
        for fd in sources:
            os.close(fd)


def _merged_names(sources: list[int]) -> dict[str, list[int]]:
    """Return, for each visible name, the layers that have it, uppermost first."""
    found: dict[str, list[int]] = {}
    for fd in sources:
        with os.scandir(f"/proc/self/fd/{fd}") as entries:
            for entry in entries:
                found.setdefault(entry.name, []).append(fd)
    return found


def _copy_entry(name: str, holders: list[int], target: int) -> None:
    info = os.stat(name, dir_fd=holders[0], follow_symlinks=False)
    kind = stat.S_IFMT(info.st_mode)
    if whiteout.is_whiteout(info.st_mode, info.st_rdev):
        return
    if kind == stat.S_IFDIR:
        os.mkdir(name, 0o700, dir_fd=target)
        child = os.open(name, _DIRECTORY, dir_fd=target)
        try:
            _copy_merged(_open_below(name, holders), child)
        finally:
            os.close(child)
        return
    if kind == stat.S_IFREG:
        _copy_file(name, holders[0], target)
        return
    if kind == stat.S_IFLNK:
        os.symlink(os.readlink(name, dir_fd=holders[0]), name, dir_fd=target)
    else:
        os.mknod(name, info.st_mode, info.st_rdev, dir_fd=target)
        os.chmod(name, stat.S_IMODE(info.st_mode), dir_fd=target)
    os.chown(name, info.st_uid, info.st_gid, dir_fd=target, follow_symlinks=False)
    times = (info.st_atime_ns, info.st_mtime_ns)
    os.utime(name, ns=times, dir_fd=target, follow_symlinks=False)


def _open_below(name: str, holders: list[int]) -> list[int]:
    opened: list[int] = []
    for fd in holders:
        info = os.stat(name, dir_fd=fd, follow_symlinks=False)
        if not stat.S_ISDIR(info.st_mode):
            break
        opened.append(os.open(name, os.O_PATH | _DIRECTORY, dir_fd=fd))
        if whiteout.is_opaque(opened[-1]):
            break
    return opened


def _copy_file(name: str, source_dir: int, target: int) -> None:
    source = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=source_dir)
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        copy = os.open(name, flags, 0o600, dir_fd=target)
        try:
            while os.copy_file_range(source, copy, _COPY_BYTES):
                pass
            _copy_attributes(source, copy)
        finally:
            os.close(copy)
    finally:
        os.close(source)


def _copy_attributes(source: int, target: int) -> None:
    """Owner first: changing it clears setuid bits and capabilities (chown(2))."""
    info = os.fstat(source)
    os.fchown(target, info.st_uid, info.st_gid)
    os.fchmod(target, stat.S_IMODE(info.st_mode))
    for name in os.listxattr(source):
        if not name.startswith(whiteout.OVERLAY_XATTRS):
            os.setxattr(target, name, os.getxattr(source, name))
    os.utime(target, ns=(info.st_atime_ns, info.st_mtime_ns))
