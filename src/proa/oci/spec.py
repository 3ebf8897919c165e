"""The OCI runtime spec 1.2 (``config.json``) as typed, immutable data.

Field names are the spec's in snake case; :func:`decode` and :func:`encode` speak its JSON. Absent
members have the spec's defaults; ``None`` tells "absent" from a value where the spec does. Members
of other platforms (windows, solaris ...) are ignored when read.

Source: opencontainers/runtime-spec v1.2, ``config.md`` and ``config-linux.md``.
"""

from __future__ import annotations

import msgspec

from proa.oci.resources import (
    LinuxBlockIO,
    LinuxCPU,
    LinuxDeviceCgroup,
    LinuxHugepageLimit,
    LinuxInterfacePriority,
    LinuxMemory,
    LinuxNetwork,
    LinuxPids,
    LinuxRdma,
    LinuxResources,
    LinuxThrottleDevice,
    LinuxWeightDevice,
)
from proa.oci.seccomp import LinuxSeccomp, LinuxSeccompArg, LinuxSyscall

__all__ = [
    "VERSION",
    "Box",
    "CPUAffinity",
    "Hook",
    "Hooks",
    "IOPriority",
    "Linux",
    "LinuxBlockIO",
    "LinuxCPU",
    "LinuxCapabilities",
    "LinuxDevice",
    "LinuxDeviceCgroup",
    "LinuxHugepageLimit",
    "LinuxIDMapping",
    "LinuxInterfacePriority",
    "LinuxMemory",
    "LinuxNamespace",
    "LinuxNetwork",
    "LinuxPersonality",
    "LinuxPids",
    "LinuxRdma",
    "LinuxResources",
    "LinuxSeccomp",
    "LinuxSeccompArg",
    "LinuxSyscall",
    "LinuxThrottleDevice",
    "LinuxTimeOffset",
    "LinuxWeightDevice",
    "Mount",
    "POSIXRlimit",
    "Process",
    "Root",
    "Scheduler",
    "Spec",
    "User",
    "decode",
    "encode",
]

VERSION = "1.2.0"


