"""Devices of the host in a container: ``--device``, ``--device-cgroup-rule``, ``--privileged``.

As with Docker a device keeps its host's owner, group and mode; ``--device`` of a directory means
all devices below it; a privileged container sees every device of the host's /dev. They are looked
up at each start: numbers of devices change between boots.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator

from proa.engine.config import ContainerConfig, DeviceMapping
from proa.errors import Invalid, from_os_error
from proa.oci.resources import LinuxDeviceCgroup
from proa.oci.spec import LinuxDevice
from proa.runtime import defaults

_RULE = re.compile(r"([acb]) (\d+|\*):(\d+|\*) ([rwm]{1,3})")
_HOST = "/dev"
_OWN = frozenset(
    ("console", "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "tty", "urandom",
     "zero")
)  # fmt: skip
"""What every container has of its own below /dev."""


def compose_devices(
    config: ContainerConfig,
) -> tuple[tuple[LinuxDevice, ...], tuple[LinuxDeviceCgroup, ...]]:
    """Return the nodes that a container gets, and the rules of its device group.

    Raises:
        NotFound: a device does not exist on the host.
        Invalid: it is none, or a rule is malformed.
        ProaError: it cannot be looked at.
    """
    if not (config.privileged or config.devices or config.device_cgroup_rules):
        return (), defaults.DEVICE_RULES
    nodes: dict[str, LinuxDevice] = {}
    if config.privileged:
        nodes = {node.path: node for node in _walk(_HOST, _HOST, _OWN)}
    own: list[LinuxDeviceCgroup] = []
    for mapping in config.devices:
        for node in _find(mapping):
            nodes[node.path] = node
            own.append(
                LinuxDeviceCgroup(
                    allow=True, type=node.type, major=node.major, minor=node.minor,
                    access=mapping.permissions,
                )
            )  # fmt: skip
    own += [_parse_rule(text) for text in config.device_cgroup_rules]
    base = defaults.PRIVILEGED_DEVICE_RULES if config.privileged else defaults.DEVICE_RULES
    return tuple(nodes.values()), base if config.privileged else (*base, *own)


def _find(mapping: DeviceMapping) -> list[LinuxDevice]:
    path = os.path.realpath(mapping.host_path)
    try:
        info = os.stat(path)
    except OSError as error:
        raise from_os_error(error, f"cannot add the device {mapping.host_path}") from error
    if stat.S_ISDIR(info.st_mode):
        found = list(_walk(path, mapping.container_path, frozenset()))
    else:
        node = _describe(info, mapping.container_path)
        found = [node] if node is not None else []
    if not found:
        raise Invalid(
            f"cannot add the device {mapping.host_path}: it is not a device node",
            "mount files and directories with -v",
        )
    return found


def _walk(directory: str, inside: str, skipped: frozenset[str]) -> Iterator[LinuxDevice]:
    """Yield all devices below a directory; links are not followed."""
    try:
        entries = sorted(os.scandir(directory), key=lambda entry: entry.name)
    except OSError as error:
        raise from_os_error(error, f"cannot look for devices in {directory}") from error
    for entry in entries:
        if entry.name in skipped:
            continue
        path = f"{inside}/{entry.name}"
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(entry.path, path, frozenset())
            continue
        try:
            node = _describe(entry.stat(follow_symlinks=False), path)
        except FileNotFoundError:
            continue  # unplugged meanwhile
        if node is not None:
            yield node


def _describe(info: os.stat_result, path: str) -> LinuxDevice | None:
    if stat.S_ISCHR(info.st_mode):
        kind = "c"
    elif stat.S_ISBLK(info.st_mode):
        kind = "b"
    else:
        return None
    return LinuxDevice(
        type=kind,
        path=path,
        major=os.major(info.st_rdev),
        minor=os.minor(info.st_rdev),
        file_mode=stat.S_IMODE(info.st_mode),
        uid=info.st_uid,
        gid=info.st_gid,
    )


def _parse_rule(text: str) -> LinuxDeviceCgroup:
    match = _RULE.fullmatch(text)
    if match is None:
        raise Invalid(f"invalid device cgroup rule {text!r}", "write it as 'c 42:* rwm'")
    kind, major, minor, access = match.groups()
    return LinuxDeviceCgroup(
        allow=True, type=kind, major=_number(major), minor=_number(minor), access=access
    )


def _number(text: str) -> int | None:
    return None if text == "*" else int(text)
