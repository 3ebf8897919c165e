"""The JSON documents of the runtime interface: state, list, features, and a first spec."""

from __future__ import annotations

import json

import msgspec

from proa import __version__
from proa.linux.capability import NAMES
from proa.linux.namespaces import FLAGS
from proa.oci import spec as oci
from proa.runtime.bundle.status import read_condition
from proa.runtime.bundle.store import Record, Store

_DEFAULT_CAPABILITIES = ("CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE")
_OPEN_FILES = 1024
_QUIET = ("nosuid", "noexec", "nodev")

_OPERATORS = ("NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ")
_ACTIONS = ("KILL", "KILL_PROCESS", "KILL_THREAD", "TRAP", "ERRNO", "TRACE", "ALLOW", "LOG")


def describe(store: Store, record: Record) -> dict[str, object]:
    """One container as ``state`` and ``list`` show it: the specification's members and runc's."""
    spec = store.load_spec(record.id)
    condition = read_condition(store, record, spec)
    document: dict[str, object] = {
        "ociVersion": oci.VERSION,
        "id": record.id,
        "pid": 0 if condition == "stopped" else record.pid,
        "status": condition,
        "bundle": record.bundle,
        "rootfs": record.rootfs,
        "created": record.created,
    }
    if spec.annotations:
        document["annotations"] = spec.annotations
    document["owner"] = "" if record.owner == 0 else str(record.owner)
    return document


def features() -> dict[str, object]:
    """What this runtime understands (``features.md`` of the runtime specification)."""
    return {
        "ociVersionMin": "1.0.0",
        "ociVersionMax": oci.VERSION,
        "hooks": [
            "prestart",
            "createRuntime",
            "createContainer",
            "startContainer",
            "poststart",
            "poststop",
        ],
        "mountOptions": [
            *("bind", "rbind", "ro", "rw", "nosuid", "suid", "nodev", "dev", "noexec", "exec"),
            *("noatime", "relatime", "strictatime", "nodiratime", "nosymfollow"),
            *("private", "rprivate", "slave", "rslave", "shared", "rshared"),
            *("unbindable", "runbindable", "rro", "rnosuid", "rnodev", "rnoexec"),
        ],
        "linux": {
            "namespaces": sorted(FLAGS),
            "capabilities": list(NAMES),
            "cgroup": {
                "v1": True,
                "v2": True,
                "systemd": False,
                "systemdUser": False,
                "rdma": False,
            },
            "seccomp": {
                "enabled": True,
                "actions": [f"SCMP_ACT_{word}" for word in _ACTIONS],
                "operators": [f"SCMP_CMP_{word}" for word in _OPERATORS],
                "archs": ["SCMP_ARCH_AARCH64", "SCMP_ARCH_X32", "SCMP_ARCH_X86",
                          "SCMP_ARCH_X86_64"],
            },
            "apparmor": {"enabled": False},
            "selinux": {"enabled": False},
            "intelRdt": {"enabled": False},
        },
        "annotations": {"org.proa.runtime.version": __version__},
    }  # fmt: skip


def default_spec() -> oci.Spec:
    """What ``spec`` writes: a shell on a terminal, in namespaces of its own."""
    sets = _DEFAULT_CAPABILITIES
    return oci.Spec(
        process=oci.Process(
            terminal=True,
            args=("sh",),
            env=(
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "TERM=xterm",
            ),
            capabilities=oci.LinuxCapabilities(bounding=sets, effective=sets, permitted=sets),
            rlimits=(oci.POSIXRlimit(type="RLIMIT_NOFILE", soft=_OPEN_FILES, hard=_OPEN_FILES),),
            no_new_privileges=True,
        ),
        root=oci.Root(readonly=True),
        hostname="proa",
        mounts=_mounts(),
        linux=_linux(),
    )


def _mounts() -> tuple[oci.Mount, ...]:
    def mount(destination: str, kind: str, source: str, *options: str) -> oci.Mount:
        return oci.Mount(destination=destination, type=kind, source=source, options=options)

    return (
        mount("/proc", "proc", "proc"),
        mount("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
        mount("/dev/pts", "devpts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666",
              "mode=0620", "gid=5"),
        mount("/dev/shm", "tmpfs", "shm", *_QUIET, "mode=1777", "size=65536k"),
        mount("/dev/mqueue", "mqueue", "mqueue", *_QUIET),
        mount("/sys", "sysfs", "sysfs", *_QUIET, "ro"),
        mount("/sys/fs/cgroup", "cgroup", "cgroup", *_QUIET, "relatime", "ro"),
    )  # fmt: skip


def _linux() -> oci.Linux:
    kinds = ("pid", "network", "ipc", "uts", "mount", "cgroup")
    return oci.Linux(
        namespaces=tuple([oci.LinuxNamespace(type=kind) for kind in kinds]),
        resources=oci.LinuxResources(
            devices=(oci.LinuxDeviceCgroup(allow=False, access="rwm"),)
        ),
        masked_paths=(
            "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
            "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware",
            "/proc/scsi",
        ),
        readonly_paths=(
            "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger",
        ),
    )  # fmt: skip


def to_text(document: object) -> str:
    """Indented JSON."""
    return json.dumps(msgspec.to_builtins(document), indent=2)
