"""What every v2 group has: events, freezing, killing (cgroup-v2.rst, "Core Interface Files")."""

from __future__ import annotations

import os
import select
import time

from proa.cgroups.node import Node, read_all
from proa.cgroups.stats import parse_flat_keyed

_EVENTS = "cgroup.events"
KILL = "cgroup.kill"


def wait_event(node: Node, key: str, value: int, timeout_s: float) -> bool:
    """Wait until a key of ``cgroup.events`` has a value; False when the time ran out.

    The kernel wakes a poller with POLLPRI at each change after the descriptor's last read.
    A group that is gone has nobody in it: both keys count as 0.
    """
    try:
        fd = node.open(_EVENTS)
    except FileNotFoundError:
        return value == 0
    deadline = time.monotonic() + timeout_s
    try:
        poll = select.poll()
        poll.register(fd, select.POLLPRI)
        while True:
            os.lseek(fd, 0, os.SEEK_SET)
            if parse_flat_keyed(read_all(fd).decode("ascii")).get(key, 0) == value:
                return True
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                return False
            poll.poll(left_s * 1000)
    except OSError as error:
        if not node.exists():
            return value == 0
        raise error
    finally:
        os.close(fd)
