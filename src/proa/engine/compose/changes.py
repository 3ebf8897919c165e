"""A container's configuration with the changes of ``update``."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence

import msgspec

from proa.engine.compose.resources import compose_resources
from proa.engine.config import ContainerConfig, ContainerUpdate, MountConfig, PortConfig
from proa.errors import Conflict, Invalid, NotFound
from proa.network.egress import parse_egress

ANY = ("any",)
"""As an egress policy in an update: none any more."""


def updated(config: ContainerConfig, changes: ContainerUpdate) -> ContainerConfig:
    """Return the configuration with the changes, checked.

    Raises:
        Invalid: the new limits contradict each other, or the container has no network of its own.
        Conflict: a restart policy for a container that is removed at its end, a port that is
            published already, or two mounts at one place.
        NotFound: a port that is not published, or no mount at the place of one that shall go.
    """
    if changes.restart is not None and config.auto_remove and changes.restart.name != "no":
        raise Conflict(
            "a container that is removed at its end cannot have a restart policy",
            "make it again without --rm",
        )
    given = msgspec.structs.asdict(changes.resources)
    empty = msgspec.structs.asdict(type(changes.resources)())
    said = {name: value for name, value in given.items() if value != empty[name]}
    limits = msgspec.structs.replace(config.resources, **said)
    compose_resources(limits)
    return msgspec.structs.replace(
        config,
        resources=limits,
        restart=changes.restart or config.restart,
        labels=_labels(config, changes),
        mounts=_mounts(config, changes),
        **_network_changes(config, changes),
    )


def _labels(config: ContainerConfig, changes: ContainerUpdate) -> dict[str, str]:
    kept = {name: text for name, text in config.labels.items() if name not in changes.label_rm}
    return {**kept, **changes.labels}


def _mounts(config: ContainerConfig, changes: ContainerUpdate) -> tuple[MountConfig, ...]:
    mounts = {posixpath.normpath(mount.target): mount for mount in config.mounts}
    for target in changes.mount_rm:
        if mounts.pop(posixpath.normpath(target), None) is None:
            raise NotFound(
                f"no bind mount or volume is at {target}", "proa inspect lists the mounts"
            )
    for mount in changes.mount_add:
        target = posixpath.normpath(mount.target)
        if target in mounts:
            raise Conflict(f"duplicate mount point: {target}", "remove the other one first")
        mounts[target] = mount
    return tuple(mounts.values())


def changes_network(before: ContainerConfig, after: ContainerConfig) -> bool:
    """Whether the live network has to follow."""
    return (before.ports, before.rate_in_bytes, before.rate_out_bytes, before.egress) != (
        after.ports, after.rate_in_bytes, after.rate_out_bytes, after.egress,
    )  # fmt: skip


def _network_changes(config: ContainerConfig, changes: ContainerUpdate) -> dict[str, object]:
    found: dict[str, object] = {}
    if changes.publish_add or changes.publish_rm:
        found["ports"] = _ports(config, changes.publish_add, changes.publish_rm)
    if changes.rate_in_bytes is not None:
        found["rate_in_bytes"] = changes.rate_in_bytes
    if changes.rate_out_bytes is not None:
        found["rate_out_bytes"] = changes.rate_out_bytes
    if changes.egress is not None:
        lifted = changes.egress == ANY
        if not lifted:
            parse_egress(changes.egress)
        found["egress"] = None if lifted else changes.egress
    mode = config.network_mode
    if found and (mode in ("none", "host") or mode.startswith("container:")):
        raise Invalid(
            f"ports, rates and egress cannot be changed with the network mode {mode}",
            "they belong to containers with networks of their own",
        )
    return found


def _ports(
    config: ContainerConfig, added: Sequence[PortConfig], removed: Sequence[PortConfig]
) -> tuple[PortConfig, ...]:
    ports = list(config.ports)
    for port in removed:
        fitting = [item for item in ports if _is_meant(port, item)]
        if not fitting:
            raise NotFound(
                f"port {port.container_port}/{port.protocol} is not published like that",
                "name it as it was published, or by the container's port alone",
            )
        ports = [item for item in ports if item not in fitting]
    for port in added:
        if port in ports:
            raise Conflict(f"port {port.container_port}/{port.protocol} is published like that")
        ports.append(port)
    return tuple(ports)


def _is_meant(pattern: PortConfig, port: PortConfig) -> bool:
    return (
        (pattern.container_port, pattern.protocol) == (port.container_port, port.protocol)
        and (not pattern.host_ip or pattern.host_ip == port.host_ip)
        and (
            not pattern.host_port
            or (pattern.host_port, pattern.host_port_last) == (port.host_port, port.host_port_last)
        )
    )
