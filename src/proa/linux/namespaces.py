"""Namespaces: their flags, files and joining.

Sources: namespaces(7), clone(2), setns(2), ``linux/sched.h``, ``linux/nsfs.h``.
"""

from __future__ import annotations

import ctypes
import os

CLONE_NEWTIME = 0x00000080
CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

FLAGS = {
    "user": CLONE_NEWUSER,
    "pid": CLONE_NEWPID,
    "network": CLONE_NEWNET,
    "ipc": CLONE_NEWIPC,
    "uts": CLONE_NEWUTS,
    "mount": CLONE_NEWNS,
    "cgroup": CLONE_NEWCGROUP,
    "time": CLONE_NEWTIME,
}
"""clone(2) flag by the OCI runtime spec's name of the namespace."""

FILES = {
    "user": "user",
    "pid": "pid",
    "network": "net",
    "ipc": "ipc",
    "uts": "uts",
    "mount": "mnt",
    "cgroup": "cgroup",
    "time": "time",
}
"""Name in ``/proc/PID/ns`` by the OCI runtime spec's name."""

_libc = ctypes.CDLL(None, use_errno=True)
_setns = _libc.setns
_setns.argtypes = (ctypes.c_int, ctypes.c_int)
_unshare = _libc.unshare
_unshare.argtypes = (ctypes.c_int,)


def setns(fd: int, flags: int) -> None:
    """Join namespaces: one by its own descriptor, or those in ``flags`` of a pidfd's process.

    Raises:
        OSError: EPERM, EINVAL.
    """
    if _setns(fd, flags) < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def unshare(flags: int) -> None:
    """Leave namespaces for new ones; CLONE_NEWPID is for children born from now on.

    Raises:
        OSError: EPERM, ENOSPC (a limit below /proc/sys/user).
    """
    if _unshare(flags) < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def open_namespace(pid: int | str, kind: str) -> int:
    """Descriptor of a process' namespace (close-on-exec).

    Args:
        kind: as in the OCI runtime spec (``network``, ``mount`` ...).

    Raises:
        OSError: no such process, or no access to it.
    """
    return os.open(f"/proc/{pid}/ns/{FILES[kind]}", os.O_RDONLY | os.O_CLOEXEC)


def supports(kind: str) -> bool:
    """Whether the running kernel has that kind of namespace."""
    return os.path.exists(f"/proc/self/ns/{FILES[kind]}")
