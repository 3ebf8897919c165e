"""From a spec to the plan of a container's init process."""

from __future__ import annotations

import os
from collections.abc import Collection
from typing import NamedTuple

from proa.linux import capability
from proa.oci.isolation import OverlayRoot, SandboxSpec
from proa.oci.seccomp import LinuxSeccomp
from proa.oci.spec import Linux, LinuxCapabilities, LinuxDevice, Mount, Process, Spec
from proa.runtime import scheduling, slots
from proa.runtime.plan import Plan, Segment
from proa.runtime.security import seccomp
from proa.runtime.sources import Source
from proa.runtime.steps import (
    begin,
    devices,
    filesystem,
    finish,
    identity,
    masks,
    root,
    sysctl,
)
from proa.runtime.steps.options import parse_options

_SHOWN = {
    "sysfs": ("network", "/sys"),
    "proc": ("pid", "/proc"),
    "mqueue": ("ipc", "/dev/mqueue"),
    "cgroup": ("cgroup", "/sys/fs/cgroup"),
}
"""Namespace that a filesystem shows, and where the host has its own."""

_last_capability = -1


class Host(NamedTuple):
    """What the plan needs to know about this machine and this launch.

    Attributes:
        joins: how many cgroup files the child writes to.
        hierarchies: v1 hierarchies to show: directory name and mount options of each.
        unified: containers live in cgroup v2.
        limits: resource limits to set in the child: number, soft, hard.
        parked: stop before execve until started.
        detached: the process that starts it is another one; look for the command before parking.
        preserved: how many descriptors behind stdio the process keeps.
        stage: stop once when everything is mounted, with the root at this host path; empty: do not.
    """

    joins: int
    hierarchies: tuple[tuple[str, str], ...]
    unified: bool
    limits: tuple[tuple[int, int, int], ...]
    parked: bool
    detached: bool = False
    preserved: int = 0
    stage: str = ""


def compose_start(unshared: int, *, joined: bool = False, announced: bool = False) -> list[Segment]:
    """What the child begins with, while the rest is composed.

    Args:
        unshared: CLONE_NEW* flags of the namespaces that it makes itself.
        joined: it joins another's user namespace before.
        announced: report when it has.
    """
    return [begin.begin(unshared=unshared, joined=joined, announced=announced)]


def inner_namespaces(linux: Linux) -> set[str]:
    """Kinds that are not the host's and whose filesystems the child can mount itself.

    A joined user namespace is root's in there as one of its own, and so is what belongs to it.
    """
    joined = any(item.type == "user" and item.path for item in linux.namespaces)
    return {
        item.type
        for item in linux.namespaces
        if not item.path or (joined and item.type in ("user", "pid"))
    }


def compose_init(sandbox: SandboxSpec, sources: dict[str, Source], host: Host) -> Plan:
    """The plan of the init process of a validated sandbox, from where it has its ids.

    Args:
        sandbox: what to build.
        sources: bind sources by their path in the container.
        host: see there.

    Raises:
        Invalid: the layers do not fit an overlay.
    """
    spec = sandbox.spec
    linux, process = spec.linux, spec.process
    assert linux is not None
    assert process is not None
    new = inner_namespaces(linux)
    segments = [
        begin.join(joins=host.joins, cgroup_namespace="cgroup" in new),
        begin.time_namespace(linux.time_offsets) if "time" in new else None,
        begin.root_inside() if "user" in new else None,
        begin.names(spec.hostname, spec.domainname),
        _devpts(spec.mounts, terminal=process.terminal),
        begin.separate(),
        root.attach_base(_base_place(sandbox, host)),
    ]
    if isinstance(sandbox.root, OverlayRoot):
        segments.append(root.overlay(sandbox.root))
    else:
        segments.append(root.directory())
    segments += _compose_mounts(spec, new, sources, host)
    if sandbox.emulators and "user" in new:
        from proa.runtime.steps import emulation

        segments.append(emulation.register(sandbox.emulators))
    segments += _compose_kernel_files(spec, staged=bool(host.stage))
    segments += compose_process(process, linux, cwd_made=True, follow_parent=not host.detached)
    if host.detached:
        segments += [identity.outlive_parent(), finish.find_command(process.args, process.env)]
    segments += compose_end(process, linux, host)
    return Plan([segment for segment in segments if segment is not None])


def _base_place(sandbox: SandboxSpec, host: Host) -> bytes:
    if host.stage:
        return os.fsencode(host.stage)
    return root.SCAFFOLD if isinstance(sandbox.root, OverlayRoot) else root.DIRECTORY_SCAFFOLD


def _devpts(mounts: tuple[Mount, ...], *, terminal: bool) -> Segment | None:
    for mount in mounts:
        if mount.type == "devpts":
            return filesystem.make_devpts(mount, terminal=terminal)
    return None


def _compose_mounts(
    spec: Spec, new: set[str], sources: dict[str, Source], host: Host
) -> list[Segment]:
    linux, process = spec.linux, spec.process
    assert linux is not None
    assert process is not None
    segments: list[Segment] = []
    for mount in spec.mounts:
        if mount.destination in sources:
            source = sources[mount.destination]
            segments.append(
                filesystem.attach_slot(mount.destination, source.slot, directory=source.directory)
            )
            continue
        segments += _compose_filesystem(mount, new, host)
        if mount.destination == "/dev" and mount.type == "tmpfs":
            segments.append(devices.standard(bind="user" in new))
    nodes = made_by_parent(linux)
    if nodes:
        segments.append(devices.bound(nodes))
    segments += [devices.made(device) for device in linux.devices if device not in nodes]
    if process.terminal:
        own = any(mount.destination == "/dev" and mount.type == "tmpfs" for mount in spec.mounts)
        segments.append(devices.console() if own else devices.slave())
    return segments


