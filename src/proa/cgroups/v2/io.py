"""v2 ``io`` (cgroup-v2.rst, "IO Interface Files")."""

from __future__ import annotations

from proa.cgroups.blockdev import get_whole_disk, uses_scheduler
from proa.cgroups.node import Node
from proa.cgroups.settings import write_limit
from proa.cgroups.stats import Reading, parse_nested_keyed
from proa.oci.resources import LinuxBlockIO

_MAX = "io.max"


def weight_from_blkio(weight: int) -> int:
    """Convert a v1 weight (10 to 1000) to ``io.weight`` (1 to 10000), linearly as runc does."""
    return 1 + (weight - 10) * 9999 // 990


def apply(node: Node, block_io: LinuxBlockIO) -> list[str]:
    """Set what is given; a rate of 0 takes a throttle away. Returns warnings."""
    warnings = _set_weights(node, block_io)
    for key, flag, devices in (
        ("rbps", "--device-read-bps", block_io.throttle_read_bps_device),
        ("wbps", "--device-write-bps", block_io.throttle_write_bps_device),
        ("riops", "--device-read-iops", block_io.throttle_read_iops_device),
        ("wiops", "--device-write-iops", block_io.throttle_write_iops_device),
    ):
        for device in devices:
            number = (device.major, device.minor)
            disk = get_whole_disk(number, flag)
            if disk != number:
                warnings.append(
                    f"{flag}: {device.major}:{device.minor} is a partition; "
                    f"the limit is set on its disk {disk[0]}:{disk[1]}"
                )
            rate = device.rate or "max"
            write_limit(node, _MAX, f"{disk[0]}:{disk[1]} {key}={rate}", flag)
    return warnings


def _set_weights(node: Node, block_io: LinuxBlockIO) -> list[str]:
    if not block_io.weight and not block_io.weight_device:
        return []
    bfq = node.exists("io.bfq.weight")
    if not bfq and not node.exists("io.weight"):
        return ["--blkio-weight is ignored: this kernel has neither BFQ nor io.weight"]
    file = "io.bfq.weight" if bfq else "io.weight"
    convert = int if bfq else weight_from_blkio
    if block_io.weight:
        write_limit(node, file, f"default {convert(block_io.weight)}", "--blkio-weight")
    for device in block_io.weight_device:
        disk = get_whole_disk((device.major, device.minor), "--blkio-weight-device")
        weight = convert(device.weight) if device.weight else "default"
        write_limit(node, file, f"{disk[0]}:{disk[1]} {weight}", "--blkio-weight-device")
    if bfq and not uses_scheduler("bfq"):
        return ["--blkio-weight has no effect yet: no disk uses the bfq I/O scheduler"]
    return []


def collect(node: Node, reading: Reading) -> None:
    """Add this controller's figures to a reading."""
    totals = {"rbytes": 0, "wbytes": 0, "rios": 0, "wios": 0}
    for fields in parse_nested_keyed(node.read("io.stat")).values():
        for key in totals:
            totals[key] += fields.get(key, 0)
    reading["io_read_bytes"] = totals["rbytes"]
    reading["io_write_bytes"] = totals["wbytes"]
    reading["io_read_ops"] = totals["rios"]
    reading["io_write_ops"] = totals["wios"]
