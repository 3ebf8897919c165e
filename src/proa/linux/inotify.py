"""inotify(7): events of files and directories, without a wrapper object.

The descriptor is an ordinary one: poll it, read it with :func:`read`, close it with ``os.close``.
"""

from __future__ import annotations

import ctypes
import os
import struct
from typing import NamedTuple

IN_MODIFY = 0x00000002
IN_ATTRIB = 0x00000004
IN_CLOSE_WRITE = 0x00000008
IN_MOVED_FROM = 0x00000040
IN_MOVED_TO = 0x00000080
IN_CREATE = 0x00000100
IN_DELETE = 0x00000200
IN_DELETE_SELF = 0x00000400
IN_MOVE_SELF = 0x00000800
IN_UNMOUNT = 0x00002000
IN_Q_OVERFLOW = 0x00004000
IN_IGNORED = 0x00008000
IN_ONLYDIR = 0x01000000
IN_DONT_FOLLOW = 0x02000000
IN_ONESHOT = 0x80000000

_HEADER = struct.Struct("iIII")
_READ_BYTES = 64 * 1024

_libc = ctypes.CDLL(None, use_errno=True)
_libc.inotify_add_watch.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_uint32)


class Event(NamedTuple):
    """One event; ``name`` is empty unless it is about an entry of a watched directory."""

    watch: int
    mask: int
    cookie: int
    name: str


def init(*, nonblocking: bool = True) -> int:
    """Make an inotify instance (close-on-exec).

    Raises:
        OSError: EMFILE when the user's instances are used up (fs.inotify.max_user_instances).
    """
    flags = os.O_CLOEXEC | (os.O_NONBLOCK if nonblocking else 0)
    fd: int = _libc.inotify_init1(flags)
    if fd < 0:
        _raise()
    return fd


def add_watch(fd: int, path: str, mask: int) -> int:
    """Watch a path; a second call for the same inode changes its mask.

    Returns:
        The watch descriptor that :class:`Event` carries.

    Raises:
        OSError: ENOENT, ENOSPC (fs.inotify.max_user_watches) ...
    """
    watch: int = _libc.inotify_add_watch(fd, os.fsencode(path), mask)
    if watch < 0:
        _raise(path)
    return watch


def remove_watch(fd: int, watch: int) -> None:
    """Stop a watch; IN_IGNORED follows.

    Raises:
        OSError: EINVAL when there is no such watch.
    """
    if _libc.inotify_rm_watch(fd, watch) < 0:
        _raise()


def read(fd: int) -> list[Event]:
    """All events that are queued; empty when a non-blocking instance has none."""
    try:
        data = os.read(fd, _READ_BYTES)
    except BlockingIOError:
        return []
    events = []
    position = 0
    while position < len(data):
        watch, mask, cookie, length = _HEADER.unpack_from(data, position)
        position += _HEADER.size
        name = data[position : position + length].rstrip(b"\0")
        position += length
        events.append(Event(watch, mask, cookie, os.fsdecode(name)))
    return events


def _raise(path: str | None = None) -> None:
    error = ctypes.get_errno()
    raise OSError(error, os.strerror(error), path)
