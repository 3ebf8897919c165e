"""Volumes: directories that outlive containers (``<root>/volumes/<name>/_data``).

A volume is made when it is first named, or for each ``VOLUME`` of an image that no mount covers
(anonymous, removed with its container by ``rm -v`` and ``--rm``). A new volume is filled with what
the image has at its place.

Crash rule: the record is written after the directory and removed before it, so a directory without
a record is garbage that the next volume of that name replaces.
"""

from __future__ import annotations

import os
import posixpath
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from proa.engine import volumelimit
from proa.engine.config import ContainerConfig, MountConfig
from proa.engine.context import Context
from proa.engine.model import ContainerRecord, EventRecord
from proa.engine.prunefilters import PruneFilter
from proa.engine.state import VolumeRecord
from proa.errors import Conflict, Invalid, Unsupported, from_os_error
from proa.fs import tree
from proa.fs.usage import allocated_bytes
from proa.image.model import Image
from proa.image.snapshots.copyup import copy_directory
from proa.image.snapshots.view import LayeredView
from proa.units import format_rfc3339_ns, parse_size

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")

VolumeList = list[VolumeRecord]
Names = list[str]


class Volumes:
    """Verbs on the volumes of one engine (``engine.volumes``)."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def create(
        self,
        name: str = "",
        *,
        driver: str = "local",
        labels: Mapping[str, str] | None = None,
        options: Mapping[str, str] | None = None,
    ) -> VolumeRecord:
        """Make a volume; one that exists already is returned as it is.

        Args:
            name: empty: a random one, anonymous.
            driver: ``local`` is the only one.
            labels: free words.
            options: ``size`` limits what its files may take (``10g``), on a filesystem with
                project quotas; there is no other.

        Raises:
            Invalid: the name has characters that names can't have, or the driver is unknown.
            Unsupported: another option; the filesystem cannot hold a size.
        """
        if driver not in ("", "local"):
            raise Invalid(f"unknown volume driver '{driver}'", "the only one is local")
        for option in options or {}:
            if option != "size":
                raise Unsupported(
                    f"the volume option '{option}' is not supported",
                    "bind a directory of the host instead: -v /path/on/host:/path",
                )
        self._context.layout.ensure()
        return ensure(self._context, name, labels=dict(labels or {}), options=dict(options or {}))

    def get(self, name: str) -> VolumeRecord:
        """Return a volume.

        Raises:
            NotFound: there is none of that name.
        """
        return self._context.state.volumes.get(name)

    def list(self, filters: Mapping[str, Sequence[str]] | None = None) -> VolumeList:
        """Return volumes by name; the filters are Docker's ``name``, ``label``, ``driver`` ...

        Raises:
            Invalid: an unknown filter.
        """
        volumes = self._context.state.volumes.list()
        for key, values in (filters or {}).items():
            volumes = [volume for volume in volumes if self._passes(volume, key, values)]
        return volumes

    def inspect(self, name: str) -> dict[str, Any]:
        """Return what ``docker volume inspect`` shows."""
        volume = self.get(name)
        return {
            "CreatedAt": format_rfc3339_ns(volume.created_at_ns),
            "Driver": volume.driver,
            "Labels": volume.labels or None,
            "Mountpoint": data_directory(self._context, volume.name),
            "Name": volume.name,
            "Options": volume.options or None,
            "Scope": "local",
        }

    def remove(self, name: str, *, force: bool = False) -> None:
        """Remove a volume and its data.

        Args:
            name: which.
            force: a volume that does not exist is fine.

        Raises:
            NotFound: there is none of that name.
            Conflict: a container uses it.
        """
        if force and self._context.state.volumes.find(name) is None:
            return
        self.get(name)
        users = users_of(self._context, name)
        if users:
            raise Conflict(
                f"volume {name} is in use by container {users[0].name}",
                "remove the container first",
            )
        discard(self._context, name)

    def prune(
        self, *, every: bool = False, filters: Mapping[str, Sequence[str]] | None = None
    ) -> tuple[Names, int]:
        """Remove anonymous volumes (``every``: all) that no container uses.

        Args:
            every: those with a name, too.
            filters: ``label`` and ``label!`` (``name[=value]``).

        Returns:
            Their names, and how many bytes that freed.

        Raises:
            Invalid: an unknown filter.
        """
        chosen = PruneFilter(filters, ("label", "label!"))
        removed: Names = []
        freed = 0
        for volume in self._context.state.volumes.list():
            if not (volume.anonymous or every) or users_of(self._context, volume.name):
                continue
            if not chosen.passes(volume.labels, volume.created_at_ns):
                continue
            freed += allocated_bytes(f"{self._context.layout.volumes}/{volume.name}")
            discard(self._context, volume.name)
            removed.append(volume.name)
        return removed, freed

    def _passes(self, volume: VolumeRecord, key: str, values: Sequence[str]) -> bool:
        if key == "name":
            return any(value in volume.name for value in values)
        if key == "driver":
            return volume.driver in values
        if key == "label":
            pairs = [value.partition("=") for value in values]
            return all(
                name in volume.labels and (not equals or volume.labels[name] == wanted)
                for name, equals, wanted in pairs
            )
        if key == "dangling":
            wanted = values[-1].lower() in ("1", "true")
            return wanted is not bool(users_of(self._context, volume.name))
        raise Invalid(f"invalid filter '{key}'", "the filters are name, driver, label, dangling")


def data_directory(context: Context, name: str) -> str:
    """Where a volume's files are."""
    return f"{context.layout.volumes}/{name}/_data"


