"""Signal, move and await the processes of a group whose members come and go meanwhile."""

from __future__ import annotations

import errno
import os
import select
import signal
import time
from collections.abc import Callable

from proa.cgroups.node import Node
from proa.errors import TimedOut

_POLL_AT_ONCE = 64
_RETRY_S = 0.001


def kill_listed(pids: Callable[[], list[int]]) -> None:
    """SIGKILL the processes that a group lists, and no other: see :func:`signal_listed`."""
    signal_listed(pids, signal.SIGKILL)


def signal_listed(pids: Callable[[], list[int]], number: int) -> None:
    """Signal the processes that a group lists, and no other.

    A pid read from the list may be recycled before it is used. So each is opened as a pidfd first
    and signalled only if the group still lists its pid afterwards: while the pidfd's process lives
    nobody else has that pid.
    """
    opened = {pid: fd for pid in pids() if (fd := _open_pidfd(pid)) >= 0}
    try:
        for pid in opened.keys() & set(pids()):
            try:
                signal.pidfd_send_signal(opened[pid], number)
            except ProcessLookupError:
                continue
    finally:
        for fd in opened.values():
            os.close(fd)


def wait_gone(pids: Callable[[], list[int]], timeout_s: float) -> bool:
    """Wait for the end of all listed processes; False when the time ran out."""
    deadline = time.monotonic() + timeout_s
    before: list[int] = []
    while listed := pids():
        if listed == before:  # an ended process leaves the list a moment after its pidfd says so
            time.sleep(_RETRY_S)
        before = listed
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            return False
        opened = [fd for pid in listed[:_POLL_AT_ONCE] if (fd := _open_pidfd(pid)) >= 0]
        try:
            if opened:
                poll = select.poll()
                for fd in opened:
                    poll.register(fd, select.POLLIN)
                poll.poll(left_s * 1000)
        finally:
            for fd in opened:
                os.close(fd)
    return True


def gather(pids: Callable[[], list[int]], node: Node, timeout_s: float) -> None:
    """Move all listed processes into one more v1 group.

    A child that is forked while its parent is being moved stays outside, so the list is read again
    until it has nothing new, twice: what is inside forks inside, hence the loop ends unless the
    processes outside fork faster than we move them.

    Raises:
        TimedOut: they do.
        OSError: the kernel refuses the move.
    """
    deadline = time.monotonic() + timeout_s
    quiet = 0
    fd = node.open("cgroup.procs", Node.write_flags)
    try:
        while quiet < 2:
            outside = set(pids()) - set(node.pids())
            quiet = 0 if outside else quiet + 1
            for pid in outside:
                write_pid(fd, pid)
            if quiet < 2 and time.monotonic() > deadline:
                raise TimedOut(f"processes fork faster than they can be moved into {node.path}")
    finally:
        os.close(fd)


def write_pid(fd: int, pid: int) -> bool:
    """Move one process through an open ``cgroup.procs``; False when it has ended."""
    try:
        os.write(fd, b"%d" % pid)
    except OSError as error:
        if error.errno == errno.ESRCH:
            return False
        raise
    return True


def _open_pidfd(pid: int) -> int:
    try:
        return os.pidfd_open(pid)
    except OSError as error:
        # EINVAL: not a thread group leader, which a v1 list shows while a process is torn down.
        if error.errno in (errno.ESRCH, errno.EINVAL):
            return -1
        raise
