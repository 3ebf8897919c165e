"""A virtual machine as data: what :func:`proa.vm.qemu.argv.build_command` turns into arguments.

Nothing here names a host path on QEMU's command line. Files and sockets are a :class:`Source`:
either a path that the engine opens with its own rights (:class:`File`) or a descriptor that the
caller has (:class:`Inherited`, borrowed: the caller closes its own copy). QEMU gets descriptors
only, so that it needs no access to any directory of the host.

Words of users (names, tags, serial numbers) are :data:`Word`: letters, digits and ``._-``.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Accelerator = Literal["kvm", "tcg", "hvf", "whpx"]
Board = Literal["microvm", "q35", "virt"]
"""``microvm``: x86-64, virtio-mmio, starts in half the time; ``q35``: x86-64 with PCI, BIOS or
UEFI, runs any operating system; ``virt``: arm64."""


class File(msgspec.Struct, frozen=True):
    """A host file, opened when the machine is started.

    Attributes:
        path: absolute.
        writable: open read-write; otherwise the guest cannot change it whatever it does.
    """

    path: str
    writable: bool = False


class Inherited(msgspec.Struct, frozen=True):
    """A descriptor of the caller; QEMU gets a duplicate.

    Attributes:
        fd: stays the caller's.
        writable: for disks: it was opened read-write.
    """

    fd: int
    writable: bool = False


Source = File | Inherited


class KernelBoot(msgspec.Struct, frozen=True, kw_only=True):
    """Boot a Linux kernel directly.

    Attributes:
        kernel: on ``microvm`` an uncompressed ``vmlinux`` with a PVH note
            (:func:`proa.vm.kernel.vmlinux.ensure_vmlinux`): qboot starts it in a third of the
            time. A bzImage works everywhere.
        initrd: newc archive, also uncompressed.
        command_line: kernel parameters, at most 2047 bytes, any characters but NUL and newline; see
            :func:`proa.vm.qemu.argv.tuned_parameters` for those that a machine needs.
    """

    kernel: Source
    initrd: Source | None = None
    command_line: str = ""


class FirmwareBoot(msgspec.Struct, frozen=True, kw_only=True):
    """Boot what is on the disks, in their order.

    Attributes:
        code: read-only UEFI image (OVMF_CODE); None: BIOS (SeaBIOS, part of QEMU's packages).
        variables: writable UEFI variable store of this machine (a copy of OVMF_VARS).
    """

    code: Source | None = None
    variables: Source | None = None


class Throttle(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of one disk a second; 0: no limit (QEMU's throttle groups)."""

    read_bps: int = 0
    write_bps: int = 0
    read_iops: int = 0
    write_iops: int = 0


class Disk(msgspec.Struct, frozen=True, kw_only=True):
    """A virtio block device.

    Attributes:
        source: what holds the data; ``writable`` of it decides whether the guest may write.
        format: how ``source`` is laid out.
        backing: base image of a ``qcow2`` source, given explicitly: the name in the file's header
            is never followed. Read-only.
        backing_format: layout of ``backing``.
        serial: shown to the guest (``/sys/block/vdX/serial``), a word of at most 20 characters.
        cache: ``writeback`` honours the guest's flushes; ``unsafe`` ignores them (for data that
            can be made again); ``none`` bypasses the host's page cache.
        discard: let the guest's TRIM punch holes.
        extents: for a disk joined from parts (``format="raw"``, read-only): the parts in order,
            each a multiple of 512 bytes; ``source`` is then ignored. The guest sees one disk of the
            sum of their sizes and adds partitions with BLKPG.
    """

    source: Source | None = None
    format: Literal["raw", "qcow2"] = "raw"
    backing: Source | None = None
    backing_format: Literal["raw", "qcow2"] = "qcow2"
    serial: str = ""
    cache: Literal["writeback", "unsafe", "none"] = "writeback"
    discard: bool = True
    throttle: Throttle = Throttle()
    extents: tuple[Source, ...] = ()


class Port(msgspec.Struct, frozen=True, kw_only=True):
    """A virtio-serial port, ``/dev/virtio-ports/<name>`` in the guest.

    Attributes:
        socket: a connected stream socket; QEMU's end.
    """

    name: str
    socket: Source


class Tap(msgspec.Struct, frozen=True, kw_only=True):
    """A network card on a tap device.

    Attributes:
        fd: ``/dev/net/tun`` after TUNSETIFF, with IFF_VNET_HDR; may be of another network
            namespace.
        mac: ``02:42:...``.
    """

    fd: Source
    mac: str


class UserNetwork(msgspec.Struct, frozen=True, kw_only=True):
    """A network card behind QEMU's own user-mode NAT: needs no privileges, works on every host.

    QEMU must then live in a network namespace that reaches the outside
    (:attr:`proa.vm.qemu.process.Confinement.network`).

    Attributes:
        forwards: ``(host address, host port, guest port)`` of forwarded TCP ports.
        subnet: of the guest, IPv4 with prefix.
    """

    mac: str
    forwards: tuple[tuple[str, int, int], ...] = ()
    subnet: str = "10.0.2.0/24"


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """A directory served by a virtiofsd.

    Attributes:
        tag: ``mount -t virtiofs <tag>`` in the guest, a word of at most 35 characters.
        socket: connected vhost-user socket; needs ``memory_shared``.
    """

    tag: str
    socket: Source


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """One virtual machine.

    Attributes:
        name: shown by ps(1); a word.
        board: what it is made like.
        cpu: model and features for ``-cpu`` (``host``, ``qemu64,+rdrand``); empty: the best choice
            for the accelerator.
        vcpus: virtual CPUs that are there from the start.
        memory_bytes: RAM, a multiple of 1 MiB.
        memory_shared: back it with a memfd that vhost-user daemons can map.
        memory_file: back it with this file (templates): ``memory_shared`` says whether the guest's
            writes reach the file (saving a template) or stay private (cloning it, ``False``).
        boot: a kernel, or firmware.
        disks: at most 22 on ``microvm``.
        ports: virtio-serial ports in order; number 1 is the first.
        console: first serial line of the machine (``ttyS0``, ``ttyAMA0``): a connected stream
            socket that somebody drains, or a file opened for writing; None: there is none.
        qmp: monitor, a connected stream socket; None: no monitor.
        networks: network cards in order.
        shares: virtiofs directories.
        balloon: a balloon with free page reporting: memory that the guest frees goes back.
        vmgenid: a VM generation id (``q35`` and ``virt`` only).
        incoming: wait for ``migrate-incoming`` instead of booting (restore).
        paused: do not start the CPUs before ``cont``.
        reboots: the guest may reboot; False: a reboot ends QEMU, as a panic does.
        display: a VGA adapter and a keyboard, for systems that want one (nobody looks at it).
    """

    name: str
    board: Board = "microvm"
    accelerator: Accelerator = "tcg"
    cpu: str = ""
    vcpus: int = 1
    memory_bytes: int
    memory_shared: bool = False
    memory_file: Source | None = None
    boot: KernelBoot | FirmwareBoot
    disks: tuple[Disk, ...] = ()
    ports: tuple[Port, ...] = ()
    console: Source | None = None
    qmp: Source | None = None
    networks: tuple[Tap | UserNetwork, ...] = ()
    shares: tuple[Share, ...] = ()
    balloon: bool = False
    vmgenid: bool = False
    incoming: bool = False
    paused: bool = False
    reboots: bool = False
    display: bool = False


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """What :func:`proa.vm.qemu.process.spawn` executes.

    Attributes:
        argv: the arguments, the program's name first.
        sources: source ``n`` becomes descriptor ``FIRST_FD + n`` of QEMU.
        texts: source ``n`` of ``sources`` is a memfd with this content when ``n`` is a key.
    """

    argv: tuple[str, ...]
    sources: tuple[Source, ...]
    texts: dict[int, str] = {}


FIRST_FD = 3
"""Descriptors 0 to 2 of QEMU are /dev/null and its log."""
