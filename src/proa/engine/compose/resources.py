"""From Docker's limits to the runtime spec's (``linux.resources``)."""

from __future__ import annotations

import os
import stat

from proa.engine.config import Resources, ThrottleDevice
from proa.errors import Invalid, from_os_error
from proa.oci.resources import (
    LinuxBlockIO,
    LinuxCPU,
    LinuxMemory,
    LinuxPids,
    LinuxResources,
    LinuxThrottleDevice,
)

DEFAULT_PIDS_LIMIT = 4096
"""Enough for any server, far below what exhausts a host's pids; ``--pids-limit -1`` lifts it."""

CPU_PERIOD_US = 100_000
_MAX_BYTES = (1 << 63) - 1


def compose_resources(limits: Resources) -> LinuxResources:
    """Translate all limits but the device rules.

    Raises:
        Invalid: values contradict each other, or a throttled device is none.
    """
    return LinuxResources(
        memory=_memory(limits),
        cpu=_cpu(limits),
        pids=_pids(limits),
        block_io=_block_io(limits),
    )


def _memory(limits: Resources) -> LinuxMemory | None:
    if limits.memory_swap_bytes and not limits.memory_bytes:
        if limits.memory_swap_bytes > 0:
            raise Invalid(
                "--memory-swap needs --memory", "set --memory too: swap counts on top of it"
            )
        return None
    if not (limits.memory_bytes or limits.memory_reservation_bytes or limits.oom_kill_disable):
        return None
    # Docker's default; of half the kernel's greatest size on, twice as much is no size any more.
    swap = limits.memory_swap_bytes or min(2 * limits.memory_bytes, _MAX_BYTES)
    if 0 < swap < limits.memory_bytes:
        raise Invalid(
            f"--memory-swap {swap} is smaller than --memory {limits.memory_bytes}",
            "--memory-swap is memory plus swap",
        )
    if limits.memory_bytes and limits.memory_reservation_bytes > limits.memory_bytes:
        raise Invalid(
            f"--memory-reservation {limits.memory_reservation_bytes} is larger than "
            f"--memory {limits.memory_bytes}"
        )
    return LinuxMemory(
        limit=limits.memory_bytes or None,
        swap=swap if limits.memory_bytes else None,
        reservation=limits.memory_reservation_bytes or None,
        disable_oom_killer=limits.oom_kill_disable or None,
    )


def _cpu(limits: Resources) -> LinuxCPU | None:
    quota, period = limits.cpu_quota_us, limits.cpu_period_us
    if limits.nano_cpus:
        if quota or period:
            raise Invalid("--cpus and --cpu-period or --cpu-quota exclude each other")
        period = CPU_PERIOD_US
        quota = limits.nano_cpus * period // 1_000_000_000
        online = os.cpu_count() or 1
        if limits.nano_cpus > online * 1_000_000_000:
            raise Invalid(
                f"--cpus {limits.nano_cpus / 1e9:g} is more than the {online} CPUs of this machine",
                f"use a value from 0.01 to {online}",
            )
        if quota < 1000:
            raise Invalid(
                f"--cpus {limits.nano_cpus / 1e9:g} is too small", "the kernel's minimum is 0.01"
            )
    if not (quota or period or limits.cpu_shares or limits.cpuset_cpus or limits.cpuset_mems):
        return None
    return LinuxCPU(
        shares=limits.cpu_shares or None,
        quota=quota or None,
        period=period or None,
        cpus=limits.cpuset_cpus,
        mems=limits.cpuset_mems,
    )


def _pids(limits: Resources) -> LinuxPids:
    if limits.pids_limit is None or limits.pids_limit == 0:
        return LinuxPids(limit=DEFAULT_PIDS_LIMIT)
    return LinuxPids(limit=limits.pids_limit if limits.pids_limit > 0 else -1)


def _block_io(limits: Resources) -> LinuxBlockIO | None:
    throttled = (
        limits.device_read_bps,
        limits.device_write_bps,
        limits.device_read_iops,
        limits.device_write_iops,
    )
    if not (limits.blkio_weight or any(throttled)):
        return None
    read_bps, write_bps, read_iops, write_iops = (
        tuple([_throttle(device) for device in devices]) for devices in throttled
    )
    return LinuxBlockIO(
        weight=limits.blkio_weight or None,
        throttle_read_bps_device=read_bps,
        throttle_write_bps_device=write_bps,
        throttle_read_iops_device=read_iops,
        throttle_write_iops_device=write_iops,
    )


def _throttle(device: ThrottleDevice) -> LinuxThrottleDevice:
    try:
        info = os.stat(device.path)
    except OSError as error:
        raise from_os_error(
            error, f"cannot limit the device {device.path}", "name a disk, e.g. /dev/sda"
        ) from error
    if not stat.S_ISBLK(info.st_mode):
        raise Invalid(f"{device.path} is not a block device", "name a disk, e.g. /dev/sda")
    return LinuxThrottleDevice(
        major=os.major(info.st_rdev), minor=os.minor(info.st_rdev), rate=device.rate
    )
