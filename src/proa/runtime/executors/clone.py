"""clone3(2): the structure that both executors pass, and who they return."""

from __future__ import annotations

import struct
from typing import NamedTuple

from proa.linux.process import CLONE_INTO_CGROUP, CLONE_PIDFD
from proa.runtime.executors.arena import PIDFD_SLOT, Arena
from proa.runtime.plan import SLOT_BYTES, SLOTS_OFFSET, STACK_END

CLONE_ARGS = struct.Struct("<11Q")
"""struct clone_args of <linux/sched.h>, as of Linux 5.7 (cgroup is its last member)."""

_SIGCHLD = 17
_STACK_START = 16


class Child(NamedTuple):
    """A started child: its pid here, and its pidfd (close-on-exec, owned by the caller)."""

    pid: int
    pidfd: int


def pack_clone_args(arena: Arena, flags: int, cgroup_fd: int, *, stack: bool) -> bytes:
    """Fill struct clone_args.

    Args:
        arena: takes the pidfd, and holds the stack of a child that shares memory.
        flags: CLONE_* without CLONE_PIDFD and CLONE_INTO_CGROUP.
        cgroup_fd: directory of the cgroup v2 to be born in, or -1.
        stack: give the child the arena's stack.
    """
    flags |= CLONE_PIDFD
    if cgroup_fd >= 0:
        flags |= CLONE_INTO_CGROUP
    return CLONE_ARGS.pack(
        flags,
        arena.address + SLOTS_OFFSET + SLOT_BYTES * PIDFD_SLOT,
        0,
        0,
        _SIGCHLD,
        arena.address + _STACK_START if stack else 0,
        STACK_END - _STACK_START if stack else 0,
        0,
        0,
        0,
        max(cgroup_fd, 0),
    )
