"""v2 freezer: part of the core since Linux 5.2."""

from __future__ import annotations

from proa.cgroups.node import Node
from proa.cgroups.v2.core import wait_event

_FREEZE = "cgroup.freeze"


def start_freezing(node: Node) -> None:
    """Ask for it; processes that come later freeze on arrival."""
    node.write(_FREEZE, "1")


def wait_frozen(node: Node, timeout_s: float) -> bool:
    """Wait until every process has stopped; False when the time ran out."""
    return wait_event(node, "frozen", 1, timeout_s)


def thaw(node: Node) -> None:
    """Let everything go on."""
    node.write(_FREEZE, "0")


def is_freezing(node: Node) -> bool:
    """Whether the group itself is told to be frozen."""
    return (node.find(_FREEZE) or "0").strip() == "1"
