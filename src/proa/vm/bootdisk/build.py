"""Put a bootable disk together: what the firmware finds, what the kernel mounts.

The disk is made beside its place and renamed. Its root file system is made by ``mke2fs -d`` from a
directory; a small initrd (a static busybox and a few modules) mounts it by its label and starts
the init in it.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable

import msgspec

from proa.errors import Invalid, NotFound, Unavailable, from_os_error
from proa.vm.bootdisk import gpt
from proa.vm.bootdisk.fat import build_filesystem
from proa.vm.bootdisk.uki import build_uki
from proa.vm.initramfs.cpio import CpioWriter
from proa.vm.initramfs.modules import KernelModules
from proa.vm.kernel import Kernel
from proa.vm.kernel.install import run

ROOT_LABEL = "proa-root"
MIB = 1 << 20
_SPARE_BYTES = 512 * MIB
_SPARE_RATIO = 1.25
_BUSYBOX = ("/bin/busybox", "/usr/bin/busybox", "/bin/busybox.static")
_MODULES = (
    "virtio_pci", "virtio_mmio", "virtio_blk", "virtio_scsi", "ahci", "nvme", "sd_mod", "ext4",
    "virtio_net", "virtio_rng", "virtio_balloon", "button", "evdev", "autofs4", "overlay", "fuse",
    "vfat", "e1000", "loop", "binfmt_misc",
    # For an engine inside: nothing there can look modules up (there is no modules.dep).
    "nf_tables", "nft_chain_nat", "nft_masq", "nft_redir", "nft_ct", "nft_nat", "nft_log",
    "nft_limit", "nft_reject_inet", "nft_fib_inet", "nft_numgen", "nft_hash", "nfnetlink_log",
    "nf_conntrack_netlink", "bridge", "veth", "tun", "macvlan", "ipvlan", "sch_tbf",
    "sch_ingress", "act_police", "cls_matchall", "cls_u32",
)  # fmt: skip
_COPIED_BYTES = 1 << 20

_INIT = f"""#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t devtmpfs devtmpfs /dev; mount -t proc proc /proc; mount -t sysfs sysfs /sys
for name in $(cat /modules/order); do insmod /modules/$name.ko 2>/dev/null; done
for try in 1 2 3 4 5 6 7 8 9 10; do
    root=$(findfs LABEL={ROOT_LABEL} 2>/dev/null) && break
    sleep 0.3
