"""What an idle instance costs in memory: the machine's view and the processes' view."""

from __future__ import annotations

import time

from proa.compare.model import ERROR, Row
from proa.compare.statistics import slope
from proa.compare.targets.base import Target
from proa.compare.workloads.base import Sample

_SETTLE_S = 1.0
_LARGE_MB = 50
_FEW, _MANY = 3, 30
_PAUSES = 6
"""Looks at the memory, evenly between the first instance and the last."""


class Memory:
    """Starts idle instances one after the other and looks at the memory between."""

    name = "memory"
    rows: tuple[Row, ...] = (
        Row(
            key="memory.available",
            title="Memory of an instance, by MemAvailable",
            definition="Slope of what is gone of MemAvailable over the number of idle instances"
            f" ({_MANY}, or {_FEW} where one takes over {_LARGE_MB} MB): what is shared counts"
            " once, what the kernel needs counts too. Within noise: less than twice the slope's"
            " standard error.",
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
        return self.instances(target) * 2 * target.startup_s + _PAUSES * _SETTLE_S

    def instances(self, target: Target) -> int:
        """Enough for a slope that beats the noise of the machine."""
        return _FEW if target.memory_mb > _LARGE_MB else _MANY

    def measure(self, target: Target) -> list[Sample]:
        """Start some, look, end them."""
        count = self.instances(target)
        looks = {round(count * place / _PAUSES) for place in range(1, _PAUSES + 1)}
        handles: list[str] = []
        points = [(0.0, -_available_mb())]
        try:
            for number in range(1, count + 1):
                handles.append(target.start())
                if number in looks:
                    time.sleep(_SETTLE_S)  # what an instance does after its start is no cost of it
                    points.append((float(number), -_available_mb()))
            pss = [sum(map(_pss_mb, target.processes(handle))) for handle in handles]
        finally:
            for handle in handles:
                target.stop(handle)
                target.remove(handle)
        found = slope(points)
        return [
            Sample("memory.available", found.value, {ERROR: found.error}),
            Sample("memory.pss", sum(pss) / len(pss)),
        ]


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
