"""Refuse what no launch could do, before anything exists.

Only what can be told from the spec alone is checked here; what depends on the image or the kernel
fails at its step.
"""

from __future__ import annotations

import posixpath
import re

from proa.errors import Invalid, Unsupported
from proa.linux.capability import NUMBERS
from proa.linux.namespaces import FLAGS
from proa.oci.isolation import SandboxSpec
from proa.oci.spec import Hooks, Linux, LinuxIDMapping, Mount, Process, Spec
from proa.runtime import scheduling
from proa.runtime.rlimits import NUMBERS as RLIMITS
from proa.runtime.steps.options import parse_options

_ID = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*\Z")
_HOSTNAME = re.compile(r"[^\x00-\x20/\x7f]{1,64}\Z")
_ENV = re.compile(r"[^=\0]+=[^\0]*\Z", re.DOTALL)
_MAX_ID = 2**32 - 2

_SHAREABLE = ("network", "ipc", "uts", "pid", "user")
"""Namespaces that a container can join by path."""

_PROC_MOUNTS = frozenset(
    (
        "/proc/cpuinfo",
        "/proc/diskstats",
        "/proc/loadavg",
        "/proc/meminfo",
        "/proc/stat",
        "/proc/swaps",
        "/proc/uptime",
        "/proc/slabinfo",
        "/proc/sys/kernel/ns_last_pid",
        "/proc/sys/crypto/fips_enabled",
    )
)
"""Files that may be covered, as lxcfs does: none of them is written to by the engine."""

_IPC_SYSCTLS = frozenset(
    (
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
    )
)


def validate(sandbox: SandboxSpec) -> None:
    """Check a sandbox.

    Raises:
        Invalid: something in it cannot be meant.
        Unsupported: something in it is not built.
    """
    if not _ID.match(sandbox.id):
        raise Invalid(f"container id {sandbox.id!r} has characters beyond a-z, 0-9, _ . -")
    spec = sandbox.spec
    if spec.process is None or spec.linux is None:
        raise Invalid(f"the spec of {sandbox.id} has no process or no linux section")
    if spec.hooks is not None and spec.hooks != Hooks():
        raise Unsupported("hooks are not part of this version")
    if spec.linux.seccomp is not None and spec.linux.seccomp.listener_path:
        raise Unsupported(
            "seccomp listeners are not part of this version", "leave out listenerPath"
        )
    validate_process(spec.process)
    kinds = _validate_namespaces(spec.linux)
    _validate_names(spec, kinds)
    _validate_mappings(spec.linux, kinds)
    for mount in spec.mounts:
        _validate_mount(mount)
    _validate_paths(spec.linux)
    for key in spec.linux.sysctl:
        _validate_sysctl(key, kinds)
    if spec.linux.sysctl and not any(mount.destination == "/proc" for mount in spec.mounts):
        raise Invalid("sysctls need /proc to be mounted")
    if spec.process.terminal and not any(mount.type == "devpts" for mount in spec.mounts):
        raise Invalid("a terminal needs a devpts mounted at /dev/pts")


def validate_process(process: Process) -> None:
    """Check a process, init or ``exec``.

    Raises:
        Invalid: no arguments, a relative working directory, a malformed variable, unknown words.
        Unsupported: a security label.
    """
    for name, value in (
        ("an AppArmor profile", process.apparmor_profile),
        ("an SELinux label", process.selinux_label),
    ):
        if value:
            raise Unsupported(f"{name} for a process is not part of this version")
    scheduling.validate(process)
    if not process.args or not process.args[0]:
        raise Invalid("the process has no command")
    if not process.cwd.startswith("/"):
        raise Invalid(f"the working directory {process.cwd!r} is not absolute")
    for word in (*process.args, process.cwd):
        if "\0" in word:
            raise Invalid(f"{word!r} has a NUL character")
    for entry in process.env:
        if not _ENV.match(entry):
            raise Invalid(f"the variable {entry!r} is not of the form NAME=value")
    user = process.user
    for number in (user.uid, user.gid, *user.additional_gids):
        if not 0 <= number <= _MAX_ID:
            raise Invalid(f"the user or group id {number} is out of range")
    for limit in process.rlimits:
        if limit.type not in RLIMITS:
            raise Invalid(f"unknown resource limit {limit.type}")
        if limit.soft > limit.hard:
            raise Invalid(f"the soft limit of {limit.type} is above its hard limit")
    if process.capabilities is not None:
        sets = process.capabilities
        for group in (
            sets.bounding,
            sets.effective,
            sets.permitted,
            sets.inheritable,
            sets.ambient,
        ):
            for name in group:
                if name not in NUMBERS:
                    raise Invalid(f"unknown capability {name}")