class User(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """Credentials as numbers inside the container's user namespace."""

    uid: int = 0
    gid: int = 0
    umask: int | None = None
    additional_gids: tuple[int, ...] = ()
    username: str = ""


class Box(msgspec.Struct, frozen=True, kw_only=True):
    """Size of a terminal in characters."""

    height: int = 0
    width: int = 0


class LinuxCapabilities(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"
):
    """The five capability sets, names as in capabilities(7) (``CAP_CHOWN``)."""

    bounding: tuple[str, ...] = ()
    effective: tuple[str, ...] = ()
    inheritable: tuple[str, ...] = ()
    permitted: tuple[str, ...] = ()
    ambient: tuple[str, ...] = ()


class POSIXRlimit(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One resource limit; ``type`` with its prefix (``RLIMIT_NOFILE``), 2**64-1 for unlimited."""

    type: str
    soft: int
    hard: int


class Scheduler(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """sched_setattr(2) values; times in nanoseconds."""

    policy: str
    nice: int = 0
    priority: int = 0
    flags: tuple[str, ...] = ()
    runtime: int = 0
    deadline: int = 0
    period: int = 0


class IOPriority(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """ioprio_set(2): ``class`` is ``IOPRIO_CLASS_RT|BE|IDLE``."""

    io_class: str = msgspec.field(name="class")
    priority: int = 0


class CPUAffinity(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """CPU lists before and after the process joins the container's cgroup."""

    initial: str = ""
    final: str = ""


class Process(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """A process of the container: its init, or one started by ``exec``.

    Attributes:
        args: at least one; ``args[0]`` is searched in the ``PATH`` of ``env``.
        cwd: absolute path inside the container.
    """

    cwd: str = "/"
    args: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    terminal: bool = False
    console_size: Box | None = None
    user: User = User()
    capabilities: LinuxCapabilities | None = None
    rlimits: tuple[POSIXRlimit, ...] = ()
    no_new_privileges: bool = False
    apparmor_profile: str = ""
    selinux_label: str = ""
    oom_score_adj: int | None = None
    scheduler: Scheduler | None = None
    io_priority: IOPriority | None = None
    exec_cpu_affinity: CPUAffinity | None = msgspec.field(default=None, name="execCPUAffinity")


class Root(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """The root filesystem; ``path`` is absolute or relative to the bundle."""

    path: str = "rootfs"
    readonly: bool = False


class LinuxIDMapping(msgspec.Struct, frozen=True, kw_only=True):
    """``size`` consecutive ids from ``container_id`` inside are those from ``host_id`` outside."""

    container_id: int = msgspec.field(name="containerID")
    host_id: int = msgspec.field(name="hostID")
    size: int


class Mount(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """One mount; ``options`` are fstab words, those of the filesystem itself passed on.

    Attributes:
        destination: absolute path inside the container.
        type: filesystem type; ignored with a ``bind`` or ``rbind`` option.
        source: absolute host path for binds, a device or word otherwise.
        uid_mappings: with ``idmap`` or ``ridmap``: the mapping of the mount.
    """

    destination: str
    type: str = ""
    source: str = ""
    options: tuple[str, ...] = ()
    uid_mappings: tuple[LinuxIDMapping, ...] = ()
    gid_mappings: tuple[LinuxIDMapping, ...] = ()


class Hook(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """A program run at a point of the lifecycle; ``timeout`` in seconds."""

    path: str
    args: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    timeout: int | None = None


class Hooks(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """Hooks by lifecycle point (``config.md``, "POSIX-platform Hooks")."""

    prestart: tuple[Hook, ...] = ()
    create_runtime: tuple[Hook, ...] = ()
    create_container: tuple[Hook, ...] = ()
    start_container: tuple[Hook, ...] = ()
    poststart: tuple[Hook, ...] = ()
    poststop: tuple[Hook, ...] = ()


class LinuxNamespace(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A namespace to create, or to join when ``path`` is given.

    Attributes:
        type: ``pid|network|mount|ipc|uts|user|cgroup|time``.
    """

    type: str
    path: str = ""


class LinuxDevice(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """A device node in the container; ``type`` is ``c``, ``b``, ``u`` or ``p``."""

    type: str
    path: str
    major: int = 0
    minor: int = 0
    file_mode: int | None = None
    uid: int | None = None
    gid: int | None = None


class LinuxTimeOffset(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a time namespace adds to a clock."""

    secs: int = 0
    nanosecs: int = 0


class LinuxPersonality(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """personality(2): ``domain`` is ``LINUX`` or ``LINUX32``."""

    domain: str
    flags: tuple[str, ...] = ()


class Linux(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """The Linux section.

    Attributes:
        time_offsets: by clock, ``boottime`` and ``monotonic``.
        cgroups_path: absolute: from the hierarchies' mount points; relative: the runtime's choice.
        rootfs_propagation: ``private``, ``slave``, ``shared`` or ``unbindable``; empty is private.
    """

    namespaces: tuple[LinuxNamespace, ...] = ()
    uid_mappings: tuple[LinuxIDMapping, ...] = ()
    gid_mappings: tuple[LinuxIDMapping, ...] = ()
    time_offsets: dict[str, LinuxTimeOffset] = {}
    devices: tuple[LinuxDevice, ...] = ()
    cgroups_path: str = ""
    resources: LinuxResources = LinuxResources()
    rootfs_propagation: str = ""
    seccomp: LinuxSeccomp | None = None
    sysctl: dict[str, str] = {}
    masked_paths: tuple[str, ...] = ()
    readonly_paths: tuple[str, ...] = ()
    mount_label: str = ""
    personality: LinuxPersonality | None = None


class Spec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """A container's configuration (``config.json``)."""

    oci_version: str = msgspec.field(default=VERSION, name="ociVersion")
    root: Root | None = None
    mounts: tuple[Mount, ...] = ()
    process: Process | None = None
    hostname: str = ""
    domainname: str = ""
    hooks: Hooks | None = None
    annotations: dict[str, str] = {}
    linux: Linux | None = None


def decode(document: bytes | str) -> Spec:
    """Parse a ``config.json``.

    Raises:
        msgspec.DecodeError: it is not JSON, or not a runtime spec (the path is in the message).
    """
    return msgspec.json.decode(document, type=Spec)


def encode(spec: Spec) -> bytes:
    """Write a spec as JSON, without members that have their default and may be left out."""
    document = msgspec.to_builtins(spec)
    document.setdefault("ociVersion", spec.oci_version)
    if spec.process is not None:
        document["process"].setdefault("cwd", spec.process.cwd)
    if spec.root is not None:
        document["root"].setdefault("path", spec.root.path)
    return msgspec.json.encode(document)
