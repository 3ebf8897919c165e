"""The guest's initramfs, made once for each kernel, interpreter and version of this package.

``<root>/vm/initramfs/<key>.cpio``: made beside its place and renamed, so that whoever finds one has
a whole one; the key says what is in it. It is not compressed: unpacking would take the guest longer
than reading.
"""

from __future__ import annotations

import os
import sys

from proa.errors import from_os_error
from proa.fs.atomicfile import save_file
from proa.vm.initramfs.cpio import CpioWriter
from proa.vm.initramfs.interpreter import add_interpreter, compile_module, executable
from proa.vm.initramfs.modules import KernelModules

MODULES = (
    "virtio_mmio", "virtio_pci", "virtio_console", "virtio_blk", "erofs", "overlay",
    "virtio_rng", "virtio_net", "virtiofs", "virtio_balloon",
)  # fmt: skip
"""What the agent loads: the first ones at once, devices that not every guest has when they are."""

PACKAGES = (
    "proa.errors", "proa.log", "proa.units", "proa.linux", "proa.fs", "proa.oci", "proa.cgroups",
    "proa.runtime", "proa.image.layers", "proa.vm.agent", "proa.guest", "msgspec",
    "encodings.ascii", "encodings.latin_1",
)  # fmt: skip

_KEPT = 4

MODULE_DIRECTORY = "/modules"
ENTRY = "/init.pyc"


def boot_parameters() -> str:
    """Kernel parameters that make the agent the guest's first process."""
    return f"rdinit={executable()} -- -X utf8 -I -S {ENTRY}"


def ensure_initramfs(root: str, modules_directory: str) -> str:
    """Return the path of the initramfs for a kernel, made if it is not there.

    Args:
        root: the engine's state root.
        modules_directory: the kernel's ``/lib/modules/<release>``.

    Raises:
        NotFound: the kernel lacks a module.
        ProaError: any other kind; nothing half made is left.
    """
    path = f"{root}/vm/initramfs/{_key(modules_directory)}.cpio"
    if os.path.exists(path):
        return path
    data = build(modules_directory)
    try:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        # QEMU opens it through its descriptor, as another user.
        save_file(path, data, mode=0o444, durable=False)
        _remove_old(os.path.dirname(path))
    except OSError as error:
        raise from_os_error(error, f"cannot write {path}") from error
    return path


def _remove_old(directory: str) -> None:
    """Keep those of a few kernels and versions; one that is gone can be made again.

    A guest that has started needs its no more.
    """
    found = [entry for entry in os.scandir(directory) if entry.name.endswith(".cpio")]
    found.sort(key=lambda entry: entry.stat().st_mtime_ns, reverse=True)
    for entry in found[_KEPT:]:
        os.unlink(entry.path)


def build(modules_directory: str) -> bytes:
    """Return the archive."""
    archive = CpioWriter()
    for name in ("dev", "proc", "sys", "run"):
        archive.add_directory(name)
    # Before the agent mounts devtmpfs: the kernel opens the console, Python the entropy pool.
    for name, major, minor in (("console", 5, 1), ("null", 1, 3), ("urandom", 1, 9)):
        archive.add_character_device(f"dev/{name}", major, minor, 0o666)
    order = []
    for module in KernelModules(modules_directory).collect(MODULES):
        archive.add_file(f"{MODULE_DIRECTORY}/{module.name}.ko", module.data)
        order.append(" ".join((module.name, *module.needs)))
    archive.add_file(f"{MODULE_DIRECTORY}/needs", "\n".join(order).encode())
    add_interpreter(archive, PACKAGES)
    archive.add_file(ENTRY, compile_module(f"{_package()}/guest/__main__.py"))
    return archive.finish()


def _package() -> str:
    return os.path.dirname(os.path.abspath(str(sys.modules["proa"].__file__)))


def _key(modules_directory: str) -> str:
    """Name of what the inputs are now; reading their contents would cost more than a start."""
    import hashlib

    digest = hashlib.sha256()
    for text in (sys.version, executable(), os.path.basename(modules_directory)):
        digest.update(text.encode() + b"\0")
    digest.update(_stamp(f"{modules_directory}/modules.builtin"))
    for parent, directories, names in os.walk(_package()):
        directories.sort()
        for name in sorted(names):
            if name.endswith(".py"):
                digest.update(name.encode() + _stamp(f"{parent}/{name}"))
    return digest.hexdigest()[:32]


def _stamp(path: str) -> bytes:
    try:
        info = os.stat(path)
    except OSError as error:
        raise from_os_error(error, f"cannot read {path}") from error
    return b"%d:%d\0" % (info.st_size, info.st_mtime_ns)
