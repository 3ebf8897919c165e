"""From a sandbox as the engine describes it to one for the guest's process isolation.

The guest belongs to the container: it needs no user namespace of its own to keep it from others,
and its network is the guest's. What only makes sense on the host (its namespaces, devices, block
device limits) becomes a property of the machine or is refused.
"""

from __future__ import annotations

import os
import stat

import msgspec

from proa.errors import Invalid, Unsupported, from_os_error
from proa.oci.isolation import SandboxSpec
from proa.oci.resources import LinuxBlockIO, LinuxCPU, LinuxResources
from proa.oci.spec import Linux, LinuxNamespace, Mount, Spec
from proa.vm.agent.messages import InlineFile

_GUEST_NAMESPACES = ("mount", "pid", "ipc", "uts", "cgroup")
_REQUIRED = ("pid", "ipc", "uts", "network")
_MAX_INLINE_BYTES = 1024 * 1024
_BINDS = ("bind", "rbind")


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """A host directory or file that the container sees.

    Attributes:
        name: its place below the one shared tree.
        source: absolute host path.
        readonly: enforced on the host.
        recursive: with what is mounted below.
    """

    name: str
    source: str
    readonly: bool
    recursive: bool


class GuestPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What the guest is told, and what it takes from the host.

    Attributes:
        sysctls: of the network, which is the guest's own.
    """

    spec: Spec
    files: tuple[InlineFile, ...]
    shares: tuple[Share, ...]
    sysctls: dict[str, str]


TREE_TAG = "binds"
"""All shares are one virtiofs device with a directory or file for each."""


def plan_guest(sandbox: SandboxSpec) -> GuestPlan:
    """Translate a sandbox.

    Raises:
        Invalid: there is no process, or no Linux section.
        Unsupported: it needs what no other kernel can give (the message names it).
        ProaError: a bind source cannot be read.
    """
    spec = sandbox.spec
    if spec.linux is None or spec.process is None or not spec.process.args:
        raise Invalid(f"container {sandbox.id} has no process to run")
    _refuse(spec, spec.linux)
    files: list[InlineFile] = []
    shares: list[Share] = []
    mounts = tuple([_translate(sandbox, mount, files, shares) for mount in spec.mounts])
    linux = msgspec.structs.replace(
        spec.linux,
        namespaces=_namespaces(spec.linux),
        uid_mappings=(),
        gid_mappings=(),
        cgroups_path=f"/proa/{sandbox.id}",
        resources=guest_resources(spec.linux.resources),
        mount_label="",
        sysctl={name: value for name, value in spec.linux.sysctl.items() if not _of_network(name)},
    )
    process = msgspec.structs.replace(spec.process, apparmor_profile="", selinux_label="")
    translated = msgspec.structs.replace(
        spec, mounts=mounts, linux=linux, process=process, annotations={}, hooks=None
    )
    sysctls = {name: value for name, value in spec.linux.sysctl.items() if _of_network(name)}
    return GuestPlan(spec=translated, files=tuple(files), shares=tuple(shares), sysctls=sysctls)


def guest_resources(resources: LinuxResources) -> LinuxResources:
    """Limits for the cgroup in the guest: those that do not name the host's CPUs and disks."""
    cpu = resources.cpu
    if cpu is not None:
        cpu = msgspec.structs.replace(cpu, cpus="", mems="")
        if cpu == LinuxCPU():
            cpu = None
    block_io = resources.block_io
    if block_io is not None:
        block_io = LinuxBlockIO(weight=block_io.weight) if block_io.weight else None
    return msgspec.structs.replace(
        resources, cpu=cpu, block_io=block_io, hugepage_limits=(), rdma={}, unified={}
    )


def _refuse(spec: Spec, linux: Linux) -> None:
    kinds = {item.type for item in linux.namespaces}
    for item in linux.namespaces:
        if item.path:
            raise Unsupported(
                f"VM isolation cannot join another container's {item.type} namespace",
                "it has a kernel of its own; connect both to one network instead",
            )
    for kind in _REQUIRED:
        if kind not in kinds:
            raise Unsupported(
                f"VM isolation cannot share the host's {kind} namespace",
                "it has a kernel of its own; use process isolation for that",
            )
    if linux.devices:
        raise Unsupported(
            f"VM isolation cannot pass the host's device {linux.devices[0].path} on",
            "use process isolation for --device",
        )
    if spec.hooks is not None:
        raise Unsupported("VM isolation runs no OCI hooks", "use process isolation for them")


def _of_network(sysctl: str) -> bool:
    return sysctl.replace("/", ".").startswith("net.")


def _namespaces(linux: Linux) -> tuple[LinuxNamespace, ...]:
    """No time namespace unless its clocks differ.

    Before Linux 6.2 executing a program does not enter it, and a process that has not entered the
    namespace of its children may neither vfork nor make threads (copy_namespaces, EINVAL).
    """
    wanted = (*_GUEST_NAMESPACES, "time") if linux.time_offsets else _GUEST_NAMESPACES
    return tuple([item for item in linux.namespaces if item.type in wanted])


def _translate(
    sandbox: SandboxSpec, mount: Mount, files: list[InlineFile], shares: list[Share]
) -> Mount:
    if mount.type != "bind" and not any(option in _BINDS for option in mount.options):
        return mount
    try:
        info = os.stat(mount.source)
    except OSError as error:
        raise from_os_error(error, f"cannot mount {mount.source} at {mount.destination}") from error
    if _is_engines_own(sandbox, mount.source) and stat.S_ISREG(info.st_mode):
        name = f"{len(files)}-{os.path.basename(mount.source)}"
        files.append(_load_inline(mount.source, name, info))
        return msgspec.structs.replace(mount, source=f"/guest/files/{name}")
    if not stat.S_ISDIR(info.st_mode) and not stat.S_ISREG(info.st_mode):
        raise Unsupported(
            f"VM isolation cannot mount {mount.source}: it is neither a file nor a directory",
            "sockets and devices of the host do not reach another kernel",
        )
    name = str(len(shares))
    shares.append(
        Share(
            name=name,
            source=mount.source,
            readonly="ro" in mount.options,
            recursive="rbind" in mount.options,
        )
    )
    return msgspec.structs.replace(mount, source=f"/guest/shares/{TREE_TAG}/{name}")


def _is_engines_own(sandbox: SandboxSpec, source: str) -> bool:
    """Files that the engine wrote, for this container (``/etc/hosts``) or for all (``init``)."""
    directory = os.path.dirname(source)
    base = getattr(sandbox.root, "base", "")
    return directory == sandbox.bundle or (directory == base and base != "")


def _load_inline(path: str, name: str, info: os.stat_result) -> InlineFile:
    if info.st_size > _MAX_INLINE_BYTES:
        raise Invalid(f"{path} is too large to be given to a guest")
    try:
        with open(path, "rb") as stream:
            content = stream.read(_MAX_INLINE_BYTES)
    except OSError as error:
        raise from_os_error(error, f"cannot read {path}") from error
    return InlineFile(name, content, stat.S_IMODE(info.st_mode))
