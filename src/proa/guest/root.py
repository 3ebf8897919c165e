"""The container's root in the guest: read-only layers on one disk, a writable one on another.

::

    /guest/layers/N     the layers, 0 the uppermost
    /guest/disk         the writable disk
    /guest/root         overlay of all
    /guest/shares/TAG   host directories (virtiofs)
    /guest/files/NAME   files that came with the request
"""

from __future__ import annotations

import os

from proa.errors import Corrupt, NotFound, from_os_error
from proa.fs.atomicfile import write_all
from proa.guest.boot import Modules
from proa.linux import mount as api
from proa.linux.blockdevice import add_partition
from proa.vm.agent.messages import Extent, InlineFile

ROOT = "/guest/root"
_DISK = "/guest/disk"
LAYERS_SERIAL = "layers"
WRITABLE_SERIAL = "writable"
_MS_NOATIME = 1024
_FILESYSTEMS = ("erofs", "ext4")


def mount_root(modules: Modules, layers: tuple[Extent, ...]) -> None:
    """Mount the overlay at :data:`ROOT`.

    Args:
        modules: the kernel's.
        layers: uppermost first.

    Raises:
        ProaError: a disk is missing, or is no filesystem.
    """
    try:
        modules.load("overlay")
        lowers = _mount_layers(modules, layers)
        os.makedirs(_DISK, exist_ok=True)
        device = f"/dev/{_find_disk(WRITABLE_SERIAL)}"
        api.mount(device, _DISK, "ext4", _MS_NOATIME)
        for name in ("upper", "work"):
            os.makedirs(f"{_DISK}/{name}", mode=0o755, exist_ok=True)
        options = (
            f"lowerdir={':'.join(lowers)},upperdir={_DISK}/upper,workdir={_DISK}/work,userxattr"
        )
        os.makedirs(ROOT, exist_ok=True)
        api.mount("overlay", ROOT, "overlay", 0, options)
    except OSError as error:
        raise from_os_error(error, "cannot mount the container's root in the guest") from error


def _mount_layers(modules: Modules, layers: tuple[Extent, ...]) -> list[str]:
    disk = _find_disk(LAYERS_SERIAL)
    places = []
    fd = os.open(f"/dev/{disk}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        for index, layer in enumerate(layers):
            if layer.filesystem not in _FILESYSTEMS:
                raise Corrupt(f"a layer has an unknown filesystem ({layer.filesystem})")
            modules.load(layer.filesystem)
            add_partition(fd, index + 1, layer.offset, layer.size)
            place = f"/guest/layers/{index}"
            os.makedirs(place, exist_ok=True)
            options = "noload" if layer.filesystem == "ext4" else ""
            api.mount(f"/dev/{disk}{index + 1}", place, layer.filesystem, api.MS_RDONLY, options)
            places.append(place)
    finally:
        os.close(fd)
    return places


def _find_disk(serial: str) -> str:
    for name in sorted(os.listdir("/sys/block")):
        try:
            with open(f"/sys/block/{name}/serial", encoding="ascii") as stream:
                if stream.read().strip() == serial:
                    return name
        except OSError:
            continue
    raise NotFound(f"the guest has no disk {serial}")


def mount_shares(modules: Modules, tags: tuple[str, ...]) -> None:
    """Mount host directories at ``/guest/shares/<tag>``.

    Raises:
        ProaError: one cannot be mounted.
    """
    for tag in tags:
        try:
            modules.load("virtiofs")
            os.makedirs(f"/guest/shares/{tag}", exist_ok=True)
            api.mount(tag, f"/guest/shares/{tag}", "virtiofs")
        except OSError as error:
            raise from_os_error(error, f"cannot mount the shared directory {tag}") from error


def save_files(files: tuple[InlineFile, ...]) -> None:
    """Write files that came with the request to ``/guest/files/<name>``; replaces what is there.

    The inode stays: a container that has it mounted sees the new contents.

    Raises:
        ProaError: no room.
    """
    try:
        for file in files:
            path = f"/guest/files/{file.name}"
            os.makedirs(os.path.dirname(path), exist_ok=True)
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                os.fchmod(fd, file.mode)
                write_all(fd, file.content)
            finally:
                os.close(fd)
    except OSError as error:
        raise from_os_error(error, "cannot write the container's files in the guest") from error


def unmount_root() -> None:
    """Bring everything on the writable disk; what still uses it keeps it mounted."""
    os.sync()
    for place in (ROOT, _DISK):
        try:
            api.unmount(place)
        except OSError:
            continue
    os.sync()
