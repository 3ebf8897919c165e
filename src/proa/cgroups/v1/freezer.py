"""v1 ``freezer``: stop and continue all processes (cgroup-v1/freezer-subsystem.rst)."""

from __future__ import annotations

import time

from proa.cgroups.node import Node

_STATE = "freezer.state"
_RETRY_S = 0.0005


def start_freezing(node: Node) -> None:
    """Ask for it; processes that come later freeze on arrival."""
    node.write(_STATE, "FROZEN")


def wait_frozen(node: Node, timeout_s: float) -> bool:
    """Wait until every process has stopped; the kernel has no event for it.

    A task that is being forked or is in an uninterruptible wait keeps the state at ``FREEZING``;
    reading the state makes the kernel look again, writing it sends the signal again.
    """
    deadline = time.monotonic() + timeout_s
    wait_s = _RETRY_S
    while node.read(_STATE).strip() != "FROZEN":
        if time.monotonic() > deadline:
            return False
        time.sleep(wait_s)
        wait_s = min(wait_s * 2, 0.02)
        start_freezing(node)
    return True


def thaw(node: Node) -> None:
    """Let everything go on; synchronous in the kernel."""
    node.write(_STATE, "THAWED")


def is_freezing(node: Node) -> bool:
    """Whether the group itself (not a parent of it) is told to be frozen."""
    return (node.find("freezer.self_freezing") or "0").strip() == "1"
