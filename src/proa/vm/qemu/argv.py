"""From a machine's description to QEMU's arguments: a pure function.

Everything structured is passed as JSON (``-blockdev``, ``-device``, ``-object``: QEMU's
"JSON syntax" of qemu(1)), so that no value can end its option; the few options that only know
``key=value,...`` get words that were checked (:func:`check_word`), and a kernel command line is an
argument of its own. Files and sockets appear as numbers of descriptors (``/dev/fdset/N``,
``fd=N``).

Sources: qemu(1), ``docs/system/i386/microvm.rst``, QAPI reference (BlockdevOptions,
ObjectOptions).
"""

from __future__ import annotations

import json
import re

from proa.errors import Invalid
from proa.vm.qemu.machine import (
    FIRST_FD,
    Board,
    Command,
    Disk,
    FirmwareBoot,
    Inherited,
    KernelBoot,
    Machine,
    Source,
    Tap,
    UserNetwork,
)

MIB = 1 << 20
COMMAND_LINE_MAX = 2047
"""COMMAND_LINE_SIZE of x86 is 2048 with the final NUL."""
MICROVM_DISKS_MAX = 22
"""microvm has 24 virtio-mmio slots; two are kept for the serial bus and a network card."""

QBOOT = "qboot.rom"
SANDBOX = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"

_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_CPU = re.compile(r"[A-Za-z0-9_.-]+(,[+-]?[A-Za-z0-9_.-]+(=[A-Za-z0-9_.-]+)?)*")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_ADDRESS = re.compile(r"[0-9.]+")
_SUBNET = re.compile(r"[0-9.]+/[0-9]+")

_PROGRAMS: dict[Board, str] = {
    "microvm": "qemu-system-x86_64",
    "q35": "qemu-system-x86_64",
    "virt": "qemu-system-aarch64",
}


def build_command(machine: Machine) -> Command:
    """Arguments and descriptors of one machine.

    Raises:
        Invalid: a word, size or combination that QEMU cannot be given; the message names it.
    """
    return _Builder(machine).build()


def program_of(board: Board) -> str:
    """Name of the program that emulates a board."""
    return _PROGRAMS[board]


def check_word(what: str, word: str, limit: int = 64) -> str:
    """Return ``word`` if it can stand in any option of QEMU.

    Raises:
        Invalid: it is empty, too long, or has a character that means something to QEMU.
    """
    if len(word) > limit or not _WORD.fullmatch(word):
        raise Invalid(
            f"{what} {word[:80]!r} is not usable for a virtual machine",
            f"use at most {limit} letters, digits and ._- (a letter or digit first)",
        )
    return word


def tuned_parameters(machine: Machine, tsc_khz: int) -> str:
    """Kernel parameters that this machine needs to start reliably and fast.

    Without ``tsc_early_khz`` a guest under TCG calibrates its clock against emulated timers and
    hangs at random (10 of 15 on ``microvm``; docs/explanation/vm.md).

    Args:
        tsc_khz: :func:`proa.vm.accel.choose_accelerator`'s ``tsc_khz``; 0: unknown.
    """
    words = ["quiet", "panic=-1", "cryptomgr.notests=1"]
    if machine.board != "virt":
        words += ["noreplace-smp", "tsc=nowatchdog", "reboot=t"]
        if tsc_khz and machine.accelerator == "tcg":
            words.append(f"tsc_early_khz={tsc_khz}")
    if machine.console is None and machine.board != "virt":
        words.append("8250.nr_uarts=0")
    elif machine.console is not None:
        words.insert(0, "console=ttyAMA0" if machine.board == "virt" else "console=ttyS0")
    return " ".join(words)


