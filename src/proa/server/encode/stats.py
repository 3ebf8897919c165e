"""Readings of a container as ``GET /containers/{id}/stats`` shows them."""

from __future__ import annotations

import os
from typing import Any, Final

from proa.engine.containers.stats import StatsSample
from proa.units import NS_PER_S, format_rfc3339_ns

_NEVER: Final = "0001-01-01T00:00:00Z"
Document = dict[str, Any]
Reading = tuple[StatsSample, int]
"""A container's counters, and the machine's CPU time at that moment in nanoseconds."""


def read_machine_cpu_ns() -> int:
    """Return the CPU time that all processors have spent since boot, idle time included."""
    with open("/proc/stat", "rb") as stream:
        fields = stream.readline().split()[1:9]
    return sum(map(int, fields)) * (NS_PER_S // os.sysconf("SC_CLK_TCK"))


def encode_sample(now: Reading, before: Reading | None) -> Document:
    """Return one reading with the one before it, from which clients compute rates."""
    sample, _ = now
    usage = sample.usage
    return {
        "id": sample.id,
        "name": f"/{sample.name}",
        "read": format_rfc3339_ns(sample.time_ns),
        "preread": format_rfc3339_ns(before[0].time_ns) if before is not None else _NEVER,
        "pids_stats": _known({"current": usage.pids_current, "limit": usage.pids_limit}),
        "blkio_stats": _blkio(sample),
        "num_procs": 0,
        "storage_stats": {},
        "cpu_stats": _cpu(now),
        "precpu_stats": _cpu(before) if before is not None else _no_cpu(),
        "memory_stats": _memory(sample),
        "networks": _networks(sample),
    }


def encode_absent(container_id: str, name: str) -> Document:
    """Return what is said of a container that does not run."""
    return {
        "id": container_id,
        "name": f"/{name}",
        "read": _NEVER,
        "preread": _NEVER,
        "pids_stats": {},
        "blkio_stats": _no_blkio(),
        "num_procs": 0,
        "storage_stats": {},
        "cpu_stats": _no_cpu(),
        "precpu_stats": _no_cpu(),
        "memory_stats": {},
    }


def _cpu(reading: Reading) -> Document:
    usage, machine_ns = reading[0].usage, reading[1]
    return {
        "cpu_usage": {
            "total_usage": max(usage.cpu_usage_ns, 0),
            "usage_in_kernelmode": max(usage.cpu_system_ns, 0),
            "usage_in_usermode": max(usage.cpu_user_ns, 0),
        },
        "system_cpu_usage": machine_ns,
        "online_cpus": os.cpu_count() or 1,
        "throttling_data": {
            "periods": max(usage.cpu_periods, 0),
            "throttled_periods": max(usage.cpu_throttled_periods, 0),
            "throttled_time": max(usage.cpu_throttled_ns, 0),
        },
    }


def _no_cpu() -> Document:
    return {
        "cpu_usage": {"total_usage": 0, "usage_in_kernelmode": 0, "usage_in_usermode": 0},
        "throttling_data": {"periods": 0, "throttled_periods": 0, "throttled_time": 0},
    }


def _memory(sample: StatsSample) -> Document:
    usage = sample.usage
    details = {name: value for name, value in usage.memory_detail.items() if value >= 0}
    if usage.memory_inactive_file_bytes >= 0:
        # The two names that clients subtract, for cgroup v1 and v2.
        details.setdefault("total_inactive_file", usage.memory_inactive_file_bytes)
        details.setdefault("inactive_file", usage.memory_inactive_file_bytes)
    return {
        **_known({"usage": usage.memory_usage_bytes, "max_usage": usage.memory_peak_bytes}),
        "limit": sample.memory_limit_bytes,
        "stats": details,
    }


def _blkio(sample: StatsSample) -> Document:
    usage = sample.usage
    document = _no_blkio()
    for name, read, write in (
        ("io_service_bytes_recursive", usage.io_read_bytes, usage.io_write_bytes),
        ("io_serviced_recursive", usage.io_read_ops, usage.io_write_ops),
    ):
        if read >= 0 or write >= 0:
            # The engine sums all devices.
            document[name] = [
                {"major": 0, "minor": 0, "op": op, "value": max(value, 0)}
                for op, value in (("read", read), ("write", write))
            ]
    return document


def _no_blkio() -> Document:
    return dict.fromkeys(
        (
            "io_service_bytes_recursive", "io_serviced_recursive", "io_queue_recursive",
            "io_service_time_recursive", "io_wait_time_recursive", "io_merged_recursive",
            "io_time_recursive", "sectors_recursive",
        )
    )  # fmt: skip


def _networks(sample: StatsSample) -> Document:
    if sample.network_received_bytes < 0:
        return {}
    return {
        "eth0": {
            "rx_bytes": sample.network_received_bytes,
            "rx_packets": 0,
            "rx_errors": 0,
            "rx_dropped": 0,
            "tx_bytes": sample.network_sent_bytes,
            "tx_packets": 0,
            "tx_errors": 0,
            "tx_dropped": 0,
        }
    }


def _known(values: dict[str, int]) -> dict[str, int]:
    return {name: value for name, value in values.items() if value >= 0}
