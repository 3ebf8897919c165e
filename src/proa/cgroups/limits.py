"""Refuse limits that no kernel, or not this machine, can hold: before anything is made.

Every message names Docker's flag, which is what a user has typed; the fields of the OCI spec map to
the flags one to one.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

import msgspec

from proa.errors import Invalid, Unsupported
from proa.oci.resources import LinuxBlockIO, LinuxCPU, LinuxMemory, LinuxResources

MIN_MEMORY_BYTES = 6 << 20
"""Less does not carry a container's first process through its start (Docker's figure)."""
DEFAULT_PERIOD_US = 100_000
_MAX_BYTES = (1 << 63) - 1
_PERIOD_US = range(1_000, 1_000_001)
_MIN_QUOTA_US = 1_000
_SHARES = range(2, 262_145)
_WEIGHT = range(10, 1_001)
_PIDS_MAX = 4_194_304


class Machine(msgspec.Struct, frozen=True):
    """What limits are checked against: numbers of the CPUs and memory nodes that are online."""

    cpus: frozenset[int]
    nodes: frozenset[int]


def load_machine(sys: str = "/sys") -> Machine:
    """Read the online CPUs and memory nodes from sysfs."""
    cpus = _read_list(f"{sys}/devices/system/cpu/online")
    nodes = _read_list(f"{sys}/devices/system/node/online")
    return Machine(cpus or frozenset(range(os.cpu_count() or 1)), nodes or frozenset((0,)))


def check_resources(resources: LinuxResources, machine: Machine) -> None:
    """Check everything that can be checked without touching a group.

    Raises:
        Invalid: a value that no machine could hold, or more CPUs than this one has.
    """
    if resources.memory is not None:
        check_memory(resources.memory)
    if resources.cpu is not None:
        check_cpu(resources.cpu, machine)
    if resources.pids is not None and not -1 <= resources.pids.limit <= _PIDS_MAX:
        raise Invalid(
            f"--pids-limit {resources.pids.limit} is out of range",
            f"give 1 to {_PIDS_MAX}, or -1 for unlimited",
        )
    if resources.block_io is not None:
        check_block_io(resources.block_io)
    for name in resources.unified:
        if "/" in name or name.startswith(("cgroup.", ".")) or not name.isascii():
            raise Invalid(f"unified resource {name!r} is not a controller's file")


def check_memory(memory: LinuxMemory) -> None:
    """Check ``--memory``, ``--memory-swap``, ``--memory-reservation``, ``--memory-swappiness``."""
    limit, swap, reservation = memory.limit or 0, memory.swap or 0, memory.reservation or 0
    for flag, value in (("--memory", limit), ("--memory-reservation", reservation)):
        if value > _MAX_BYTES or (value != -1 and value < 0):
            raise Invalid(f"{flag} {value} is not a size in bytes")
        if 0 < value < MIN_MEMORY_BYTES:
            raise Invalid(f"{flag} {value} is too small", "the minimum is 6m")
    if swap < -1 or swap > _MAX_BYTES:
        raise Invalid(f"--memory-swap {swap} is not a size in bytes", "-1 is unlimited")
    if swap > 0 and limit == 0:
        raise Invalid("--memory-swap needs --memory", "it is the sum of memory and swap")
    if 0 < swap < limit or (swap > 0 and limit == -1):
        raise Invalid(
            f"--memory-swap {swap} is less than --memory {limit}",
            "it is the sum of memory and swap: give at least as much as --memory",
        )
    if 0 < limit < reservation:
        raise Invalid(f"--memory-reservation {reservation} is more than --memory {limit}")
    if memory.swappiness is not None and not 0 <= memory.swappiness <= 100:
        raise Invalid(f"--memory-swappiness {memory.swappiness} is not within 0 and 100")


def check_cpu(cpu: LinuxCPU, machine: Machine) -> None:
    """Check ``--cpus`` (quota over period), ``--cpu-shares`` and ``--cpuset-cpus``, ``-mems``."""
    period = cpu.period or DEFAULT_PERIOD_US
    quota = cpu.quota or 0
    if period not in _PERIOD_US:
        raise Invalid(f"--cpu-period {period} is out of range", "give 1000 to 1000000 microseconds")
    if quota < -1 or 0 < quota < _MIN_QUOTA_US:
        raise Invalid(
            f"--cpus: a quota of {quota} microseconds is out of range",
            "give at least 1000 microseconds (--cpus 0.01), or -1 for unlimited",
        )
    if quota > period * len(machine.cpus):
        raise Invalid(
            f"--cpus {quota / period:g} is more than this machine has",
            f"give 0.01 to {len(machine.cpus)}",
        )
    if cpu.burst is not None and not 0 <= cpu.burst <= max(quota, 0):
        raise Invalid(f"cpu burst {cpu.burst} is not within 0 and the quota {quota}")
    if cpu.shares and cpu.shares not in _SHARES:
        raise Invalid(f"--cpu-shares {cpu.shares} is out of range", "give 2 to 262144")
    if cpu.idle is not None and cpu.idle not in (0, 1):
        raise Invalid(f"cpu idle {cpu.idle} is neither 0 nor 1")
    check_cpu_list("--cpuset-cpus", cpu.cpus, machine.cpus)
    check_cpu_list("--cpuset-mems", cpu.mems, machine.nodes)


def check_cpu_list(flag: str, text: str, online: frozenset[int]) -> None:
    """Check a list such as ``0-2,7`` against what is online."""
    if not text:
        return
    try:
        wanted = parse_cpu_list(text)
    except ValueError:
        raise Invalid(f"{flag} {text!r} is not a list like 0-2,7") from None
    if not wanted <= online:
        raise Invalid(
            f"{flag} {text}: not available on this machine",
            f"it has {format_cpu_list(online)}",
        )


def check_block_io(block_io: LinuxBlockIO) -> None:
    """Check ``--blkio-weight`` and the ``--device-*`` throttles."""
    weights = [("--blkio-weight", block_io.weight)]
    weights += [("--blkio-weight-device", device.weight) for device in block_io.weight_device]
    for flag, weight in weights:
        if weight and weight not in _WEIGHT:
            raise Invalid(f"{flag} {weight} is out of range", "give 10 to 1000, 0 for the default")
    if block_io.leaf_weight:
        raise Unsupported(
            "blkio leaf weight is not supported", "kernels since 5.0 no longer have it"
        )
    for flag, devices in (
        ("--device-read-bps", block_io.throttle_read_bps_device),
        ("--device-write-bps", block_io.throttle_write_bps_device),
        ("--device-read-iops", block_io.throttle_read_iops_device),
        ("--device-write-iops", block_io.throttle_write_iops_device),
    ):
        for device in devices:
            if not 0 <= device.rate <= _MAX_BYTES:
                raise Invalid(f"{flag} {device.major}:{device.minor}: rate {device.rate}")


def parse_cpu_list(text: str) -> frozenset[int]:
    """Numbers of a kernel list (``0-2,7``).

    Raises:
        ValueError: not such a list, or one with numbers beyond any machine.
    """
    if not text.isascii():
        raise ValueError(text)
    numbers: set[int] = set()
    for part in text.strip().split(","):
        first, dash, last = part.partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise ValueError(text)
        low, high = int(first), int(last or first)
        if low > high or high >= 1 << 16:
            raise ValueError(text)
        numbers.update(range(low, high + 1))
    return frozenset(numbers)


def format_cpu_list(numbers: Iterable[int]) -> str:
    """The kernel's notation of a set of numbers."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(f"{low}-{high}" if high > low else f"{low}" for low, high in runs)


def _read_list(path: str) -> frozenset[int]:
    try:
        with open(path, encoding="ascii") as file:
            text = file.read().strip()
    except FileNotFoundError:
        return frozenset()
    return parse_cpu_list(text) if text else frozenset()
