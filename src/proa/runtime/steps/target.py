"""Where a mount goes: opened below the container's root, made when it is missing.

The image is hostile: any component may be a symbolic link. Every prefix of the path is opened with
openat2(RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS) from the root's descriptor, missing components are
made by name in the directory just opened, and what is mounted on is the descriptor. Nothing can
move it in between, and nothing else runs in this mount namespace yet. At /proc, /sys and /dev and
below them no symbolic link is followed at all: a fake /proc would redirect writes that look like
the kernel's (CVE-2019-16884 and kin).
"""

from __future__ import annotations

import errno
import os
import posixpath
import stat
import struct

from proa.linux.mount import MOVE_MOUNT_F_EMPTY_PATH, MOVE_MOUNT_T_EMPTY_PATH
from proa.linux.openat2 import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS
from proa.runtime import slots
from proa.runtime.plan import Argument, Result, Slot, Steps

_OPEN_HOW = struct.Struct("<3Q")
OPEN_HOW_SIZE = _OPEN_HOW.size

_ROOT = Slot(slots.ROOT)
_KERNEL_TREES = ("/proc", "/sys", "/dev")
_EXISTS = (errno.EEXIST, errno.EROFS)
"""EROFS: the component may exist on a read-only mount; if it does not, opening it says so."""


def is_kernel_tree(path: str) -> bool:
    """Whether a path is /proc, /sys, /dev or below one of them."""
    return path in _KERNEL_TREES or path.startswith(("/proc/", "/sys/", "/dev/"))


def open_how(path: str, flags: int) -> bytes:
    """``struct open_how`` for a path in the container."""
    resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
    if is_kernel_tree(path):
        resolve |= RESOLVE_NO_SYMLINKS
    return _OPEN_HOW.pack(flags | os.O_CLOEXEC, 0, resolve)


def open_path(
    steps: Steps,
    name: str,
    path: str,
    flags: int,
    *,
    root: Argument = _ROOT,
    tolerate: tuple[int, ...] = (),
    skip: int = 0,
    skip_on: str = "",
) -> Result:
    """Open an absolute path of the container, confined to its root."""
    return steps.add(
        name,
        "openat2",
        root,
        os.fsencode(path.lstrip("/") or "."),
        open_how(path, flags),
        OPEN_HOW_SIZE,
        tolerate=tolerate,
        skip=skip,
        skip_on=skip_on,
    )


def make_directories(steps: Steps, name: str, path: str, *, root: Argument = _ROOT) -> Argument:
    """Make missing directories (0755) down to ``path`` and open it (O_PATH)."""
    current: Argument = root
    prefix = ""
    for component in path.split("/"):
        if not component:
            continue
        prefix += "/" + component
        steps.add(name, "mkdirat", current, os.fsencode(component), 0o755, tolerate=_EXISTS)
        current = open_path(steps, name, prefix, os.O_PATH | os.O_DIRECTORY, root=root)
    return current


def move(steps: Steps, name: str, mount: Argument, target: Argument) -> Result:
    """Attach a detached mount to an open target."""
    return steps.add(
        name,
        "move_mount",
        mount,
        b"",
        target,
        b"",
        MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH,
    )


def attach(steps: Steps, name: str, mount: Argument, path: str, *, directory: bool) -> None:
    """Attach a detached mount at a path, which is made when it is missing."""
    path = posixpath.normpath(path)
    if directory:
        move(steps, name, mount, make_directories(steps, name, path))
        return
    parent, _, base = path.rpartition("/")
    folder = make_directories(steps, name, parent)
    steps.add(name, "mknodat", folder, os.fsencode(base), stat.S_IFREG | 0o644, 0, tolerate=_EXISTS)
    target = open_path(
        steps, name, path, os.O_PATH, tolerate=(errno.ENOENT,), skip=2, skip_on="error"
    )
    move(steps, name, mount, target)
    # Done: leave out the case of a link that leads nowhere, on which the mount is made itself.
    steps.add(name, "close", target, skip=2, skip_on="success")
    target = open_path(steps, name, path, os.O_PATH | os.O_NOFOLLOW)
    move(steps, name, mount, target)
