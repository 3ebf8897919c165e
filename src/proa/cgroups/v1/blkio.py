"""v1 ``blkio``: weights and throttles of block devices (cgroup-v1/blkio-controller.rst)."""

from __future__ import annotations

from proa.cgroups.blockdev import get_whole_disk, uses_scheduler
from proa.cgroups.node import Node
from proa.cgroups.settings import write_limit
from proa.cgroups.stats import Reading, sum_by_operation
from proa.oci.resources import LinuxBlockIO

_BYTES = "blkio.throttle.io_service_bytes_recursive"
_OPERATIONS = "blkio.throttle.io_serviced_recursive"


def wants(block_io: LinuxBlockIO | None) -> bool:
    """Whether the limits need a blkio group."""
    return block_io is not None and bool(
        block_io.weight
        or block_io.weight_device
        or block_io.throttle_read_bps_device
        or block_io.throttle_write_bps_device
        or block_io.throttle_read_iops_device
        or block_io.throttle_write_iops_device
    )


def apply(node: Node, block_io: LinuxBlockIO) -> list[str]:
    """Set what is given; a rate of 0 takes a throttle away. Returns warnings."""
    warnings = _set_weights(node, block_io)
    for file, flag, devices in (
        ("read_bps_device", "--device-read-bps", block_io.throttle_read_bps_device),
        ("write_bps_device", "--device-write-bps", block_io.throttle_write_bps_device),
        ("read_iops_device", "--device-read-iops", block_io.throttle_read_iops_device),
        ("write_iops_device", "--device-write-iops", block_io.throttle_write_iops_device),
    ):
        for device in devices:
            number = (device.major, device.minor)
            disk = get_whole_disk(number, flag)
            if disk != number:
                warnings.append(
                    f"{flag}: {device.major}:{device.minor} is a partition; "
                    f"the limit is set on its disk {disk[0]}:{disk[1]}"
                )
            write_limit(node, f"blkio.throttle.{file}", f"{disk[0]}:{disk[1]} {device.rate}", flag)
    return warnings


def _set_weights(node: Node, block_io: LinuxBlockIO) -> list[str]:
    if not block_io.weight and not block_io.weight_device:
        return []
    for prefix in ("blkio.bfq.", "blkio."):  # BFQ's files; CFQ's until 5.0
        if node.exists(f"{prefix}weight"):
            break
    else:
        return ["--blkio-weight is ignored: this kernel has no proportional I/O scheduler (BFQ)"]
    if block_io.weight:
        write_limit(node, f"{prefix}weight", block_io.weight, "--blkio-weight")
    for device in block_io.weight_device:
        disk = get_whole_disk((device.major, device.minor), "--blkio-weight-device")
        write_limit(
            node,
            f"{prefix}weight_device",
            f"{disk[0]}:{disk[1]} {device.weight}",
            "--blkio-weight-device",
        )
    if prefix == "blkio.bfq." and not uses_scheduler("bfq"):
        return ["--blkio-weight has no effect yet: no disk uses the bfq I/O scheduler"]
    return []


def collect(node: Node, reading: Reading) -> None:
    """Add this controller's figures to a reading."""
    size = sum_by_operation(node.read(_BYTES))
    operations = sum_by_operation(node.read(_OPERATIONS))
    reading["io_read_bytes"] = size.get("Read", 0)
    reading["io_write_bytes"] = size.get("Write", 0)
    reading["io_read_ops"] = operations.get("Read", 0)
    reading["io_write_ops"] = operations.get("Write", 0)
