"""The last steps: session and stdio, sealing descriptors, the seccomp filter, execve."""

from __future__ import annotations

import errno
import os
import struct
from functools import lru_cache

from proa.linux import seccomp
from proa.linux.syscalls import AT_FDCWD
from proa.runtime import slots
from proa.runtime.plan import Argument, Record, Segment, Slot, SlotAddress, Steps, Vector

EXECUTE = "execute"
"""Name of the last segment; its results tell a missing command from one that cannot run."""

FIND_STEP = "find the command"

REPORT_FD = 3
HOLD_FD = 4

_F_DUPFD_CLOEXEC = 1030
_SIG_SETMASK = 2
_AT_EACCESS = 0x200
_TIOCSWINSZ = 0x5414
_TIOCSCTTY = 0x540E
_ABOVE_STDIO = 10
_LAST_FD = 0xFFFFFFFF

SEPARATED = b"s"
PARKED = b"p"

_NOT_HERE = (errno.ENOENT, errno.ENOTDIR, errno.EACCES)


@lru_cache(maxsize=4)
def terminal(rows: int, columns: int, uid: int) -> Segment:
    """A session whose terminal is the pty's other side, which is stdio as well."""
    name = "set up the terminal"
    steps = Steps()
    steps.add("start a session", "setsid")
    if rows and columns:
        size = struct.pack("<4H", rows, columns, 0, 0)
        steps.add(name, "ioctl", Slot(slots.TERMINAL), _TIOCSWINSZ, size)
    steps.add(name, "ioctl", Slot(slots.TERMINAL), _TIOCSCTTY, 0)
    steps.add(name, "fchown", Slot(slots.TERMINAL), uid, -1)
    for number in range(3):
        steps.add(name, "dup3", Slot(slots.TERMINAL), number, 0)
    return steps.compile("terminal")


@lru_cache(maxsize=1)
def stdio() -> Segment:
    """A session without terminal; the caller's descriptors become 0, 1, 2.

    They are moved out of the way first: any of them may be another's target.
    """
    name = "set up stdio"
    steps = Steps()
    steps.add("start a session", "setsid")
    copies = [
        steps.add(name, "fcntl", Slot(source), _F_DUPFD_CLOEXEC, _ABOVE_STDIO)
        for source in (slots.STDIN, slots.STDOUT, slots.STDERR)
    ]
    for number, copy in enumerate(copies):
        steps.add(name, "dup3", copy, number, 0)
    return steps.compile("stdio")


@lru_cache(maxsize=4)
def seal(*, parked: bool, preserved: int = 0) -> Segment:
    """Close everything but stdio, the report pipe and, for a parked child, the hold.

    Args:
        parked: wait for the word to go on.
        preserved: how many descriptors behind stdio the caller gives to the process.
    """
    name = "close descriptors"
    report_fd, hold_fd = REPORT_FD + preserved, HOLD_FD + preserved
    above = _ABOVE_STDIO + preserved
    steps = Steps()
    # Blocked signals survive execve; whoever blocked some here did it for itself.
    steps.add("unblock all signals", "rt_sigprocmask", _SIG_SETMASK, bytes(8), None, 8)
    report: Argument = steps.add(name, "fcntl", Slot(slots.REPORT), _F_DUPFD_CLOEXEC, above)
    if parked:
        hold = steps.add(name, "fcntl", Slot(slots.HOLD), _F_DUPFD_CLOEXEC, above)
    steps.add(name, "dup3", report, report_fd, os.O_CLOEXEC)
    if parked:
        steps.add(name, "dup3", hold, hold_fd, os.O_CLOEXEC)
    steps.add(name, "close_range", hold_fd + 1 if parked else hold_fd, _LAST_FD, 0)
    if parked:
        steps.add("park", "write", report_fd, PARKED, 1)
        steps.add("park", "read", hold_fd, SlotAddress(slots.TOKEN), 8)
    return steps.compile("seal")


def find_command(args: tuple[str, ...], env: tuple[str, ...]) -> Segment:
    """Look for the command, for a child whose execve comes when nobody hears of its failure."""
    candidates = list(_candidates(args[0], env))
    steps = Steps()
    for position, path in enumerate(candidates):
        left = len(candidates) - position - 1
        steps.add(
            FIND_STEP,
            "faccessat2",
            AT_FDCWD,
            os.fsencode(path),
            os.X_OK,
            _AT_EACCESS,
            tolerate=_NOT_HERE if left else (),
            skip=left,
            skip_on="success" if left else "",
        )
    return steps.compile(FIND_STEP)


@lru_cache(maxsize=16)
def system_call_filter(program: bytes, flags: int) -> Segment:
    """Load a seccomp filter (packed ``struct sock_filter``)."""
    steps = Steps()
    record = Record(seccomp.pack_fprog(len(program), 0), ((8, program),))
    steps.add("load the seccomp filter", "seccomp", seccomp.SET_MODE_FILTER, flags, record)
    return steps.compile("seccomp")


def execute(args: tuple[str, ...], env: tuple[str, ...]) -> Segment:
    """Try the command in each directory of PATH, as execvp(3) does; a path with ``/`` is one try.

    A kernel that answers ENOENT, ENOTDIR or EACCES lets the search go on; anything else ends it.
    """
    argv = Vector(tuple([os.fsencode(word) for word in args]))
    envp = Vector(tuple([os.fsencode(entry) for entry in env]))
    candidates = list(_candidates(args[0], env))
    steps = Steps()
    for path in candidates[:-1]:
        steps.add(f"execute {path}", "execve", os.fsencode(path), argv, envp, tolerate=_NOT_HERE)
    path = candidates[-1]
    steps.add(f"execute {path}", "execve", os.fsencode(path), argv, envp)
    return steps.compile(EXECUTE)


def _candidates(command: str, env: tuple[str, ...]) -> list[str]:
    if "/" in command:
        return [command]
    path = ""
    for entry in env:
        if entry.startswith("PATH="):
            path = entry[5:]
    return [f"{directory or '.'}/{command}" for directory in path.split(":")]