def ensure(
    context: Context,
    name: str = "",
    *,
    labels: dict[str, str],
    options: dict[str, str] | None = None,
) -> VolumeRecord:
    """Return the volume of that name, made if need be; an empty name makes an anonymous one.

    Raises:
        Invalid: it cannot be a name, or ``size`` is none.
        Unsupported: the filesystem cannot hold a size.
    """
    anonymous = not name
    name = name or secrets.token_hex(32)
    if not _NAME.fullmatch(name):
        raise Invalid(
            f"'{name}' includes invalid characters for a volume name",
            "use letters, digits, '_', '.' and '-'; a host path begins with /",
        )
    found = context.state.volumes.find(name)
    if found is not None:
        return found
    size_bytes = parse_size(options["size"], "size") if options and "size" in options else 0
    try:
        if size_bytes:
            volumelimit.check(context.layout.volumes)
        os.makedirs(data_directory(context, name), mode=0o755, exist_ok=True)
        os.chmod(f"{context.layout.volumes}/{name}", 0o701)
        if size_bytes:
            volumelimit.apply(data_directory(context, name), size_bytes)
    except OSError as error:
        raise from_os_error(error, f"cannot make volume {name}") from error
    record = VolumeRecord(
        name=name,
        created_at_ns=time.time_ns(),
        labels=labels,
        options=options or {},
        anonymous=anonymous,
    )
    try:
        context.state.volumes.insert(record)
    except Conflict:
        return context.state.volumes.get(name)
    context.state.events.append(_event(name, "create"))
    return record


def discard(context: Context, name: str) -> None:
    """Remove a volume that nobody uses."""
    if context.state.volumes.get(name).options:
        volumelimit.lift(data_directory(context, name))
    context.state.volumes.delete(name)
    context.state.events.append(_event(name, "destroy"))
    tree.remove_tree(f"{context.layout.volumes}/{name}")


def users_of(context: Context, name: str) -> list[ContainerRecord]:
    """Return the containers that mount a volume."""
    return [
        record
        for record in context.state.containers.list()
        if any(mount.type == "volume" and mount.source == name for mount in record.config.mounts)
    ]


def resolve(context: Context, config: ContainerConfig, image: Image) -> ContainerConfig:
    """Return the configuration with every volume named, made and filled.

    ``--volumes-from`` becomes the other containers' mounts; the image's ``VOLUME`` paths that no
    mount covers become anonymous volumes.

    Raises:
        NotFound: a container of ``--volumes-from`` does not exist.
        Invalid: a malformed name or path.
    """
    declared = image.config.config.volumes
    if not (declared or config.volumes_from or any(m.type == "volume" for m in config.mounts)):
        return config
    mounts = [*config.mounts, *_from_others(context, config)]
    covered = {posixpath.normpath(mount.target) for mount in mounts}
    for path in declared:
        target = _declared_target(path)
        if target not in covered:
            mounts.append(MountConfig(type="volume", target=target))
            covered.add(target)
    resolved = [materialize(context, mount, image) for mount in mounts]
    return msgspec.structs.replace(config, mounts=tuple(resolved))


def remove_anonymous(context: Context, record: ContainerRecord) -> None:
    """Remove the anonymous volumes of a container that is gone."""
    for mount in record.config.mounts:
        if mount.type != "volume":
            continue
        volume = context.state.volumes.find(mount.source)
        if volume is not None and volume.anonymous and not users_of(context, volume.name):
            discard(context, volume.name)


def _declared_target(path: str) -> str:
    """An image's VOLUME is a wish, not a command: it must name a place inside the container.

    Raises:
        Invalid: it is relative, leads upwards, or is the root itself (CVE-2022-23648).
    """
    target = posixpath.normpath(path)
    if not path.startswith("/") or ".." in path.split("/") or target in ("/", "//"):
        raise Invalid(f"the image declares the volume {path!r}, which is not a place in its root")
    return target


def _from_others(context: Context, config: ContainerConfig) -> list[MountConfig]:
    taken = {posixpath.normpath(mount.target) for mount in config.mounts}
    mounts = []
    for reference in config.volumes_from:
        name, _, mode = reference.partition(":")
        if mode not in ("", "ro", "rw", "z", "Z"):
            raise Invalid(f"invalid mode '{mode}' in --volumes-from {reference}", "use ro or rw")
        for mount in context.state.containers.get(name).config.mounts:
            target = posixpath.normpath(mount.target)
            if mount.type == "tmpfs" or target in taken:
                continue
            taken.add(target)
            readonly = mount.readonly or mode == "ro"
            mounts.append(msgspec.structs.replace(mount, readonly=readonly, create_source=False))
    return mounts


def materialize(context: Context, mount: MountConfig, image: Image) -> MountConfig:
    """Return a mount with its volume named, made and filled; others as they are.

    Raises:
        Invalid: a malformed name.
    """
    if mount.type != "volume":
        return mount
    volume = ensure(context, mount.source, labels={})
    directory = data_directory(context, volume.name)
    if not mount.volume_nocopy and not os.listdir(directory):
        layers = [f"{context.layout.root}/{lower}" for lower in image.lowers]
        try:
            with LayeredView(layers) as view:
                copy_directory(view, mount.target, directory)
        except OSError as error:
            message = f"cannot fill volume {volume.name} from {mount.target} of the image"
            raise from_os_error(error, message) from error
    return msgspec.structs.replace(mount, source=volume.name)


def _event(name: str, action: str) -> EventRecord:
    return EventRecord(
        sequence=0,
        time_ns=time.time_ns(),
        type="volume",
        action=action,
        actor_id=name,
        attributes={"driver": "local"},
    )