def _compose_filesystem(mount: Mount, new: set[str], host: Host) -> list[Segment]:
    if mount.type == "devpts":
        return [filesystem.attach_slot(mount.destination, slots.DEVPTS, directory=True)]
    if host_path(mount, new):
        return []  # a host tree that this host does not have
    if mount.type == "cgroup":
        if host.unified:
            return [filesystem.filesystem(_cgroup2(mount))]
        return [filesystem.cgroup_v1(mount, host.hierarchies)] if host.hierarchies else []
    return [filesystem.filesystem(mount)]


def _cgroup2(mount: Mount) -> Mount:
    return Mount(
        destination=mount.destination, type="cgroup2", source="cgroup", options=mount.options
    )


def _compose_kernel_files(spec: Spec, *, staged: bool) -> list[Segment]:
    """Sysctls, masks, and the step into the root."""
    linux = spec.linux
    assert linux is not None
    # Before anything is stacked on the old root's /proc, which hooks may want.
    segments = [begin.checkpoint()] if staged else []
    if linux.sysctl:
        segments.append(sysctl.write(tuple(linux.sysctl.items())))
    if linux.masked_paths or linux.readonly_paths:
        segments.append(masks.masks(linux.masked_paths, linux.readonly_paths))
    readonly = spec.root is not None and spec.root.readonly
    segments.append(root.enter(readonly=readonly, propagation=linux.rootfs_propagation))
    return segments


def compose_process(
    process: Process, linux: Linux, *, cwd_made: bool, follow_parent: bool
) -> list[Segment]:
    """Session, working directory and credentials, of init and of ``exec``."""
    segments = []
    if process.terminal:
        size = process.console_size
        rows, columns = (size.height, size.width) if size is not None else (0, 0)
        segments.append(finish.terminal(rows, columns, process.user.uid))
    else:
        segments.append(finish.stdio())
    if process.cwd != "/":
        segments.append(identity.working_directory(process.cwd, make=cwd_made))
    segments.append(identity.session_keyring("_ses"))
    if linux.personality is not None:
        segments.append(identity.personality(scheduling.personality(linux.personality)))
    sets = process.capabilities
    if sets is not None:
        segments.append(identity.bounding_set(sets.bounding, _read_last_capability()))
    if linux.seccomp is not None and _filters_early(process):
        segments.append(_filter(linux.seccomp))
    segments.append(
        identity.user(process.user, keep_capabilities=_keeps_capabilities(process, sets))
    )
    segments.append(identity.guard())
    if follow_parent:
        segments.append(identity.follow_parent())
    return segments


def _keeps_capabilities(process: Process, sets: LinuxCapabilities | None) -> bool:
    return process.user.uid != 0 and sets is not None and bool(sets.permitted)


def compose_end(process: Process, linux: Linux, host: Host) -> list[Segment]:
    """Capabilities, limits, the filter and execve.

    The filter comes last, after no_new_privs; where that is not wanted, loading it takes
    CAP_SYS_ADMIN and so comes before the capabilities are given up, or root's identity with them.
    """
    quiet = process.no_new_privileges
    sets = process.capabilities
    written = identity.capabilities(sets, no_new_privileges=quiet) if sets is not None else None
    if sets is None and quiet:
        written = identity.no_new_privileges()
    filters: list[Segment | None] = []
    if linux.seccomp is not None and not _filters_early(process):
        filters.append(_filter(linux.seccomp))
    held = finish.seal(parked=host.parked, preserved=host.preserved)
    # After the seal: before it, more descriptors are open than RLIMIT_NOFILE may allow.
    limits = identity.limits(host.limits) if host.limits else None
    order = [written, held, limits, *filters] if quiet else [*filters, written, held, limits]
    segments = [segment for segment in order if segment is not None]
    segments.append(finish.execute(process.args, process.env))
    return segments


def _filters_early(process: Process) -> bool:
    """Whether the filter must be loaded while the process is root: changing ids takes the right."""
    return not process.no_new_privileges and process.user.uid != 0


def _filter(wanted: LinuxSeccomp) -> Segment:
    program = seccomp.compile_spec(wanted)
    return finish.system_call_filter(program, seccomp.filter_flags(wanted))


def made_by_parent(linux: Linux) -> list[LinuxDevice]:
    """Devices whose nodes the parent makes: in a user namespace all but pipes."""
    if not linux.uid_mappings:
        return []
    return [device for device in linux.devices if device.type != "p"]


def opened_by_parent(mount: Mount) -> bool:
    """Whether a mount shows a host path of the spec, which the parent opens."""
    return mount.type == "bind" or parse_options(mount.options).bind


def host_path(mount: Mount, new: Collection[str]) -> str:
    """Where on the host a tree is that cannot be made anew inside; empty for all others.

    A filesystem that shows a namespace can be made only by root of the user namespace that owns it:
    with the host's network there is no sysfs, with its pids no procfs for a container's own root.

    Args:
        new: kinds of the namespaces that the container has of its own.
    """
    if "user" not in new:
        return ""
    needed, path = _SHOWN.get(mount.type, ("", ""))
    return path if needed and needed not in new else ""


def _read_last_capability() -> int:
    global _last_capability
    if _last_capability < 0:
        try:
            _last_capability = capability.read_last_capability()
        except OSError:
            _last_capability = len(capability.NAMES) - 1
    return _last_capability
