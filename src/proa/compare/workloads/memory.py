"""What an idle instance costs in memory: the machine's view and the processes' view."""

from __future__ import annotations

import time

from proa.compare.model import Row
from proa.compare.statistics import slope
from proa.compare.targets.base import Target
from proa.compare.workloads.base import Sample

_SETTLE_S = 1.0
_LARGE_MB = 50


class Memory:
    """Starts idle instances one after the other and looks at the memory after each."""

    name = "memory"
    rows: tuple[Row, ...] = (
        Row(
            key="memory.available",
            title="Memory of an instance, by MemAvailable",
            definition="Slope of what is gone of MemAvailable over the number of idle instances"
            " (8, or 3 where one takes over 50 MB): what is shared counts once, what the kernel"
            " needs counts too.",
            unit="MB",
        ),
        Row(
            key="memory.pss",
            title="Memory of an instance, by PSS",
            definition="Proportional set size of the processes that exist for one instance alone,"
            " mean of those instances.",
            unit="MB",
        ),
    )

    def repeats(self, *, quick: bool) -> int:
        """Three, or one: each is several instances."""
        return 1 if quick else 3

    def seconds(self, target: Target) -> float:
        """Starts, pauses, ends."""
        return self._count(target) * (2 * target.startup_s + _SETTLE_S)

    def measure(self, target: Target) -> list[Sample]:
        """Start some, look, end them."""
        handles: list[str] = []
        points = [(0.0, -_available_mb())]
        try:
            for number in range(1, self._count(target) + 1):
                handles.append(target.start())
                time.sleep(_SETTLE_S)  # what an instance does after its start is no longer a cost
                points.append((float(number), -_available_mb()))
            pss = [sum(map(_pss_mb, target.processes(handle))) for handle in handles]
        finally:
            for handle in handles:
                target.stop(handle)
                target.remove(handle)
        return [
            Sample("memory.available", max(slope(points), 0.0)),
            Sample("memory.pss", sum(pss) / len(pss)),
        ]

    def _count(self, target: Target) -> int:
        return 3 if target.memory_mb > _LARGE_MB else 8


def _available_mb() -> float:
    with open("/proc/meminfo") as stream:
        for line in stream:
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) / 1000
    raise RuntimeError("/proc/meminfo has no MemAvailable")


def _pss_mb(pid: int) -> float:
    try:
        with open(f"/proc/{pid}/smaps_rollup") as stream:
            for line in stream:
                if line.startswith("Pss:"):
                    return int(line.split()[1]) / 1000
    except OSError:
        pass
    return 0.0
