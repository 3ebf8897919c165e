"""From an OCI image with an init to a bootable disk (``proa image to-disk``).

The layers are seen together through an overlay that is attached nowhere but in a scratch directory
for a moment; its upper layer adds the kernel's modules. All scratch is below ``<root>/vms``; what a
killed conversion left, the next one removes.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from proa.engine.context import Context
from proa.errors import Forbidden, Invalid, NotFound, Unsupported, from_os_error
from proa.fs import lock, tree
from proa.linux import mount as mounts
from proa.vm.bootdisk.build import BootDisk, build_disk
from proa.vm.kernel import get_kernel
from proa.vm.kernel.install import ensure_efi_stub

if TYPE_CHECKING:
    from proa.image.model import Image

_INITS = ("/sbin/init", "/usr/lib/systemd/systemd", "/init")
_OPTIONS_MAX = 4095
"""mount(2) takes a page of options."""
_ARCHITECTURES = {"amd64": "x86_64", "arm64": "aarch64"}


def convert_image(
    context: Context,
    reference: str,
    path: str,
    *,
    disk_format: str = "qcow2",
    size_bytes: int = 0,
    kernel: str = "",
    init: str = "",
    progress: Callable[[str], None] = lambda _: None,
) -> None:
    """Write the disk; see :meth:`proa.engine.vms.api.Vms.convert_image`."""
    if os.geteuid() != 0:
        raise Forbidden("only root can make bootable disks", "files in them belong to many users")
    if disk_format not in ("qcow2", "raw"):
        raise Invalid(f"unknown disk format {disk_format!r}", "use qcow2 or raw")
    image = context.images.get(reference)
    architecture = _ARCHITECTURES.get(image.config.platform.architecture, "")
    if not architecture:
        raise Unsupported(f"no bootable disks for {image.config.platform.architecture}")
    context.images.ensure_unpacked(image)
    root = context.layout.root
    chosen = get_kernel(root, kernel, architecture)
    directory = f"{root}/vms/.convert"
    os.makedirs(directory, mode=0o700, exist_ok=True)
    with lock.acquire(directory):
        tree.empty_tree(directory)
        try:
            with _merged(root, image, directory) as merged:
                disk = BootDisk(
                    root=merged,
                    init=_find_init(merged, init, reference),
                    kernel=chosen,
                    stub=ensure_efi_stub(root, architecture),
                    size_bytes=size_bytes,
                    format=disk_format,
                )
                if chosen.modules:
                    target = f"{merged}/lib/modules/{chosen.release}"
                    shutil.copytree(chosen.modules, target, symlinks=True, dirs_exist_ok=True)
                workspace = f"{directory}/workspace"
                os.mkdir(workspace)
                build_disk(disk, path, workspace, progress)
        finally:
            tree.empty_tree(directory)


@contextmanager
def _merged(root: str, image: Image, directory: str) -> Iterator[str]:
    """The image's files as one directory that may be added to.

    It is a detached mount, reached by its descriptor: nothing is left when this process dies.
    """
    for name in ("upper", "work", "merged"):
        os.mkdir(f"{directory}/{name}")
    lowers = ":".join(f"{root}/{lower}" for lower in image.lowers)
    options = f"lowerdir={lowers},upperdir={directory}/upper,workdir={directory}/work,userxattr"
    if len(options) > _OPTIONS_MAX:
        raise Unsupported(f"image {image.id} has too many layers for a disk ({len(image.lowers)})")
    place = f"{directory}/merged"
    try:
        mounts.mount("overlay", place, "overlay", 0, options)
        try:
            fd = mounts.clone_path(place)
        finally:
            mounts.unmount(place)
    except OSError as error:
        raise from_os_error(error, "cannot look at the layers together") from error
    try:
        yield f"/proc/{os.getpid()}/fd/{fd}"
    finally:
        os.close(fd)


def _find_init(merged: str, wanted: str, reference: str) -> str:
    for path in (wanted,) if wanted else _INITS:
        # A link is followed inside the root, by the guest.
        if path.startswith("/") and os.path.lexists(f"{merged}/{path.lstrip('/')}"):
            return path
    raise NotFound(
        f"image {reference} has no {wanted or 'init'}",
        "put an init system into it (systemd-sysv), or name one with --init",
    )
