"""v1 ``cpuset``: which CPUs and memory nodes (cgroup-v1/cpusets.rst).

A fresh v1 cpuset has neither CPUs nor nodes and refuses processes, so each level must be given its
parent's before anything else.
"""

from __future__ import annotations

from proa.cgroups.node import Node
from proa.cgroups.settings import write_limit
from proa.oci.resources import LinuxCPU

_FLAGS = {"cpuset.cpus": "--cpuset-cpus", "cpuset.mems": "--cpuset-mems"}


def inherit(node: Node, parent: Node) -> None:
    """Give a group its parent's CPUs and nodes where it has none of its own. Idempotent."""
    for file in _FLAGS:
        if not node.read(file).strip():
            node.write(file, parent.read(file).strip())


def wants(cpu: LinuxCPU | None) -> bool:
    """Whether the limits need a cpuset."""
    return cpu is not None and bool(cpu.cpus or cpu.mems)


def apply(node: Node, cpu: LinuxCPU) -> list[str]:
    """Set what is given; returns warnings."""
    for file, value in (("cpuset.cpus", cpu.cpus), ("cpuset.mems", cpu.mems)):
        if value:
            write_limit(node, file, value, _FLAGS[file])
    return []
