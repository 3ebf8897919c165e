"""The mounts of a container's body: ``Binds``, ``Mounts``, ``Tmpfs`` and ``Volumes``."""

from __future__ import annotations

import posixpath

from proa.engine.config import MountConfig
from proa.engine.mountwords import (
    PROPAGATIONS,
    check_volume_name,
    clean_target,
    parse_tmpfs,
    parse_volume,
)
from proa.server.encode.fields import Fields
from proa.server.errors import HttpError, bad_request


def read_mounts(config: Fields, host: Fields) -> tuple[MountConfig, ...]:
    """Return all mounts; a place is mounted once.

    Args:
        config: the body.
        host: its ``HostConfig``.

    Raises:
        HttpError: one of them cannot be.
    """
    try:
        found = [parse_volume(text, "/") for text in host.texts("Binds")]
        found += [_read_mount(item) for item in host.objects("Mounts")]
        found += [
            parse_tmpfs(f"{target}:{options}" if options else target)
            for target, options in host.mapping("Tmpfs").items()
        ]
        taken = {mount.target for mount in found}
        # Older clients say here what Binds says too.
        found += [
            MountConfig(type="volume", target=clean_target(target))
            for target in config.keys("Volumes")
            if posixpath.normpath(target) not in taken
        ]
    except ValueError as error:
        raise bad_request(f"invalid mount config: {error}") from None
    seen: set[str] = set()
    for mount in found:
        if mount.target in seen:
            raise bad_request(f"duplicate mount point: {mount.target}")
        seen.add(mount.target)
    return tuple(found)


def _read_mount(fields: Fields) -> MountConfig:
    kind = fields.text("Type", "volume")
    target = clean_target(fields.text("Target"))
    if kind == "bind":
        return _read_bind(fields, target)
    if kind == "volume":
        return _read_volume(fields, target)
    if kind == "tmpfs":
        return _read_tmpfs(fields, target)
    if kind in ("image", "npipe", "cluster"):
        raise HttpError(501, f"mounts of type {kind} are not part of this version")
    raise ValueError(f"mount type unknown: {kind!r}")


def _read_bind(fields: Fields, target: str) -> MountConfig:
    source, options = fields.text("Source"), fields.fields("BindOptions")
    if not source.startswith("/"):
        raise ValueError(f"invalid mount path: '{source}' mount path must be absolute")
    propagation = options.text("Propagation") or "rprivate"
    if propagation not in PROPAGATIONS:
        raise ValueError(f"invalid propagation: {propagation}")
    return MountConfig(
        type="bind",
        source=posixpath.normpath(source),
        target=target,
        readonly=fields.flag("ReadOnly"),
        propagation=propagation,
        create_source=options.flag("CreateMountpoint"),
        recursive=not options.flag("NonRecursive"),
    )


def _read_volume(fields: Fields, target: str) -> MountConfig:
    source, options = fields.text("Source"), fields.fields("VolumeOptions")
    driver = options.fields("DriverConfig")
    if driver.text("Name") not in ("", "local") or driver.mapping("Options"):
        raise HttpError(501, "volume drivers and their options are not part of this version")
    return MountConfig(
        type="volume",
        source=check_volume_name(source) if source else "",
        target=target,
        readonly=fields.flag("ReadOnly"),
        volume_nocopy=options.flag("NoCopy"),
        volume_subpath=options.text("Subpath"),
    )


def _read_tmpfs(fields: Fields, target: str) -> MountConfig:
    if fields.text("Source"):
        raise ValueError("source is not allowed for mount type 'tmpfs'")
    options = fields.fields("TmpfsOptions")
    return MountConfig(
        type="tmpfs",
        target=target,
        readonly=fields.flag("ReadOnly"),
        tmpfs_size_bytes=options.integer("SizeBytes"),
        tmpfs_mode=options.integer("Mode") or 0o1777,
    )
