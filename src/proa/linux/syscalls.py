"""System calls by number or name: the one door through which the other wrappers call the kernel.

Only ``OSError`` leaves it. This machine's numbers come from :mod:`proa.linux.syscall_tables`, which
is loaded when a call is first looked up by name; wrappers use the numbers below, which are the same
on every architecture because the calls are younger than the unified table (Linux 5.1).
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping

SYS_PIDFD_SEND_SIGNAL = 424
SYS_OPEN_TREE = 428
SYS_MOVE_MOUNT = 429
SYS_FSOPEN = 430
SYS_FSCONFIG = 431
SYS_FSMOUNT = 432
SYS_PIDFD_OPEN = 434
SYS_CLONE3 = 435
SYS_PIDFD_GETFD = 438
SYS_MOUNT_SETATTR = 442

AT_FDCWD = -100
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000

_libc = ctypes.CDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long
_long = ctypes.c_long

MACHINE = os.uname().machine

_numbers: Mapping[str, int] | None = None


def number(name: str) -> int:
    """Number of a system call on this machine.

    Raises:
        KeyError: this architecture has no such call, or Proa has no table for it.
    """
    global _numbers
    if _numbers is None:
        from proa.linux.syscall_tables import numbers

        _numbers = numbers(MACHINE)
    return _numbers[name]


def call(nr: int, *args: int | bytes | None) -> int:
    """Make a system call.

    Args:
        nr: its number.
        args: integers (also addresses), ``bytes`` for a pointer to them, None for NULL.

    Raises:
        OSError: what the kernel answered.
    """
    result: int = _syscall(_long(nr), *[_long(a) if type(a) is int else a for a in args])
    if result == -1:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result


def raw_call(nr: int, *args: int) -> int:
    """Make a system call and return what the kernel returned, ``-errno`` for an error."""
    result: int = _syscall(_long(nr), *map(_long, args))
    return result if result != -1 else -ctypes.get_errno()
