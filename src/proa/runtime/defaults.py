"""What every container gets unless it is told otherwise: mounts, masks, device rules.

The values are Docker's (moby ``daemon/pkg/oci/defaults.go``); they are shared constants so that
composing a spec copies nothing and the runtime finds their compiled steps again by equality.
"""

from __future__ import annotations

import os

from proa.oci.resources import LinuxDeviceCgroup
from proa.oci.spec import Mount

_CPUS = "/sys/devices/system/cpu"


def _mounts(*access: str) -> tuple[Mount, ...]:
    """The seven standard mounts; ``access`` is ``ro`` or nothing, for sysfs and cgroups."""
    quiet = ("nosuid", "noexec", "nodev")
    return (
        Mount(destination="/proc", type="proc", source="proc", options=quiet),
        Mount(
            destination="/dev",
            type="tmpfs",
            source="tmpfs",
            options=("nosuid", "strictatime", "mode=755", "size=65536k"),
        ),
        Mount(
            destination="/dev/pts",
            type="devpts",
            source="devpts",
            options=("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"),
        ),
        Mount(destination="/sys", type="sysfs", source="sysfs", options=(*quiet, *access)),
        Mount(
            destination="/sys/fs/cgroup",
            type="cgroup",
            source="cgroup",
            options=(*access, *quiet),
        ),
        Mount(destination="/dev/mqueue", type="mqueue", source="mqueue", options=quiet),
        Mount(
            destination="/dev/shm",
            type="tmpfs",
            source="shm",
            options=(*quiet, "mode=1777", "size=65536k"),
        ),
    )


MOUNTS = _mounts("ro")
"""/proc, /dev, /dev/pts, /sys, /sys/fs/cgroup, /dev/mqueue, /dev/shm."""

PRIVILEGED_MOUNTS = _mounts()
"""The same with /sys and the cgroups writable."""


def mounts(*, privileged: bool = False) -> tuple[Mount, ...]:
    """Return the standard mounts in order, parents before children."""
    return PRIVILEGED_MOUNTS if privileged else MOUNTS


def _thermal_throttle() -> tuple[str, ...]:
    """Counters through which CPUs of Intel tell a container about its neighbours' load."""
    if not os.path.exists(f"{_CPUS}/cpu0/thermal_throttle"):
        return ()
    names = [name for name in os.listdir(_CPUS) if name[:3] == "cpu" and name[3:].isdigit()]
    return tuple([f"{_CPUS}/{name}/thermal_throttle" for name in sorted(names)])


MASKED_PATHS = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    *_thermal_throttle(),
)
"""Hidden: files by /dev/null, directories by an empty read-only tmpfs. Missing ones are ignored."""

READONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
"""Made read-only. Missing ones are ignored."""

DEVICE_RULES = (LinuxDeviceCgroup(allow=False, access="rwm"),)
"""Nothing beyond the standard devices, which the cgroup allows by itself."""

PRIVILEGED_DEVICE_RULES = (LinuxDeviceCgroup(allow=True, access="rwm"),)
"""Every device of the host."""

NETWORK_SYSCTLS = {
    "net.ipv4.ip_unprivileged_port_start": "0",
    # Docker writes 0 to 2147483647; the ids must exist in the container's user namespace.
    "net.ipv4.ping_group_range": "0 65535",
}
"""With a network namespace of its own: ports below 1024 and ping for every user."""