class _Builder:
    """Collects arguments and sources of one machine."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._argv: list[str] = []
        self._sources: list[Source] = []
        self._texts: dict[int, str] = {}
        # Devices that have no bus to be found on are virtio-mmio ones.
        mmio = machine.board == "microvm" or (
            machine.board == "virt" and isinstance(machine.boot, KernelBoot)
        )
        self._bus = "device" if mmio else "pci"

    def build(self) -> Command:
        machine = self._machine
        self._check()
        self._add(program_of(machine.board))
        self._add("-name", f"guest={machine.name},debug-threads=on")
        self._add("-no-user-config", "-nodefaults", "-display", "none", "-sandbox", SANDBOX)
        self._add_board()
        self._add_boot()
        self._add_console()
        self._add_ports()
        for index, disk in enumerate(machine.disks):
            self._add_disk(index, disk)
        for index, network in enumerate(machine.networks):
            self._add_network(index, network)
        for index, share in enumerate(machine.shares):
            check_word("the tag", share.tag, 35)
            self._add("-chardev", f"socket,id=share{index},fd={self._fd(share.socket)}")
            self._device(f"vhost-user-fs-{self._bus}", chardev=f"share{index}", tag=share.tag)
        self._add_extras()
        return Command(
            argv=tuple(self._argv), sources=tuple(self._sources), texts=dict(self._texts)
        )

    def _check(self) -> None:
        machine = self._machine
        check_word("the name", machine.name)
        if machine.memory_bytes <= 0 or machine.memory_bytes % MIB:
            raise Invalid(
                f"memory of {machine.memory_bytes} bytes is not a whole number of MiB",
                "round it up to a multiple of 1 MiB",
            )
        if not 1 <= machine.vcpus <= 255:
            raise Invalid(f"{machine.vcpus} virtual CPUs: a machine has 1 to 255")
        if machine.cpu and not _CPU.fullmatch(machine.cpu):
            raise Invalid(f"CPU model {machine.cpu[:80]!r} is not a QEMU CPU model")
        if machine.board == "microvm":
            if len(machine.disks) > MICROVM_DISKS_MAX:
                raise Invalid(
                    f"{len(machine.disks)} disks: microvm has room for {MICROVM_DISKS_MAX}",
                    "join read-only ones (Disk.extents)",
                )
            if not isinstance(machine.boot, KernelBoot):
                raise Invalid("microvm boots a kernel, not firmware", "use board q35")
        if machine.shares and not machine.memory_shared:
            raise Invalid("shared directories need memory_shared")

    def _add(self, *words: str) -> None:
        self._argv += words

    def _device(self, driver: str, **properties: object) -> None:
        self._add("-device", _json({"driver": driver, **properties}))

    def _object(self, kind: str, name: str, **properties: object) -> None:
        self._add("-object", _json({"qom-type": kind, "id": name, **properties}))

    def _fd(self, source: Source) -> int:
        self._sources.append(source)
        return FIRST_FD + len(self._sources) - 1

    def _text(self, text: str) -> int:
        fd = self._fd(Inherited(-1))
        self._texts[fd - FIRST_FD] = text
        return fd

    def _fdset(self, fd: int) -> str:
        # One set for each descriptor; a set may be opened again and again by its number.
        self._add("-add-fd", f"fd={fd},set={fd}")
        return f"/dev/fdset/{fd}"

    def _add_board(self) -> None:
        machine = self._machine
        options = {
            "microvm": "microvm,acpi=on",
            "q35": "q35,vmport=off",
            "virt": "virt,gic-version=3",
        }
        board = options[machine.board]
        if machine.memory_file is not None or machine.memory_shared:
            self._add_memory()
            board += ",memory-backend=ram"
        if isinstance(machine.boot, FirmwareBoot) and machine.boot.code is not None:
            board += self._add_flash(machine.boot)
        self._add("-machine", board)
        self._add(
            "-accel", "tcg,thread=multi" if machine.accelerator == "tcg" else machine.accelerator
        )
        self._add("-cpu", machine.cpu or _default_cpu(machine))
        self._add("-smp", str(machine.vcpus), "-m", f"{machine.memory_bytes // MIB}M")
        if machine.board == "microvm":
            # vhost-user devices speak virtio 1 only.
            self._add("-global", "virtio-mmio.force-legacy=false")

    def _add_memory(self) -> None:
        machine = self._machine
        if machine.memory_file is None:
            self._object("memory-backend-memfd", "ram", size=machine.memory_bytes, share=True)
            return
        self._object(
            "memory-backend-file",
            "ram",
            size=machine.memory_bytes,
            share=machine.memory_shared,
            **{"mem-path": f"/proc/self/fd/{self._fd(machine.memory_file)}"},
        )

    def _add_flash(self, boot: FirmwareBoot) -> str:
        assert boot.code is not None  # the caller looked
        names = ""
        for index, source in enumerate((boot.code, boot.variables)):
            if source is None:
                continue
            node = {
                "driver": "raw",
                "node-name": f"flash{index}",
                "read-only": not source.writable,
                "file": {"driver": "file", "filename": self._fdset(self._fd(source))},
            }
            self._add("-blockdev", _json(node))
            names += f",pflash{index}=flash{index}"
        return names

    def _add_boot(self) -> None:
        machine, boot = self._machine, self._machine.boot
        if not machine.reboots:
            self._add("-no-reboot")
        if machine.incoming:
            self._add("-incoming", "defer")
        if machine.paused:
            self._add("-S")
        if isinstance(boot, FirmwareBoot):
            return
        line = boot.command_line
        if len(line.encode()) > COMMAND_LINE_MAX or "\0" in line or "\n" in line:
            raise Invalid("the kernel command line is too long or has a newline or NUL in it")
        if machine.board == "microvm":
            self._add("-bios", QBOOT)
        self._add("-kernel", f"/proc/self/fd/{self._fd(boot.kernel)}")
        if boot.initrd is not None:
            self._add("-initrd", f"/proc/self/fd/{self._fd(boot.initrd)}")
        self._add("-append", line)

    def _add_console(self) -> None:
        machine = self._machine
        if machine.qmp is not None:
            self._add("-chardev", f"socket,id=qmp,fd={self._fd(machine.qmp)}")
            self._add("-mon", "chardev=qmp,mode=control")
        if machine.console is None:
            self._add("-serial", "none")
            return
        if isinstance(machine.console, Inherited):
            self._add("-chardev", f"socket,id=console,fd={self._fd(machine.console)}")
        else:
            path = self._fdset(self._fd(machine.console))
            self._add("-chardev", f"file,id=console,path={path},append=on")
        self._add("-serial", "chardev:console")

    def _add_ports(self) -> None:
        ports = self._machine.ports
        if not ports:
            return
        self._device(f"virtio-serial-{self._bus}", id="ports", max_ports=len(ports) + 1)
        for number, port in enumerate(ports, 1):
            check_word("the port", port.name)
            self._add("-chardev", f"socket,id=port{number},fd={self._fd(port.socket)}")
            self._device("virtserialport", chardev=f"port{number}", name=port.name, nr=number)

    def _add_disk(self, index: int, disk: Disk) -> None:
        node: dict[str, object] = {"node-name": f"disk{index}"}
        writable = False
        if disk.extents:
            node |= {"driver": "vmdk", "file": self._file(self._text_extents(disk), disk)}
        elif disk.source is not None:
            writable = disk.source.writable
            node |= {
                "driver": disk.format,
                "file": self._file(self._fdset(self._fd(disk.source)), disk),
            }
            if disk.format == "qcow2":
                node["backing"] = self._backing(disk)
        else:
            raise Invalid(f"disk {index} has neither a source nor extents")
        node |= {"read-only": not writable, "cache": _cache(disk)}
        if disk.discard and writable:
            node |= {"discard": "unmap", "detect-zeroes": "unmap"}
        throttle = {
            "bps-read": disk.throttle.read_bps,
            "bps-write": disk.throttle.write_bps,
            "iops-read": disk.throttle.read_iops,
            "iops-write": disk.throttle.write_iops,
        }
        name = f"disk{index}"
        # A group that is always there can be given limits later (qom-set of its "limits").
        if writable or any(throttle.values()):
            self._object("throttle-group", f"throttle{index}", limits=throttle)
            name = f"throttled{index}"
            node = {
                "driver": "throttle",
                "node-name": name,
                "throttle-group": f"throttle{index}",
                "file": node,
            }
        self._add("-blockdev", _json(node))
        properties: dict[str, object] = {"drive": name, "id": f"vd{index}"}
        if disk.serial:
            properties["serial"] = check_word("the serial number", disk.serial, 20)
        self._device(f"virtio-blk-{self._bus}", **properties)

    def _file(self, filename: str, disk: Disk) -> dict[str, object]:
        node: dict[str, object] = {"driver": "file", "filename": filename, "cache": _cache(disk)}
        if disk.discard and disk.source is not None and disk.source.writable:
            node["discard"] = "unmap"
        return node

    def _backing(self, disk: Disk) -> dict[str, object] | None:
        if disk.backing is None:
            return None
        node: dict[str, object] = {
            "driver": disk.backing_format,
            "read-only": True,
            "file": {
                "driver": "file",
                "filename": self._fdset(self._fd(disk.backing)),
                "read-only": True,
            },
        }
        if disk.backing_format == "qcow2":
            node["backing"] = None
        return node

    def _text_extents(self, disk: Disk) -> str:
        from proa.vm.qemu.extents import write_descriptor

        paths = [self._fdset(self._fd(source)) for source in disk.extents]
        return self._fdset(self._text(write_descriptor(disk.extents, paths)))

    def _add_network(self, index: int, network: Tap | UserNetwork) -> None:
        if not _MAC.fullmatch(network.mac):
            raise Invalid(f"hardware address {network.mac[:40]!r} is not like 02:42:ac:11:00:02")
        if isinstance(network, Tap):
            self._add("-netdev", f"tap,id=net{index},fd={self._fd(network.fd)}")
        else:
            if not _SUBNET.fullmatch(network.subnet):
                raise Invalid(f"subnet {network.subnet[:40]!r} is not like 10.0.2.0/24")
            options = f"user,id=net{index},ipv6=off,net={network.subnet}"
            for address, host_port, guest_port in network.forwards:
                if address and not _ADDRESS.fullmatch(address):
                    raise Invalid(f"forwarded address {address[:40]!r} is not an IPv4 address")
                options += f",hostfwd=tcp:{address}:{host_port:d}-:{guest_port:d}"
            self._add("-netdev", options)
        extra: dict[str, object] = {} if self._bus == "device" else {"romfile": ""}
        self._device(
            f"virtio-net-{self._bus}",
            netdev=f"net{index}",
            mac=network.mac,
            id=f"nic{index}",
            **extra,
        )

    def _add_extras(self) -> None:
        machine = self._machine
        if machine.balloon:
            self._device(
                f"virtio-balloon-{self._bus}",
                id="balloon",
                **{"free-page-reporting": True, "deflate-on-oom": True},
            )
        if machine.vmgenid:
            self._device("vmgenid", guid="auto")
        if isinstance(machine.boot, FirmwareBoot):
            self._object("rng-builtin", "entropy")
            self._device(f"virtio-rng-{self._bus}", rng="entropy")
        if machine.display:
            self._device("VGA")
            self._device("qemu-xhci")
            self._device("usb-kbd")


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def _cache(disk: Disk) -> dict[str, bool]:
    return {"direct": disk.cache == "none", "no-flush": disk.cache == "unsafe"}


def _default_cpu(machine: Machine) -> str:
    if machine.accelerator in ("kvm", "hvf"):
        return "host"
    if machine.board == "virt":
        return "cortex-a57"
    if machine.accelerator == "whpx":
        return "qemu64"
    # The microvm runs our own guest, which needs an entropy source and nothing else; foreign
    # systems may be built for later levels of x86-64.
    return "qemu64,+rdrand" if machine.board == "microvm" else "max"
