"""v2 ``cpu`` (cgroup-v2.rst, "CPU Interface Files")."""

from __future__ import annotations

import math

from proa.cgroups.limits import DEFAULT_PERIOD_US
from proa.cgroups.node import Node
from proa.cgroups.settings import write_limit
from proa.cgroups.stats import Reading, parse_flat_keyed
from proa.oci.resources import LinuxCPU

_MAX = "cpu.max"
_SHARES_MIN, _SHARES_MAX = 2, 262_144
_WEIGHT_MIN, _WEIGHT_MAX = 1, 10_000


def weight_from_shares(shares: int) -> int:
    """Convert v1 shares (2 to 262144) to a v2 weight (1 to 10000).

    The curve is the one that runc, crun and systemd-based engines agreed on in 2025: a parabola in
    the logarithms through both ends and through the defaults, 1024 shares being weight 100. The
    linear one before it gave a default container weight 39.
    """
    if shares <= _SHARES_MIN:
        return _WEIGHT_MIN
    if shares >= _SHARES_MAX:
        return _WEIGHT_MAX
    log = math.log2(shares)
    return math.ceil(10 ** ((log * log + 125 * log) / 612 - 7 / 34))


def apply(node: Node, cpu: LinuxCPU, *, fresh: bool) -> list[str]:
    """Set what is given; returns warnings."""
    if cpu.shares:
        write_limit(node, "cpu.weight", weight_from_shares(cpu.shares), "--cpu-shares")
    if cpu.quota or cpu.period:
        text = _bandwidth(node, cpu, fresh=fresh)
        if text is not None:
            write_limit(node, _MAX, text, "--cpus: cpu.max")
    if cpu.burst:
        write_limit(node, "cpu.max.burst", cpu.burst, "cpu burst")
    if cpu.idle or (cpu.idle == 0 and not fresh):
        write_limit(node, "cpu.idle", cpu.idle, "cpu idle")
    if cpu.realtime_period or cpu.realtime_runtime:
        return ["--cpu-rt-period and --cpu-rt-runtime are ignored: cgroup v2 does not have them"]
    return []


def _bandwidth(node: Node, cpu: LinuxCPU, *, fresh: bool) -> str | None:
    """Text for ``cpu.max``; what is not given keeps its value. None: the kernel's default."""
    quota, period = "max", DEFAULT_PERIOD_US
    if not fresh:
        words = node.read(_MAX).split()
        quota, period = words[0], int(words[1])
    if cpu.quota:
        quota = "max" if cpu.quota == -1 else str(cpu.quota)
    period = cpu.period or period
    if fresh and quota == "max" and period == DEFAULT_PERIOD_US:
        return None
    return f"{quota} {period}"


def collect(node: Node, reading: Reading) -> None:
    """Add this controller's figures to a reading; usage is there even without the controller."""
    stat = parse_flat_keyed(node.read("cpu.stat"))
    for field, key, factor in (
        ("cpu_usage_ns", "usage_usec", 1000),
        ("cpu_user_ns", "user_usec", 1000),
        ("cpu_system_ns", "system_usec", 1000),
        ("cpu_periods", "nr_periods", 1),
        ("cpu_throttled_periods", "nr_throttled", 1),
        ("cpu_throttled_ns", "throttled_usec", 1000),
    ):
        if key in stat:
            reading[field] = stat[key] * factor
