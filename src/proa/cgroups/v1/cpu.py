"""v1 ``cpu``: shares and bandwidth (scheduler/sched-bwc.rst, cgroup-v1/cpuacct.rst)."""

from __future__ import annotations

import errno

from proa.cgroups.limits import DEFAULT_PERIOD_US
from proa.cgroups.node import Node
from proa.cgroups.settings import limit_error, write_limit
from proa.cgroups.stats import Reading, parse_flat_keyed
from proa.oci.resources import LinuxCPU

_QUOTA = "cpu.cfs_quota_us"
_PERIOD = "cpu.cfs_period_us"
_DEFAULT_SHARES = 1024


def apply(node: Node, cpu: LinuxCPU, *, fresh: bool) -> list[str]:
    """Set what is given and differs from the kernel's defaults; returns warnings."""
    if cpu.shares and not (fresh and cpu.shares == _DEFAULT_SHARES):
        write_limit(node, "cpu.shares", cpu.shares, "--cpu-shares")
    _set_bandwidth(node, cpu, fresh=fresh)
    if cpu.burst:
        write_limit(node, "cpu.cfs_burst_us", cpu.burst, "cpu burst")
    if cpu.realtime_period:
        write_limit(node, "cpu.rt_period_us", cpu.realtime_period, "--cpu-rt-period")
    if cpu.realtime_runtime:
        write_limit(node, "cpu.rt_runtime_us", cpu.realtime_runtime, "--cpu-rt-runtime")
    if cpu.idle or (cpu.idle == 0 and not fresh):
        write_limit(node, "cpu.idle", cpu.idle, "cpu idle")
    return []


def _set_bandwidth(node: Node, cpu: LinuxCPU, *, fresh: bool) -> None:
    period = cpu.period or 0
    if fresh and period == DEFAULT_PERIOD_US:
        period = 0
    quota = cpu.quota or 0
    if fresh and quota == -1:
        quota = 0
    if period:
        try:
            node.write(_PERIOD, str(period))
        except OSError as error:
            # Old quota over new period may exceed the parent's ratio: then the quota goes first.
            if error.errno != errno.EINVAL or not quota:
                raise limit_error(error, f"--cpu-period {period}") from error
            write_limit(node, _QUOTA, quota, "--cpus: cpu quota")
            write_limit(node, _PERIOD, period, "--cpu-period")
            return
    if quota:
        write_limit(node, _QUOTA, quota, "--cpus: cpu quota")


def collect(node: Node, reading: Reading) -> None:
    """Add this controller's figures to a reading."""
    stat = parse_flat_keyed(node.read("cpu.stat"))
    reading["cpu_periods"] = stat.get("nr_periods", -1)
    reading["cpu_throttled_periods"] = stat.get("nr_throttled", -1)
    reading["cpu_throttled_ns"] = stat.get("throttled_time", -1)
