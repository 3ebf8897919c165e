"""Terminals across processes: the container's devpts found again, a master handed over."""

from __future__ import annotations

import os

from proa.errors import Conflict, from_os_error
from proa.linux.openat2 import RESOLVE_IN_ROOT, RESOLVE_NO_SYMLINKS, openat2

_DIRECTORY = os.O_PATH | os.O_DIRECTORY


def send_console(path: str, master: int) -> None:
    """Send the master side of a pty over a unix socket, with a name as its message.

    Raises:
        ProaError: nobody listens.
    """
    import socket

    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
            peer.connect(path)
            socket.send_fds(peer, [b"/dev/ptmx"], [master])
    except OSError as error:
        raise from_os_error(error, f"cannot send the terminal to {path}") from error


def open_devpts(pid: int) -> int:
    """Open the devpts of a container by its init; what is mounted there now is the container's.

    Raises:
        Conflict: there is no devpts at /dev/pts.
        ProaError: init has ended.
    """
    root = -1
    try:
        root = os.open(f"/proc/{pid}/root", _DIRECTORY | os.O_CLOEXEC)
        flags = os.O_RDONLY | os.O_DIRECTORY
        fd = openat2(root, "dev/pts", flags, RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS)
    except OSError as error:
        raise from_os_error(error, "cannot open the container's /dev/pts") from error
    finally:
        if root >= 0:
            os.close(root)
    if _filesystem(pid, fd) != "devpts":
        os.close(fd)
        raise Conflict("the container has no devpts for a terminal")
    return fd


def _filesystem(pid: int, fd: int) -> str:
    """Type of the filesystem that a descriptor lies on, by its mount in the container."""
    mount = ""
    with open(f"/proc/self/fdinfo/{fd}") as lines:
        for line in lines:
            if line.startswith("mnt_id:"):
                mount = line.split()[1]
    with open(f"/proc/{pid}/mountinfo", errors="surrogateescape") as lines:
        for line in lines:
            fields = line.split()
            if fields[0] == mount:
                return fields[fields.index("-") + 1]
    return ""
