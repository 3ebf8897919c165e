"""Resolving, exchanging and flushing: openat2(2), renameat2(2) and syncfs(2)."""

from __future__ import annotations

import ctypes
import errno
import os

# From <linux/openat2.h>.
RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10
RESOLVE_CACHED = 0x20

# From <linux/fs.h>.
RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2
RENAME_WHITEOUT = 4

# The same number on every architecture: the call is younger than the unified table (Linux 5.6).
_SYS_OPENAT2 = 437

_EAGAIN_TRIES = 128

_libc = ctypes.CDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long
_renameat2 = _libc.renameat2
_renameat2.argtypes = (
    ctypes.c_int,
    ctypes.c_char_p,
    ctypes.c_int,
    ctypes.c_char_p,
    ctypes.c_uint,
)
_syncfs = _libc.syncfs
_syncfs.argtypes = (ctypes.c_int,)


class _OpenHow(ctypes.Structure):
    """struct open_how of <linux/openat2.h>."""

    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


_OPEN_HOW_SIZE = ctypes.c_size_t(ctypes.sizeof(_OpenHow))
_OPENAT2 = ctypes.c_long(_SYS_OPENAT2)


def openat2(dir_fd: int, path: str | bytes, flags: int, resolve: int, mode: int = 0) -> int:
    """Open ``path`` under the restrictions of ``resolve``; the descriptor is close-on-exec.

    Args:
        dir_fd: where the path starts; with RESOLVE_IN_ROOT also what ``/`` means.
        path: no NUL.
        flags: of open(2); unknown ones are refused by this call, unlike open(2).
        resolve: RESOLVE_* flags.
        mode: only with O_CREAT or O_TMPFILE.

    Raises:
        OSError: ELOOP and EXDEV say that a restriction was met.
    """
    raw = os.fsencode(path)
    if b"\0" in raw:
        raise ValueError("path has a NUL byte")
    how = _OpenHow(flags | os.O_CLOEXEC, mode, resolve)
    # EAGAIN: somewhere a rename or mount ran while ".." was resolved; openat2(2) says to try again.
    for _ in range(_EAGAIN_TRIES):
        fd: int = _syscall(_OPENAT2, ctypes.c_int(dir_fd), raw, ctypes.byref(how), _OPEN_HOW_SIZE)
        if fd >= 0:
            return fd
        number = ctypes.get_errno()
        if number not in (errno.EAGAIN, errno.EINTR):
            break
    raise OSError(number, os.strerror(number), path)


def renameat2(
    old_dir_fd: int, old: str | bytes, new_dir_fd: int, new: str | bytes, flags: int
) -> None:
    """Rename with RENAME_NOREPLACE or RENAME_EXCHANGE.

    Raises:
        OSError: EEXIST with RENAME_NOREPLACE; EINVAL where the filesystem has no such flag.
    """
    result = _renameat2(old_dir_fd, os.fsencode(old), new_dir_fd, os.fsencode(new), flags)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), old, None, new)


def syncfs(fd: int) -> None:
    """Write everything that is dirty on the filesystem of ``fd`` to its device, and wait.

    Raises:
        OSError: a write failed since the last call (Linux 5.8).
    """
    if _syncfs(fd) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
