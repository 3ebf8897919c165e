"""v2 ``cpuset`` (cgroup-v2.rst, "Cpuset Interface Files"); empty means the parent's."""

from __future__ import annotations

from proa.cgroups.node import Node
from proa.cgroups.settings import write_limit
from proa.oci.resources import LinuxCPU


def apply(node: Node, cpu: LinuxCPU) -> list[str]:
    """Set what is given; returns warnings."""
    if cpu.cpus:
        write_limit(node, "cpuset.cpus", cpu.cpus, "--cpuset-cpus")
    if cpu.mems:
        write_limit(node, "cpuset.mems", cpu.mems, "--cpuset-mems")
    return []
