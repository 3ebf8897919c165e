"""The container's mounts: those of every container, then the user's, parents before children."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable

from proa.engine.compose import files
from proa.engine.compose.propagation import check_propagation
from proa.engine.config import ContainerConfig, MountConfig
from proa.errors import Invalid, NotFound, from_os_error
from proa.fs import rootpath
from proa.oci.spec import Mount

_FORBIDDEN = ("/proc", "/")
_PROPAGATIONS = frozenset({"private", "rprivate", "slave", "rslave", "shared", "rshared"})


def validate_mounts(config: ContainerConfig) -> None:
    """Check the user's mounts before a container is made; missing ``-v`` sources are made.

    Raises:
        Invalid: a target is relative, taken twice, or one that a container needs for itself.
        NotFound: a bind source does not exist (``--mount``).
    """
    seen: set[str] = set()
    for mount in config.mounts:
        target = posixpath.normpath(mount.target)
        if not mount.target.startswith("/"):
            raise Invalid(
                f"invalid mount path: '{mount.target}' mount path must be absolute",
            )
        if target in _FORBIDDEN or target.startswith("/proc/"):
            raise Invalid(f"invalid mount target '{target}': it belongs to the container itself")
        if target in seen:
            raise Invalid(f"duplicate mount point: {target}")
        seen.add(target)
        if mount.propagation not in _PROPAGATIONS:
            raise Invalid(f"invalid propagation '{mount.propagation}' of the mount at {target}")
        if mount.type == "bind":
            _check_source(mount)
            check_propagation(mount)


def _check_source(mount: MountConfig) -> None:
    if not mount.source.startswith("/"):
        raise Invalid(f"invalid mount source '{mount.source}': it must be an absolute path")
    if os.path.exists(mount.source):
        return
    if not mount.create_source:
        raise NotFound(
            f"bind source path does not exist: {mount.source}",
            "make it, or use -v, which makes a missing directory",
        )
    try:
        os.makedirs(mount.source, exist_ok=True)
    except OSError as error:
        raise from_os_error(error, f"cannot make the bind source {mount.source}") from error


def compose_mounts(
    config: ContainerConfig, directory: str, volumes: str, defaults: Iterable[Mount]
) -> tuple[Mount, ...]:
    """Return all mounts in the order in which they are made.

    Args:
        config: the user's.
        directory: the container's, where its files are.
        volumes: directory of all volumes.
        defaults: /proc, /dev, /sys and what is below.
    """
    replaced = {posixpath.normpath(mount.target) for mount in config.mounts}
    own = [_bind_file(directory, name) for name in files.NAMES]
    chosen = [mount for mount in (*defaults, *own) if mount.destination not in replaced]
    if config.shm_size_bytes:
        chosen = [_resize_shm(mount, config.shm_size_bytes) for mount in chosen]
    users = sorted(config.mounts, key=lambda mount: posixpath.normpath(mount.target).count("/"))
    return (*chosen, *[compose_mount(mount, volumes) for mount in users])


def _bind_file(directory: str, name: str) -> Mount:
    return Mount(
        destination=f"/etc/{name}",
        type="bind",
        source=f"{directory}/{name}",
        options=("rbind", "rprivate"),
    )


def _resize_shm(mount: Mount, size_bytes: int) -> Mount:
    if mount.destination != "/dev/shm":
        return mount
    options = [option for option in mount.options if not option.startswith("size=")]
    return Mount(
        destination=mount.destination,
        type=mount.type,
        source=mount.source,
        options=(*options, f"size={size_bytes}"),
    )


def compose_mount(mount: MountConfig, volumes: str) -> Mount:
    """Return one of the user's mounts for the runtime.

    Args:
        mount: a bind's source is absolute, a volume has a name.
        volumes: directory of all volumes.

    Raises:
        NotFound: the subpath of a volume does not exist.
    """
    target = posixpath.normpath(mount.target)
    if mount.type == "tmpfs":
        return _compose_tmpfs(mount, target)
    options = ["rbind" if mount.recursive else "bind", mount.propagation]
    if mount.readonly:
        options += ["ro", "rro"] if mount.recursive else ["ro"]
    source = mount.source
    if mount.type == "volume":
        source = f"{volumes}/{mount.source}/_data"
        if mount.volume_subpath:
            source = _open_subpath(source, mount.volume_subpath)
    return Mount(destination=target, type="bind", source=source, options=tuple(options))


def _open_subpath(volume: str, subpath: str) -> str:
    """Return the real path of a directory inside a volume; no link in it leads outside.

    Raises:
        NotFound: it does not exist.
    """
    root = rootpath.open_root(volume)
    try:
        directory = rootpath.open_directory(root, subpath)
        try:
            return os.readlink(f"/proc/self/fd/{directory}")
        finally:
            os.close(directory)
    except OSError as error:
        raise from_os_error(error, f"cannot use the subpath {subpath} of a volume") from error
    finally:
        os.close(root)


def _compose_tmpfs(mount: MountConfig, target: str) -> Mount:
    options = ["nosuid", "nodev", "noexec", *mount.tmpfs_options]
    if "exec" in mount.tmpfs_options:
        options.remove("noexec")
    named = {option.partition("=")[0] for option in mount.tmpfs_options}
    if "mode" not in named:
        options.append(f"mode={mount.tmpfs_mode:o}")
    if mount.tmpfs_size_bytes and "size" not in named:
        options.append(f"size={mount.tmpfs_size_bytes}")
    if mount.readonly:
        options.append("ro")
    return Mount(destination=target, type="tmpfs", source="tmpfs", options=tuple(options))
