"""Namespaces that a container has of its own, shares with the host, or with another container.

Who shares the processes (``--pid container:ID``) of a container shares its user namespace too:
only root of that may mount a /proc that shows them. Who shares its IPC objects alone
(``--ipc container:ID``) has a user namespace of its own with the same ids, so that owners and
modes of the objects mean the same to both.
"""

from __future__ import annotations

import msgspec

from proa.engine.config import ContainerConfig
from proa.engine.context import Context
from proa.engine.model import ContainerRecord
from proa.errors import Conflict, NotFound
from proa.oci.spec import LinuxIDMapping, LinuxNamespace, Mount

USERNS_IDS = 65536
CONTAINER = "container:"
"""Prefix of a mode that means another container's namespace."""

_ALIVE = ("running", "paused")
_OFFERED = ("shareable", "host")
"""IPC modes that other containers may join, as with Docker."""


def resolve_modes(context: Context, config: ContainerConfig) -> ContainerConfig:
    """Replace names in ``--pid`` and ``--ipc container:NAME`` by ids, which no rename changes.

    Raises:
        NotFound: no such container.
        Conflict: its IPC namespace is not offered.
    """
    pid, ipc = _resolve(context, config.pid_mode), _resolve(context, config.ipc_mode)
    if (pid, ipc) == (config.pid_mode, config.ipc_mode):
        return config
    if ipc.startswith(CONTAINER):
        other = context.state.containers.get(ipc.removeprefix(CONTAINER))
        if other.config.ipc_mode not in _OFFERED and not other.config.ipc_mode.startswith(
            CONTAINER
        ):
            raise Conflict(
                f"cannot join the IPC namespace of container {other.name}: it is not shareable",
                f"create {other.name} with --ipc shareable",
            )
    return msgspec.structs.replace(config, pid_mode=pid, ipc_mode=ipc)


def _resolve(context: Context, mode: str) -> str:
    if not mode.startswith(CONTAINER):
        return mode
    return CONTAINER + context.state.containers.get(mode.removeprefix(CONTAINER)).id


def find_ids_owner(context: Context, config: ContainerConfig) -> ContainerRecord | None:
    """The container whose user ids one with these modes has; None: its own.

    Where containers share with each other in a row, it is the first of them.
    """
    owner: ContainerRecord | None = None
    seen: set[str] = set()
    while True:
        mode = next((m for m in (config.pid_mode, config.ipc_mode) if m.startswith(CONTAINER)), "")
        if not mode or mode in seen:
            return owner
        seen.add(mode)
        try:
            owner = context.state.containers.get(mode.removeprefix(CONTAINER))
        except NotFound:
            return owner
        config = owner.config


def first_id(context: Context, record: ContainerRecord) -> int:
    """First host id of a container's users; -1 in the host's user namespace."""
    if record.userns_base < 0:
        return -1
    owner = find_ids_owner(context, record.config)
    return record.userns_base if owner is None else owner.userns_base


def compose_mappings(context: Context, record: ContainerRecord) -> tuple[LinuxIDMapping, ...]:
    """Return the id mappings of a container's user namespace; none in the host's."""
    base = first_id(context, record)
    if base < 0:
        return ()
    return (LinuxIDMapping(container_id=0, host_id=base, size=USERNS_IDS),)


def compose_namespaces(context: Context, record: ContainerRecord) -> tuple[LinuxNamespace, ...]:
    """Return a container's namespaces; those of other containers by the paths of their inits.

    Raises:
        NotFound: a container that it shares with is gone.
        Conflict: it does not run.
    """
    config = record.config
    namespaces = [LinuxNamespace(type="mount")]
    for kind, mode in (
        ("pid", config.pid_mode),
        ("ipc", config.ipc_mode),
        ("uts", config.uts_mode),
        ("cgroup", config.cgroupns_mode),
        ("network", config.network_mode),
    ):
        if mode.startswith(CONTAINER):
            namespaces.append(LinuxNamespace(type=kind, path=_path(context, mode, kind)))
        elif mode != "host":
            namespaces.append(LinuxNamespace(type=kind))
    namespaces.append(LinuxNamespace(type="time"))
    if first_id(context, record) >= 0:
        joined = config.pid_mode.startswith(CONTAINER)
        path = _path(context, config.pid_mode, "user") if joined else ""
        namespaces.append(LinuxNamespace(type="user", path=path))
    return tuple(namespaces)


_FILES = {"network": "net"}


def _path(context: Context, mode: str, kind: str) -> str:
    other = context.state.containers.get(mode.removeprefix(CONTAINER))
    if other.state.status not in _ALIVE:
        raise Conflict(
            f"cannot join the {kind} namespace of container {other.name}: it is"
            f" {other.state.status}",
            f"start it with `proa start {other.name}`",
        )
    return f"/proc/{other.state.init.pid}/ns/{_FILES.get(kind, kind)}"


def share_memory(
    context: Context, config: ContainerConfig, mounts: tuple[Mount, ...]
) -> tuple[Mount, ...]:
    """Put the /dev/shm of the container whose IPC objects are shared in place of a new one."""
    if config.ipc_mode == "host":
        source = "/dev/shm"
    elif config.ipc_mode.startswith(CONTAINER):
        other = context.state.containers.get(config.ipc_mode.removeprefix(CONTAINER))
        source = f"/proc/{other.state.init.pid}/root/dev/shm"
    else:
        return mounts
    shared = Mount(
        destination="/dev/shm",
        type="bind",
        source=source,
        options=("rbind", "rprivate", "nosuid", "nodev", "noexec"),
    )
    chosen = {mount.target for mount in config.mounts}
    if shared.destination in chosen:
        return mounts
    return tuple([shared if mount.destination == "/dev/shm" else mount for mount in mounts])