def _validate_namespaces(linux: Linux) -> dict[str, str]:
    kinds: dict[str, str] = {}
    for namespace in linux.namespaces:
        if namespace.type not in FLAGS:
            raise Invalid(f"unknown namespace {namespace.type!r}")
        if namespace.type in kinds:
            raise Invalid(f"the {namespace.type} namespace is there twice")
        if namespace.path:
            if not namespace.path.startswith("/"):
                raise Invalid(f"the namespace path {namespace.path!r} is not absolute")
            if namespace.type not in _SHAREABLE:
                raise Unsupported(f"a container cannot join another's {namespace.type} namespace")
        kinds[namespace.type] = namespace.path
    if kinds.get("user") and not kinds.get("pid", "-"):
        raise Unsupported(
            "a pid namespace of its own in another container's user namespace is not available",
            "join its pid namespace too, or give the bundle a user namespace with the same ids",
        )
    if kinds.get("pid") and kinds.get("user") == "":
        raise Unsupported(
            "another container's pid namespace in a user namespace of its own: no /proc could be"
            " mounted",
            "join the user namespace of that container too",
        )
    if "mount" not in kinds:
        raise Invalid("a container needs a mount namespace of its own")
    if linux.time_offsets and "time" not in kinds:
        raise Invalid("time offsets need a time namespace")
    for clock in linux.time_offsets:
        if clock not in ("monotonic", "boottime"):
            raise Invalid(f"unknown clock {clock!r} among the time offsets")
    return kinds


def _validate_names(spec: Spec, kinds: dict[str, str]) -> None:
    for word, value in (("host name", spec.hostname), ("domain name", spec.domainname)):
        if not value:
            continue
        if kinds.get("uts") != "":
            raise Invalid(f"a {word} needs a UTS namespace of its own")
        if not _HOSTNAME.match(value):
            raise Invalid(f"invalid {word} {value!r}", "use at most 64 letters, digits, - and .")


def _validate_mappings(linux: Linux, kinds: dict[str, str]) -> None:
    own = "user" in kinds
    for word, mappings in (("user", linux.uid_mappings), ("group", linux.gid_mappings)):
        if own and not mappings:
            raise Invalid(f"a user namespace needs {word} id mappings")
        if not own and mappings:
            raise Invalid(f"{word} id mappings need a user namespace")
        if own and not any(_maps_root(mapping) for mapping in mappings):
            raise Invalid(f"the {word} id mappings leave out 0, as which a container is set up")


def _maps_root(mapping: LinuxIDMapping) -> bool:
    return mapping.container_id == 0 and mapping.size > 0


def _validate_mount(mount: Mount) -> None:
    destination = posixpath.normpath(mount.destination)
    if not mount.destination.startswith("/") or "\0" in mount.destination:
        raise Invalid(f"the mount target {mount.destination!r} is not an absolute path")
    if destination in ("/", "//"):
        raise Invalid("nothing can be mounted on the root itself")
    below_proc = destination == "/proc" or destination.startswith("/proc/")
    fresh = destination == "/proc" and mount.type == "proc"
    if below_proc and not fresh and destination not in _PROC_MOUNTS:
        raise Invalid(
            f"a mount at {destination} would hide or fake the kernel's files", "leave it out"
        )
    if mount.uid_mappings or mount.gid_mappings:
        raise Unsupported(
            f"the mount at {destination} has id mappings of its own, which are not part of this"
            " version",
            "bind mounts follow the container's own mapping",
        )
    options = parse_options(mount.options)
    if options.bind or mount.type == "bind":
        if not mount.source.startswith("/") or "\0" in mount.source:
            raise Invalid(f"the source {mount.source!r} of {destination} is not an absolute path")
    elif not mount.type or not mount.type.replace("-", "").replace("_", "").isalnum():
        raise Invalid(f"the mount at {destination} has no filesystem type")


def _validate_paths(linux: Linux) -> None:
    if linux.mount_label:
        raise Unsupported("mount labels are not part of this version")
    if linux.personality is not None:
        scheduling.personality(linux.personality)
    if linux.rootfs_propagation not in ("", "private", "slave", "shared", "unbindable"):
        raise Invalid(f"unknown propagation {linux.rootfs_propagation!r} of the root")
    for path in (*linux.masked_paths, *linux.readonly_paths):
        if not path.startswith("/") or "\0" in path:
            raise Invalid(f"the masked or read-only path {path!r} is not absolute")
    for device in linux.devices:
        if not device.path.startswith("/") or device.type not in ("c", "u", "b", "p"):
            raise Invalid(f"the device {device.path!r} has no absolute path or no known type")


def _validate_sysctl(key: str, kinds: dict[str, str]) -> None:
    if not key or not all(key.split(".")) or ".." in key or "//" in key:
        raise Invalid(f"invalid sysctl {key!r}")
    if key.startswith("net."):
        needed = "network"
    elif key in _IPC_SYSCTLS or key.startswith("fs.mqueue."):
        needed = "ipc"
    elif key in ("kernel.domainname", "kernel.hostname"):
        needed = "uts"
    else:
        raise Invalid(f"the sysctl {key} is the whole host's, not the container's")
    if kinds.get(needed) != "":
        raise Invalid(f"the sysctl {key} needs a {needed} namespace of the container's own")
