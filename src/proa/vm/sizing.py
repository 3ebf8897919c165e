"""How large a container's machine is: its limits, and what its kernel needs on top."""

from __future__ import annotations

import os

from proa.errors import Unsupported
from proa.oci.resources import LinuxBlockIO, LinuxCPU, LinuxMemory, LinuxResources
from proa.vm.qemu.machine import Throttle

MIB = 1 << 20
DEFAULT_MEMORY_BYTES = 1024 * MIB
"""Without a limit. What the guest does not touch costs nothing."""

OVERHEAD_BYTES = 128 * MIB
"""Kernel, initramfs and agent; a limit is the container's alone."""

MINIMUM_BYTES = 64 * MIB
_QEMU_BYTES = 256 * MIB
_MAX_VCPUS = 64
_DEFAULT_VCPUS = 4
_DEFAULT_PERIOD_US = 100_000


def memory_bytes(resources: LinuxResources) -> int:
    """RAM of the machine, a multiple of one MiB."""
    limit = resources.memory.limit if resources.memory is not None else None
    if limit is None or limit <= 0:
        return DEFAULT_MEMORY_BYTES
    total = max(limit, MINIMUM_BYTES) + OVERHEAD_BYTES
    return -(-total // MIB) * MIB


def vcpus(resources: LinuxResources, *, emulated: bool) -> int:
    """Virtual CPUs: enough for the quota or the set of CPUs; fractions are the cgroups' part.

    An emulated CPU is slow to bring up, so without a limit there is one of them.
    """
    available = len(os.sched_getaffinity(0))
    cpu = resources.cpu
    wanted = 0
    if cpu is not None and cpu.quota is not None and cpu.quota > 0:
        wanted = -(-cpu.quota // (cpu.period or _DEFAULT_PERIOD_US))
    elif cpu is not None and cpu.cpus:
        wanted = _count(cpu.cpus)
    elif not emulated:
        wanted = min(available, _DEFAULT_VCPUS)
    return max(1, min(wanted, available, _MAX_VCPUS))


def throttle(resources: LinuxResources) -> Throttle:
    """Limits of the writable disk: the tightest of those for the host's devices."""
    io = resources.block_io or LinuxBlockIO()

    def lowest(rates: tuple[int, ...]) -> int:
        return min(rates, default=0)

    return Throttle(
        read_bps=lowest(tuple([item.rate for item in io.throttle_read_bps_device])),
        write_bps=lowest(tuple([item.rate for item in io.throttle_write_bps_device])),
        read_iops=lowest(tuple([item.rate for item in io.throttle_read_iops_device])),
        write_iops=lowest(tuple([item.rate for item in io.throttle_write_iops_device])),
    )


def host_resources(resources: LinuxResources) -> LinuxResources:
    """Limits of the cgroup around QEMU: the CPUs as asked for, memory for the whole machine."""
    memory = None
    if resources.memory is not None and resources.memory.limit:
        if resources.memory.limit > 0:
            memory = LinuxMemory(limit=memory_bytes(resources) + _QEMU_BYTES)
        else:
            memory = LinuxMemory(limit=-1)
    cpu = resources.cpu
    if cpu is not None:
        cpu = LinuxCPU(
            shares=cpu.shares, quota=cpu.quota, period=cpu.period, cpus=cpu.cpus, mems=cpu.mems
        )
    return LinuxResources(memory=memory, cpu=cpu)


def _count(cpus: str) -> int:
    """How many CPUs a list like ``0-3,7`` has (cpuset(7), "List format")."""
    count = 0
    for part in cpus.split(","):
        first, _, last = part.strip().partition("-")
        if first.isdigit() and (not last or last.isdigit()):
            count += int(last or first) - int(first) + 1
    return count


def check_update(wanted: LinuxResources, made: LinuxResources) -> None:
    """Refuse limits that the running machine is too small for.

    Args:
        wanted: the changes.
        made: what the machine was made with.

    Raises:
        Unsupported: more memory than it has.
    """
    limit = wanted.memory.limit if wanted.memory is not None else None
    if limit is None or limit <= 0:
        return
    most = memory_bytes(made) - OVERHEAD_BYTES
    if limit > most:
        raise Unsupported(
            f"a running machine of {memory_bytes(made) // MIB} MiB cannot give its container"
            f" {limit // MIB} MiB",
            "stop the container, update it, and start it again",
        )
