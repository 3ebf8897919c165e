"""v2 ``pids`` (cgroup-v2.rst, "PID Interface Files")."""

from __future__ import annotations

from proa.cgroups.node import Node
from proa.cgroups.settings import write_limit
from proa.cgroups.stats import Reading, parse_number
from proa.oci.resources import LinuxPids

_MAX = "pids.max"


def apply(node: Node, pids: LinuxPids, *, fresh: bool) -> list[str]:
    """Set the limit; 0 and -1 are unlimited, as Docker has it. Returns warnings."""
    if pids.limit > 0:
        write_limit(node, _MAX, pids.limit, "--pids-limit")
    elif not fresh:
        write_limit(node, _MAX, "max", "--pids-limit")
    return []


def collect(node: Node, reading: Reading) -> None:
    """Add this controller's figures to a reading."""
    reading["pids_current"] = parse_number(node.read("pids.current"))
    reading["pids_limit"] = parse_number(node.read(_MAX))
