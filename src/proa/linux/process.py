"""Processes: pidfds, signals, prctl(2) and waiting.

Sources: pidfd_open(2), pidfd_send_signal(2), pidfd_getfd(2), prctl(2), waitid(2).
"""

from __future__ import annotations

import ctypes
import errno
import os

from proa.linux.syscalls import SYS_PIDFD_GETFD, SYS_PIDFD_SEND_SIGNAL, call

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_KEEPCAPS = 8
PR_SET_NAME = 15
PR_CAPBSET_DROP = 24
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
PR_CAP_AMBIENT_CLEAR_ALL = 4

CLONE_VM = 0x00000100
CLONE_FILES = 0x00000400
CLONE_PIDFD = 0x00001000
CLONE_CLEAR_SIGHAND = 0x100000000
CLONE_INTO_CGROUP = 0x200000000

_prctl = ctypes.CDLL(None, use_errno=True).prctl
_prctl.argtypes = (
    ctypes.c_int,
    ctypes.c_ulong,
    ctypes.c_ulong,
    ctypes.c_ulong,
    ctypes.c_ulong,
)


def prctl(option: int, arg2: int = 0, arg3: int = 0, arg4: int = 0, arg5: int = 0) -> int:
    """Call prctl(2).

    Raises:
        OSError: what the kernel answered.
    """
    result: int = _prctl(option, arg2, arg3, arg4, arg5)
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result


def find_thread_block() -> int:
    """Address of this thread's control block (glibc: what pthread_self(3) returns).

    The kernel writes to the restartable-sequences area in it.
    """
    block = ctypes.CDLL(None).pthread_self
    block.restype = ctypes.c_void_p
    return int(block())


def set_child_subreaper(enabled: bool = True) -> None:
    """Adopt orphaned descendants instead of leaving them to pid 1."""
    prctl(PR_SET_CHILD_SUBREAPER, int(enabled))


def set_pdeathsig(number: int) -> None:
    """Send this process signal ``number`` when the **thread** that created it ends; 0 for none.

    The setting is lost when credentials change and by executing a set-user-id program. A parent
    that died before the call is not noticed: check that it lives afterwards.
    """
    prctl(PR_SET_PDEATHSIG, number)


def set_process_name(name: str) -> None:
    """Set ``/proc/PID/comm`` (15 bytes are kept)."""
    buffer = ctypes.create_string_buffer(os.fsencode(name)[:15], 16)
    prctl(PR_SET_NAME, ctypes.addressof(buffer))


def set_dumpable(enabled: bool) -> None:
    """Whether this address space may be traced and dumped by processes of the same user."""
    prctl(PR_SET_DUMPABLE, int(enabled))


def pidfd_open(pid: int) -> int:
    """Descriptor of a process: pollable, close-on-exec, never another process.

    Raises:
        OSError: ESRCH when there is none.
    """
    return os.pidfd_open(pid)


def pidfd_send_signal(pidfd: int, number: int) -> None:
    """Send a signal through a pidfd.

    Raises:
        OSError: ESRCH when the process has ended and was reaped.
    """
    call(SYS_PIDFD_SEND_SIGNAL, pidfd, number, None, 0)


def pidfd_getfd(pidfd: int, fd: int) -> int:
    """Duplicate descriptor ``fd`` of another process into this one (close-on-exec).

    Raises:
        OSError: EBADF, ESRCH, or EPERM without ptrace access.
    """
    return call(SYS_PIDFD_GETFD, pidfd, fd, 0)


def wait_pidfd(pidfd: int, *, block: bool = True) -> tuple[int, int] | None:
    """Reap a child.

    Returns:
        Exit code and signal (one of them 0), or None when it still runs and ``block`` is false.

    Raises:
        ChildProcessError: it is not a child of this process, or was reaped before.
    """
    options = os.WEXITED if block else os.WEXITED | os.WNOHANG
    while True:
        try:
            result = os.waitid(os.P_PIDFD, pidfd, options)
        except OSError as error:
            if error.errno == errno.EINTR:
                continue
            raise
        break
    if result is None:
        return None
    if result.si_code == os.CLD_EXITED:
        return result.si_status, 0
    return 0, result.si_status
