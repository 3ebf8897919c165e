"""``linux.resources`` of the OCI runtime spec 1.2: what the controllers are told.

``None`` means "not said": the controller keeps its value. Numbers are the spec's own units: bytes,
microseconds for CPU times, bytes or operations a second for throttles.
"""

from __future__ import annotations

import msgspec


class LinuxDeviceCgroup(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"
):
    """One rule of the device allow list; later rules win.

    Attributes:
        type: ``a`` (all), ``c`` or ``b``; empty means ``a``.
        major, minor: None is the wildcard.
        access: the subset of ``rwm`` the rule is about.
    """

    allow: bool
    type: str = ""
    major: int | None = None
    minor: int | None = None
    access: str = ""


class LinuxMemory(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """Memory limits in bytes; -1 is unlimited. ``swap`` is memory plus swap."""

    limit: int | None = None
    reservation: int | None = None
    swap: int | None = None
    kernel: int | None = None
    kernel_tcp: int | None = msgspec.field(default=None, name="kernelTCP")
    swappiness: int | None = None
    disable_oom_killer: bool | None = msgspec.field(default=None, name="disableOOMKiller")
    use_hierarchy: bool | None = None
    check_before_update: bool | None = None


class LinuxCPU(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """CPU share, bandwidth (microseconds a period) and placement."""

    shares: int | None = None
    quota: int | None = None
    burst: int | None = None
    period: int | None = None
    realtime_runtime: int | None = None
    realtime_period: int | None = None
    cpus: str = ""
    mems: str = ""
    idle: int | None = None


class LinuxPids(msgspec.Struct, frozen=True, kw_only=True):
    """Most tasks at a time; -1 is unlimited."""

    limit: int


class LinuxWeightDevice(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"
):
    """Proportional weight of one block device."""

    major: int
    minor: int
    weight: int | None = None
    leaf_weight: int | None = None


class LinuxThrottleDevice(msgspec.Struct, frozen=True, kw_only=True):
    """Upper rate of one block device: bytes or operations a second."""

    major: int
    minor: int
    rate: int


class LinuxBlockIO(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """Block I/O weight (10 to 1000) and throttles."""

    weight: int | None = None
    leaf_weight: int | None = None
    weight_device: tuple[LinuxWeightDevice, ...] = ()
    throttle_read_bps_device: tuple[LinuxThrottleDevice, ...] = ()
    throttle_write_bps_device: tuple[LinuxThrottleDevice, ...] = ()
    throttle_read_iops_device: tuple[LinuxThrottleDevice, ...] = msgspec.field(
        default=(), name="throttleReadIOPSDevice"
    )
    throttle_write_iops_device: tuple[LinuxThrottleDevice, ...] = msgspec.field(
        default=(), name="throttleWriteIOPSDevice"
    )


class LinuxHugepageLimit(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Limit in bytes of one huge page size (``2MB``)."""

    page_size: str
    limit: int


class LinuxInterfacePriority(msgspec.Struct, frozen=True, kw_only=True):
    """net_prio: priority of traffic that leaves through an interface."""

    name: str
    priority: int


class LinuxNetwork(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """net_cls and net_prio settings."""

    class_id: int | None = msgspec.field(default=None, name="classID")
    priorities: tuple[LinuxInterfacePriority, ...] = ()


class LinuxRdma(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """RDMA handles and objects of one device."""

    hca_handles: int | None = None
    hca_objects: int | None = None


class LinuxResources(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """All limits of one container.

    Attributes:
        unified: cgroup v2 files and the text to write to them, as they are.
    """

    devices: tuple[LinuxDeviceCgroup, ...] = ()
    memory: LinuxMemory | None = None
    cpu: LinuxCPU | None = None
    pids: LinuxPids | None = None
    block_io: LinuxBlockIO | None = msgspec.field(default=None, name="blockIO")
    hugepage_limits: tuple[LinuxHugepageLimit, ...] = ()
    network: LinuxNetwork | None = None
    rdma: dict[str, LinuxRdma] = {}
    unified: dict[str, str] = {}