done
mount -t ext4 "$root" /root || exec sh
for name in dev proc sys; do mount -o move /$name /root/$name; done
init=/sbin/init
for word in $(cat /root/proc/cmdline); do
    case $word in init=*) init=${{word#init=}} ;; esac
done
exec switch_root /root "$init"
"""


class BootDisk(msgspec.Struct, frozen=True, kw_only=True):
    """What to build.

    Attributes:
        root: directory of the root file system, with an init.
        init: absolute path in it.
        kernel: an installed kernel; its modules go into the root.
        stub: systemd's EFI stub.
        size_bytes: of the root file system; 0: what its content needs and half a GiB.
        format: of the result.
    """

    root: str
    init: str
    kernel: Kernel
    stub: bytes
    size_bytes: int = 0
    format: str = "qcow2"


def build_disk(
    disk: BootDisk, path: str, workspace: str, progress: Callable[[str], None] = lambda _: None
) -> None:
    """Write a disk.

    Args:
        disk: what.
        path: where; replaced if it is there.
        workspace: an empty directory on a disk with room, for what is made on the way.

    Raises:
        NotFound: the root has no such init.
        Unavailable: a tool is missing or failed.
        ProaError: any other kind; nothing is at ``path`` that was not before.
    """
    progress("making the root file system")
    root_image = f"{workspace}/root.ext4"
    content_bytes = _tree_bytes(disk.root) + (
        _tree_bytes(disk.kernel.modules) if disk.kernel.modules else 0
    )
    size_bytes = disk.size_bytes or int(content_bytes * _SPARE_RATIO) + _SPARE_BYTES
    if size_bytes < content_bytes:
        raise Invalid(
            f"{size_bytes} bytes are too few for {content_bytes} bytes of files",
            "give it a larger --size",
        )
    size_bytes = -(-size_bytes // MIB) * MIB
    _make_root(disk.root, root_image, size_bytes)
    progress("making the kernel image")
    uki = build_uki(
        disk.stub,
        (
            (".cmdline", _command_line(disk.init).encode()),
            (".initrd", _build_initrd(disk.kernel)),
            (".linux", _load(disk.kernel.image)),
        ),
    )
    name = "BOOTX64.EFI" if disk.kernel.architecture == "x86_64" else "BOOTAA64.EFI"
    progress("putting the disk together")
    raw = f"{workspace}/disk.raw"
    try:
        _assemble(raw, build_filesystem(f"EFI/BOOT/{name}", uki), root_image, disk.kernel)
        os.unlink(root_image)
        if disk.format == "raw":
            os.replace(raw, f"{path}.part")
        else:
            run(["qemu-img", "convert", "-O", disk.format, raw, f"{path}.part"], "cannot convert")
        os.rename(f"{path}.part", path)
    except OSError as error:
        raise from_os_error(error, f"cannot write {path}") from error


def _make_root(directory: str, image: str, size_bytes: int) -> None:
    with open(image, "wb") as stream:
        stream.truncate(size_bytes)
    run(
        ["mke2fs", "-q", "-F", "-t", "ext4", "-L", ROOT_LABEL, "-d", directory, image],
        "cannot make the root file system",
    )


def _command_line(init: str) -> str:
    return f"root=LABEL={ROOT_LABEL} rw console=tty0 console=ttyS0 init={init}\0"


def _build_initrd(kernel: Kernel) -> bytes:
    archive = CpioWriter()
    for name in ("dev", "proc", "sys", "root", "bin"):
        archive.add_directory(name)
    for name, major, minor in (("console", 5, 1), ("null", 1, 3)):
        archive.add_character_device(f"dev/{name}", major, minor)
    archive.add_file("bin/busybox", _load(_find_busybox()), 0o755)
    archive.add_file("init", _INIT.encode(), 0o755)
    found: dict[str, bytes] = {}
    if kernel.modules:
        modules = KernelModules(kernel.modules)
        for name in _MODULES:
            try:
                found.update((module.name, module.data) for module in modules.collect((name,)))
            except NotFound:
                # A cloud kernel has no drivers of real machines.
                continue
    for name, data in found.items():
        archive.add_file(f"modules/{name}.ko", data)
    archive.add_file("modules/order", "\n".join(found).encode())
    return archive.finish()


def _find_busybox() -> str:
    for path in _BUSYBOX:
        if os.access(path, os.X_OK):
            return path
    raise Unavailable("busybox is not installed", "apt-get install busybox-static")


def _assemble(path: str, esp: bytes, root_image: str, kernel: Kernel) -> None:
    align = gpt.FIRST_LBA
    esp_sectors = len(esp) // gpt.SECTOR_BYTES
    root_lba = -(-(align + esp_sectors) // align) * align
    root_sectors = os.path.getsize(root_image) // gpt.SECTOR_BYTES
    total = root_lba + root_sectors + align
    head, tail = gpt.build_table(
        uuid.uuid4(),
        (
            gpt.Partition(
                kind=gpt.EFI_SYSTEM, identity=uuid.uuid4(), first_lba=align, sectors=esp_sectors,
                name="esp",
            ),
            gpt.Partition(
                kind=gpt.LINUX_ROOT[kernel.architecture], identity=uuid.uuid4(),
                first_lba=root_lba, sectors=root_sectors, name="root",
            ),
        ),
        total,
    )  # fmt: skip
    with open(path, "wb") as stream, open(root_image, "rb") as source:
        stream.truncate(total * gpt.SECTOR_BYTES)
        stream.write(head)
        stream.seek(align * gpt.SECTOR_BYTES)
        stream.write(esp)
        _copy_sparse(source.fileno(), stream.fileno(), root_lba * gpt.SECTOR_BYTES)
        stream.seek(total * gpt.SECTOR_BYTES - len(tail))
        stream.write(tail)


def _copy_sparse(source_fd: int, target_fd: int, offset: int) -> None:
    """Copy a sparse file's data into another file, holes left out."""
    size = os.fstat(source_fd).st_size
    position = 0
    while position < size:
        try:
            start = os.lseek(source_fd, position, os.SEEK_DATA)
        except OSError:
            # Nothing but a hole is left.
            return
        position = os.lseek(source_fd, start, os.SEEK_HOLE)
        while start < position:
            data = os.pread(source_fd, min(_COPIED_BYTES, position - start), start)
            os.pwrite(target_fd, data, offset + start)
            start += len(data)


def _tree_bytes(directory: str) -> int:
    total = 0
    for parent, _, names in os.walk(directory):
        for name in names:
            total += os.lstat(f"{parent}/{name}").st_blocks * 512 + 512
    return total


def _load(path: str) -> bytes:
    try:
        with open(path, "rb") as stream:
            return stream.read()
    except OSError as error:
        raise from_os_error(error, f"cannot read {path}") from error
