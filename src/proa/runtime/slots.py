"""Slots of a launch: what segments and the parent pass to each other through the arena.

The parent fills some before the child starts, some while it waits for :data:`READY`, and reads
others after its end. Slot 0 belongs to the executors.
"""

from __future__ import annotations

READY = 1
"""Eventfd that the parent writes when identities are mapped and the slots are filled."""

POLL_READY = 2
POLL_PARENT = 3
"""Two struct pollfd in a row: READY, and the parent's pidfd."""

TOKEN = 4
"""Eight bytes for reads whose content does not matter."""

REPORT = 5
"""Pipe to the parent: a byte at each milestone, its end at execve or death."""

HOLD = 6
"""Eventfd that a parked child reads before its execve."""

STDIN, STDOUT, STDERR = 7, 8, 9

BASE = 10
"""Detached mount of the root: its directory, or the tree that the overlay's layers lie in."""

SOCKET = 11
DEVPTS_CONTEXT = 12
DEVPTS = 13
MASTER = 14
SHARED = (SOCKET, DEVPTS_CONTEXT, DEVPTS, MASTER)
"""Opened by the child while it shares the parent's descriptors: the parent must close them."""

TERMINAL = 15
ROOT = 16
PROC = 17
DEV = 18
EMPTY = 19
"""Detached empty read-only tmpfs that masked directories get copies of."""

INIT = 20
"""Pidfd of the container's init, whose namespaces an ``exec`` joins."""

DEVICES = 21
"""Detached tmpfs with the nodes of the spec's devices, named by position."""

USERNS = 22
"""Another container's user namespace, which the child joins."""

JOIN = 24
MAX_JOINS = 24
"""Cgroup files to write "0" to."""

SOURCE = JOIN + MAX_JOINS
"""Detached mounts of bind sources, in the order of the spec."""
