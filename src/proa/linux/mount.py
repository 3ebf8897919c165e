"""The mount API: constants, and the calls that the engine makes on its own side.

A detached mount (``open_tree`` with OPEN_TREE_CLONE) lives as long as its descriptor and can be
attached in another mount namespace by whoever is given the descriptor.

Sources: open_tree(2), move_mount(2), mount_setattr(2), fsopen(2), mount(2), ``linux/mount.h``.
"""

from __future__ import annotations

import os
import struct

from proa.linux.syscalls import (
    AT_FDCWD,
    SYS_FSCONFIG,
    SYS_FSMOUNT,
    SYS_FSOPEN,
    SYS_MOUNT_SETATTR,
    SYS_MOVE_MOUNT,
    SYS_OPEN_TREE,
    call,
    number,
)

MS_RDONLY = 1
MS_REC = 0x4000
MS_UNBINDABLE = 1 << 17
MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19
MS_SHARED = 1 << 20
MNT_DETACH = 2

OPEN_TREE_CLONE = 1
OPEN_TREE_CLOEXEC = os.O_CLOEXEC
MOVE_MOUNT_F_EMPTY_PATH = 0x04
MOVE_MOUNT_T_EMPTY_PATH = 0x40

FSOPEN_CLOEXEC = 1
FSMOUNT_CLOEXEC = 1
FSCONFIG_SET_FLAG = 0
FSCONFIG_SET_STRING = 1
FSCONFIG_CMD_CREATE = 6

MOUNT_ATTR_RDONLY = 0x00000001
MOUNT_ATTR_NOSUID = 0x00000002
MOUNT_ATTR_NODEV = 0x00000004
MOUNT_ATTR_NOEXEC = 0x00000008
MOUNT_ATTR_ATIME = 0x00000070
MOUNT_ATTR_NOATIME = 0x00000010
MOUNT_ATTR_STRICTATIME = 0x00000020
MOUNT_ATTR_NODIRATIME = 0x00000080
MOUNT_ATTR_IDMAP = 0x00100000
MOUNT_ATTR_NOSYMFOLLOW = 0x00200000

_MOUNT_ATTR = struct.Struct("<4Q")
MOUNT_ATTR_SIZE = _MOUNT_ATTR.size


def pack_mount_attr(
    attr_set: int = 0, attr_clear: int = 0, propagation: int = 0, userns_fd: int = 0
) -> bytes:
    """Return ``struct mount_attr``."""
    return _MOUNT_ATTR.pack(attr_set, attr_clear, propagation, userns_fd)


def open_tree(dir_fd: int, path: str, flags: int) -> int:
    """Open a mount, or with OPEN_TREE_CLONE a detached copy of one.

    Args:
        flags: OPEN_TREE_* and AT_*; close-on-exec is added.

    Raises:
        OSError: with the path as ``filename``.
    """
    try:
        return call(SYS_OPEN_TREE, dir_fd, os.fsencode(path), flags | OPEN_TREE_CLOEXEC)
    except OSError as error:
        error.filename = path
        raise


def mount_setattr(fd: int, flags: int, attr: bytes, path: str = "") -> None:
    """Change a mount's attributes.

    Args:
        fd: the mount, with AT_EMPTY_PATH in ``flags``; or a directory to start at.
        attr: from :func:`pack_mount_attr`.

    Raises:
        OSError: EINVAL for MOUNT_ATTR_IDMAP where the filesystem has no ID-mapped mounts.
    """
    call(SYS_MOUNT_SETATTR, fd, os.fsencode(path), flags, attr, MOUNT_ATTR_SIZE)


def make_tmpfs() -> int:
    """Detached tmpfs, empty, mode 0755.

    Raises:
        OSError: EPERM without CAP_SYS_ADMIN.
    """
    return make_filesystem("tmpfs", mode="755")


def make_filesystem(kind: str, **options: str) -> int:
    """Detached new mount of a filesystem that has no device (``tmpfs``, ``proc`` ...).

    Raises:
        OSError: EPERM without CAP_SYS_ADMIN, ENODEV, EINVAL for an option.
    """
    context = call(SYS_FSOPEN, kind.encode(), FSOPEN_CLOEXEC)
    try:
        for name, value in options.items():
            call(SYS_FSCONFIG, context, FSCONFIG_SET_STRING, name.encode(), value.encode(), 0)
        call(SYS_FSCONFIG, context, FSCONFIG_CMD_CREATE, None, None, 0)
        return call(SYS_FSMOUNT, context, FSMOUNT_CLOEXEC, 0)
    finally:
        os.close(context)


def clone_path(path: str, flags: int = 0) -> int:
    """Detached copy of the mount that a host path is on, rooted at that path."""
    return open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | flags)


def attach(mount_fd: int, path: str, dir_fd: int = AT_FDCWD) -> None:
    """Attach a detached mount at a path of this mount namespace.

    Raises:
        OSError: with the path as ``filename``.
    """
    try:
        call(SYS_MOVE_MOUNT, mount_fd, b"", dir_fd, os.fsencode(path), MOVE_MOUNT_F_EMPTY_PATH)
    except OSError as error:
        error.filename = path
        raise


def enter_root(path: str) -> None:
    """Make a mount point the root of this mount namespace and detach the old root.

    Raises:
        OSError: it is no mount point, or EPERM.
    """
    os.chdir(path)
    call(number("pivot_root"), b".", b".")
    call(number("umount2"), b".", MNT_DETACH)
    os.chdir("/")


def mount(source: str, target: str, kind: str, flags: int = 0, options: str = "") -> None:
    """Mount a filesystem, or change mounts, with mount(2).

    Args:
        source: device, or a name for filesystems without one.
        target: where.
        kind: type of filesystem.
        flags: MS_*.
        options: of the filesystem, separated by commas.

    Raises:
        OSError: what the kernel answered; ``filename`` is the target.
    """
    words = [os.fsencode(word) for word in (source, target, kind)]
    try:
        call(number("mount"), *words, flags, os.fsencode(options) if options else None)
    except OSError as error:
        raise OSError(error.errno, error.strerror, target) from error


def unmount(target: str, flags: int = 0) -> None:
    """Remove the mount at ``target`` with umount2(2).

    Raises:
        OSError: what the kernel answered.
    """
    call(number("umount2"), os.fsencode(target), flags)
