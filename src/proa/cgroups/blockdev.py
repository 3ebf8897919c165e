"""Block devices as the I/O controllers name them: ``major:minor`` of whole disks."""

from __future__ import annotations

import os
import stat

from proa.errors import Invalid, NotFound, from_os_error

DeviceNumber = tuple[int, int]


def get_block_device(path: str, flag: str) -> DeviceNumber:
    """Number of the block device at a host path.

    Args:
        path: ``/dev/sda`` or a symlink to it.
        flag: the command line's flag, for messages.

    Raises:
        NotFound: there is nothing at that path.
        Invalid: it is not a block device.
    """
    try:
        status = os.stat(path)
    except FileNotFoundError:
        raise NotFound(f"{flag}: no device {path}") from None
    except OSError as error:
        raise from_os_error(error, f"{flag}: cannot look at {path}") from error
    if not stat.S_ISBLK(status.st_mode):
        raise Invalid(f"{flag}: {path} is not a block device")
    return os.major(status.st_rdev), os.minor(status.st_rdev)


def get_whole_disk(device: DeviceNumber, flag: str, sys: str = "/sys") -> DeviceNumber:
    """The disk that a partition lies on; the device itself when it is not a partition.

    The kernel throttles request queues, which only whole disks have, and answers ENODEV for a
    partition.

    Raises:
        NotFound: no such block device.
    """
    major, minor = device
    node = f"{sys}/dev/block/{major}:{minor}"
    if not os.path.exists(node):
        raise NotFound(
            f"{flag}: no block device has the number {major}:{minor}", "lsblk lists them"
        )
    if not os.path.exists(f"{node}/partition"):
        return device
    # The directory of a partition lies in that of its disk.
    with open(f"{os.path.realpath(node)}/../dev", encoding="ascii") as file:
        disk_major, _, disk_minor = file.read().strip().partition(":")
    return int(disk_major), int(disk_minor)


def uses_scheduler(name: str, sys: str = "/sys") -> bool:
    """Whether any disk is driven by the I/O scheduler (``bfq``) right now."""
    try:
        disks = os.listdir(f"{sys}/block")
    except FileNotFoundError:
        return False
    for disk in disks:
        try:
            with open(f"{sys}/block/{disk}/queue/scheduler", encoding="ascii") as file:
                if f"[{name}]" in file.read():
                    return True
        except OSError:  # a disk that has just gone
            continue
    return False
