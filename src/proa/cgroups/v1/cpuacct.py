"""v1 ``cpuacct``: CPU time used (cgroup-v1/cpuacct.rst). It has no limits."""

from __future__ import annotations

import os

from proa.cgroups.node import Node
from proa.cgroups.stats import Reading, parse_flat_keyed, parse_number


def collect(node: Node, reading: Reading) -> None:
    """Add this controller's figures to a reading."""
    reading["cpu_usage_ns"] = parse_number(node.read("cpuacct.usage"))
    # Sampled in clock ticks; the _user and _sys files count every nanosecond as system time when
    # the kernel has no precise accounting.
    tick_ns = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
    stat = parse_flat_keyed(node.read("cpuacct.stat"))
    reading["cpu_user_ns"] = stat.get("user", 0) * tick_ns
    reading["cpu_system_ns"] = stat.get("system", 0) * tick_ns
