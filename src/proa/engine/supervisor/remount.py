"""Mounts of a running container that ``update`` adds and removes."""

from __future__ import annotations

import posixpath

from proa.engine.compose.mounts import compose_mount
from proa.engine.config import ContainerConfig, ContainerUpdate, MountConfig
from proa.errors import ProaError, Unsupported
from proa.oci.isolation import Sandbox
from proa.runtime.sandbox import ProcessSandbox


def apply(
    sandbox: Sandbox, volumes: str, config: ContainerConfig, changes: ContainerUpdate
) -> None:
    """Remove mounts, then add others; all of it or, when one is refused, nothing.

    Args:
        sandbox: runs.
        volumes: directory of all volumes.
        config: before the changes.
        changes: checked against it; volumes have names.

    Raises:
        Unsupported: the container is a virtual machine.
        ProaError: the kernel refused one.
    """
    if not isinstance(sandbox, ProcessSandbox):
        raise Unsupported(
            "the mounts of a running virtual machine cannot be changed", "stop the container first"
        )
    leaving = {posixpath.normpath(target) for target in changes.mount_rm}
    gone: list[MountConfig] = []
    come: list[str] = []
    try:
        # Children first: what is below a mount goes with it.
        for mount in sorted(config.mounts, key=_depth, reverse=True):
            if posixpath.normpath(mount.target) in leaving:
                sandbox.unmount(posixpath.normpath(mount.target))
                gone.append(mount)
        for mount in sorted(changes.mount_add, key=_depth):
            composed = compose_mount(mount, volumes)
            sandbox.mount(composed)
            come.append(composed.destination)
    except BaseException:
        _undo(sandbox, volumes, gone, come)
        raise


def _undo(sandbox: ProcessSandbox, volumes: str, gone: list[MountConfig], come: list[str]) -> None:
    try:
        for destination in reversed(come):
            sandbox.unmount(destination)
        for mount in reversed(gone):
            if mount.type != "tmpfs":
                sandbox.mount(compose_mount(mount, volumes))
    except ProaError:
        return  # the error that is on its way to the user matters more


def _depth(mount: MountConfig) -> int:
    return posixpath.normpath(mount.target).count("/")
