"""Paths inside a root that somebody else fills: the one resolver (architecture, section 6, rule 2).

A path is resolved by the kernel with the root's descriptor as ``/``: ``..`` and absolute symbolic
links stay inside, magic links of /proc are not followed. No string is ever checked first and opened
later. The last step of a change (create, unlink, link) is made relative to the descriptor of the
resolved parent and never follows a link.
"""

from __future__ import annotations

import errno
import os

from proa.linux.openat2 import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, openat2

_RESOLVE = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY


def open_root(path: str) -> int:
    """Open a directory as a root; the path itself is the caller's and trusted."""
    return os.open(path, _DIRECTORY | os.O_CLOEXEC)


def open_in_root(root_fd: int, path: str | bytes, flags: int, mode: int = 0) -> int:
    """Open ``path`` inside the root; flags and mode as open(2).

    Raises:
        OSError: as open(2); ELOOP also for magic links.
    """
    return openat2(root_fd, path or ".", flags, _RESOLVE, mode)


def open_directory(root_fd: int, path: str | bytes) -> int:
    """Open a directory inside the root.

    Raises:
        OSError: ENOTDIR, ENOENT ...
    """
    return openat2(root_fd, path or ".", _DIRECTORY, _RESOLVE)


def open_parent(root_fd: int, path: str) -> tuple[int, str]:
    """Open the directory that holds the last component of ``path``.

    Returns:
        The directory's descriptor and the last component, which is not resolved; ``.`` for the
        root itself and for paths that end in ``..``, whose directory is opened whole.
    """
    parent, name = split_last(path)
    if name in ("", ".", ".."):
        return open_directory(root_fd, path), "."
    return open_directory(root_fd, parent), name


def ensure_directory(root_fd: int, path: str, mode: int = 0o755) -> int:
    """Open a directory inside the root, making what is missing of it (mode less the umask).

    A symbolic link on the way is followed inside the root; a dangling one is an error, never made.

    Raises:
        OSError: ENOTDIR when something on the way is no directory, EEXIST for a dangling link.
    """
    try:
        return open_directory(root_fd, path)
    except FileNotFoundError:
        pass
    components = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in components:
        raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    current = open_directory(root_fd, ".")
    try:
        for depth, name in enumerate(components):
            prefix = "/".join(components[: depth + 1])
            try:
                below = open_directory(root_fd, prefix)
            except FileNotFoundError:
                os.mkdir(name, mode, dir_fd=current)
                below = os.open(name, _DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=current)
            os.close(current)
            current = below
    except BaseException:
        os.close(current)
        raise
    return current


def split_last(path: str) -> tuple[str, str]:
    """Split a path at its last slash, trailing slashes ignored."""
    head, _, name = path.rstrip("/").rpartition("/")
    return head or ("/" if path.startswith("/") else ""), name
