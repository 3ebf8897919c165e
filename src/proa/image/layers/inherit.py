"""What a layer leaves to its parents.

That is the attributes of directories that it does not describe, and the targets of hard links that
are in a lower layer. A layer is unpacked on its own, so that all of an image unpack at once. Some
writers leave out the directories above their files; in an overlay the made-up directory would then
hide the attributes of the real one. Once the parents are there, they are asked.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence

from proa.errors import Invalid
from proa.fs.rootpath import open_directory
from proa.image.layers import whiteout
from proa.image.layers.apply import Applied
from proa.image.layers.xattrs import read_xattrs, write_xattrs
from proa.linux.openat2 import (
    RESOLVE_BENEATH,
    RESOLVE_NO_MAGICLINKS,
    RESOLVE_NO_SYMLINKS,
    openat2,
)

_RESOLVE = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
_COPY_BYTES = 1024 * 1024


def inherit(root_fd: int, applied: Applied, lowers: Sequence[int], what: str) -> None:
    """Complete an unpacked layer from the layers below it.

    Args:
        root_fd: the layer's directory.
        applied: what unpacking it left open.
        lowers: descriptors of the parents' directories, uppermost first, down to the first with an
            opaque root.
        what: names the layer in messages.

    Raises:
        Invalid: a hard link to a file that no parent has.
        OSError: the disk's reasons.
    """
    for path in applied.implied:
        _inherit_directory(root_fd, path, lowers)
    for target, name in applied.links:
        _inherit_link(root_fd, target, name, lowers, what)


def find_in_lowers(path: bytes, lowers: Sequence[int]) -> int | None:
    """Open what a container would see at ``path`` if these were its layers.

    Symbolic links are not followed. The descriptor is O_PATH and the caller's.
    """
    parts = path.split(b"/") if path else []
    for lower in lowers:
        fd = _open_path(lower, path)
        if fd is not None:
            status = os.fstat(fd)
            if whiteout.is_whiteout(status.st_mode, status.st_rdev):
                os.close(fd)
                return None
            return fd
        if _hides(lower, parts):
            return None
    return None


def _hides(lower: int, parts: list[bytes]) -> bool:
    """Say whether a layer that lacks a path also ends the search below it."""
    for depth in range(1, len(parts) + 1):
        fd = _open_path(lower, b"/".join(parts[:depth]))
        if fd is None:
            return False
        try:
            status = os.fstat(fd)
            if not stat.S_ISDIR(status.st_mode):
                return True
        finally:
            os.close(fd)
        if _is_opaque(lower, b"/".join(parts[:depth])):
            return True
    return False


def _is_opaque(lower: int, path: bytes) -> bool:
    fd = open_directory(lower, path)
    try:
        return os.getxattr(fd, whiteout.OPAQUE_XATTR) == whiteout.OPAQUE_VALUE
    except OSError as error:
        if error.errno not in (errno.ENODATA, errno.EOPNOTSUPP):
            raise
        return False
    finally:
        os.close(fd)


def _open_path(dir_fd: int, path: bytes) -> int | None:
    try:
        return openat2(dir_fd, path or b".", os.O_PATH | os.O_NOFOLLOW, _RESOLVE)
    except OSError as error:
        if error.errno not in _ABSENT:
            raise
        return None


def _inherit_directory(root_fd: int, path: bytes, lowers: Sequence[int]) -> None:
    source = _reopen_directory(find_in_lowers(path, lowers))
    target = _reopen_directory(_open_path(root_fd, path))
    try:
        if source is not None and target is not None:
            _copy_attributes(source, target)
    finally:
        for fd in (source, target):
            if fd is not None:
                os.close(fd)


def _reopen_directory(fd: int | None) -> int | None:
    """Trade an O_PATH descriptor for one that reads the directory; None when it is none."""
    if fd is None:
        return None
    try:
        return os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=fd)
    except NotADirectoryError:
        return None
    finally:
        os.close(fd)


def _copy_attributes(source: int, target: int) -> None:
    status = os.fstat(source)
    os.fchown(target, status.st_uid, status.st_gid)
    os.fchmod(target, stat.S_IMODE(status.st_mode))
    write_xattrs(target, read_xattrs(source))
    os.utime(target, ns=(status.st_mtime_ns, status.st_mtime_ns))


def _inherit_link(
    root_fd: int, target: bytes, name: bytes, lowers: Sequence[int], what: str
) -> None:
    """Copy a file up under the link's name, as overlayfs would have before linking."""
    shown = f"{name[:200].decode('utf-8', 'replace')!r}"
    found = find_in_lowers(target, lowers)
    if found is None:
        raise Invalid(f"{what} is refused: {shown} has a hard link to a file that is not there")
    try:
        if not stat.S_ISREG(os.fstat(found).st_mode):
            raise Invalid(
                f"{what} is refused: {shown} has a hard link to something of a lower layer that"
                " is no regular file"
            )
        source = os.open(f"/proc/self/fd/{found}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(found)
    try:
        _copy_file(source, root_fd, name)
    finally:
        os.close(source)


def _copy_file(source: int, root_fd: int, name: bytes) -> None:
    parts = [part for part in name.split(b"/") if part not in (b"", b".")]
    parent = open_directory(root_fd, b"/".join(parts[:-1]))
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        before = os.fstat(parent)
        try:
            target = os.open(parts[-1], flags, 0o600, dir_fd=parent)
        except FileExistsError:
            return  # a later entry of the layer took the name
        try:
            while os.sendfile(target, source, None, _COPY_BYTES):
                pass
            _copy_attributes(source, target)
        finally:
            os.close(target)
        os.utime(parent, ns=(before.st_atime_ns, before.st_mtime_ns))
    finally:
        os.close(parent)
