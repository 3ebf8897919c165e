"""From the step that failed to the error that the user reads."""

from __future__ import annotations

import errno
import os

from proa.errors import (
    CommandNotExecutable,
    CommandNotFound,
    Invalid,
    ProaError,
    Unavailable,
    Unsupported,
    from_os_error,
)
from proa.runtime.executors.arena import Arena, Failure
from proa.runtime.plan import Step, Vector
from proa.runtime.steps.finish import FIND_STEP
from proa.runtime.steps.identity import CWD_STEP
from proa.runtime.steps.root import OVERLAY_CHECK

_MISSING = (errno.ENOENT, errno.ENOTDIR)


def translate(arena: Arena, signal: int, subject: str, disk: str = "") -> ProaError:
    """Say why a child never executed its command.

    Args:
        arena: the plan's memory.
        signal: that ended the child, or 0.
        subject: the container in the words of messages (``container web``).
        disk: directory on the filesystem that the root is made on.
    """
    failure = arena.failure()
    if failure is None:
        number, step = arena.current()
        return Unavailable(
            f"{subject}: its first process was killed by signal {signal} at"
            f" step {number} ({step.name})",
            "was it short of memory?",
        )
    if failure.step.syscall == "execve" or failure.step.name == FIND_STEP:
        return _command_error(arena, failure, subject)
    reason = os.strerror(failure.errno).lower()
    if failure.step.name.startswith(CWD_STEP):
        kind = CommandNotFound if failure.errno == errno.ENOENT else CommandNotExecutable
        return kind(f"{subject}: cannot {failure.step.name}: {reason}", "choose another with -w")
    if failure.step.name == OVERLAY_CHECK:
        if disk and _is_full(disk):
            return from_os_error(
                OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
                f"{subject}: cannot make its root below {disk}",
            )
        return Unsupported(
            f"{subject}: overlayfs could only be mounted read-only on the state root's filesystem",
            "move the state root to another filesystem or use --userns=host",
        )
    if failure.step.syscall == "openat2" and failure.errno == errno.ELOOP:
        return Invalid(
            f"{subject}: cannot {failure.step.name}: the image has a symbolic link there",
            "this image tries to redirect the kernel's files",
        )
    doing = f"{subject}: cannot {failure.step.name}"
    if failure.errno == 0:
        return Unavailable(f"{doing}: the supervisor has ended")
    error = from_os_error(OSError(failure.errno, reason), doing, _hint(failure.step))
    error.message += f" (step {failure.number}, {failure.step.syscall})"
    return error


def _is_full(directory: str) -> bool:
    """Whether users other than the host's root have no block or no inode left there."""
    space = os.statvfs(directory)
    return space.f_bavail == 0 or (space.f_files > 0 and space.f_favail == 0)


def _hint(step: Step) -> str:
    if step.syscall in ("fsconfig", "fsmount") and step.name.startswith(
        ("mount /proc", "mount /sys")
    ):
        return "the host's own /proc and /sys must be mounted and not be covered in parts"
    return ""


def _command_error(arena: Arena, failure: Failure, subject: str) -> ProaError:
    """Docker's rule: 127 for a command that is nowhere, 126 for one that cannot be executed."""
    searching = failure.step.name == FIND_STEP
    segment = arena.find(FIND_STEP) if searching else -1
    answers = {-result for result in arena.results(segment) if result < 0}
    # The search for the command is followed by the segment that has its words.
    words = arena.step(-1, 0).args[1]
    command = os.fsdecode(words.items[0]) if isinstance(words, Vector) else ""
    if answers <= set(_MISSING):
        in_path = "executable file not found in $PATH"
        where = "no such file or directory" if "/" in command else in_path
        return CommandNotFound(f'{subject}: cannot execute "{command}": {where}')
    number = failure.errno if failure.errno not in _MISSING else errno.EACCES
    return CommandNotExecutable(
        f'{subject}: cannot execute "{command}": {os.strerror(number).lower()}',
        "is it a script without a first line?" if number == errno.ENOEXEC else "",
    )
