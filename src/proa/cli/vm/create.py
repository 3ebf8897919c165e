"""``proa vm create``: make a virtual machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proa.cli.invocation import Invocation
from proa.cli.kinds import BOOL, BYTES, LIST, STRING, UNSIGNED, repeated
from proa.cli.parser import Command, Flag
from proa.cli.runflags import values
from proa.cli.runflags.network import read_publish
from proa.errors import Invalid

if TYPE_CHECKING:
    from proa.engine.vmmodel import VmConfig

NAME = Flag("name", STRING, "Assign a name to the machine")
DISK = Flag("disk", LIST, "Image to make a copy-on-write disk of (qcow2 or raw); the first boots")
DISK_SIZE = Flag("disk-size", BYTES, "Size of the first disk; without --disk an empty one")
DISK_FORMAT = Flag("disk-format", STRING, "Format of the images: qcow2 or raw (default: look)")
CDROM = Flag("cdrom", STRING, "ISO image to boot from when no disk boots")
FIRMWARE = Flag("firmware", STRING, "Firmware: bios or uefi", default="bios")
KERNEL = Flag("kernel", STRING, "Boot this Linux kernel instead of the disk")
INITRD = Flag("initrd", STRING, "Initial RAM disk of the kernel")
APPEND = Flag("append", STRING, "Parameters of the kernel")
CPUS = Flag("cpus", UNSIGNED, "Number of CPUs", default=1)
CPU = Flag("cpu", STRING, "Model of the CPU (QEMU's words)")
MEMORY = Flag("memory", BYTES, "Memory (default 1 GiB)", short="m")
NETWORK = Flag("network", STRING, "Network: user (behind NAT, with DHCP) or none", default="user")
PUBLISH = Flag(
    "publish", repeated("list", read_publish), "Lead a TCP port of the host into the machine", "p"
)
ACCEL = Flag("vm-accel", STRING, "Accelerator: auto, kvm or tcg", default="auto")
DISPLAY = Flag("display", BOOL, "Give it a graphics adapter and a keyboard")
LABEL = Flag("label", repeated("list", values.read_label), "Set metadata for a machine")

COMMAND = Command(
    words="vm create",
    usage="[OPTIONS] [NAME]",
    summary="Create a virtual machine from disk images of any system",
    flags=(
        ACCEL, APPEND, CDROM, CPU, CPUS, DISK, DISK_FORMAT, DISK_SIZE, DISPLAY, FIRMWARE, INITRD,
        KERNEL, LABEL, MEMORY, NAME, NETWORK, PUBLISH,
    ),
    most=1,
    details="Images are shared and never written: what the machine writes is kept beside them.",
)  # fmt: skip

_MIB = 1 << 20


def execute(call: Invocation) -> int:
    """Make the machine and print its id."""
    name = call[NAME]
    if call.arguments and name:
        raise Invalid("the name is given twice", "give it as argument or with --name")
    record = call.engine.vms.create(
        call.arguments[0] if call.arguments else name,
        config=_config(call),
        disks=[call.io.path(path) for path in call[DISK]],
        disk_size_bytes=call[DISK_SIZE],
        disk_format=_one_of("--disk-format", call[DISK_FORMAT], ("", "qcow2", "raw")),
    )
    call.io.out(record.id)
    return 0


def _config(call: Invocation) -> VmConfig:
    import msgspec

    from proa.engine.vmmodel import VmConfig

    labels: tuple[tuple[str, str], ...] = call[LABEL]
    words = {
        "firmware": _one_of("--firmware", call[FIRMWARE], ("bios", "uefi")),
        "network": _one_of("--network", call[NETWORK], ("user", "none")),
        "accelerator": _one_of("--vm-accel", call[ACCEL], ("auto", "kvm", "tcg")),
    }
    config = VmConfig(
        cdrom=_path(call, call[CDROM]),
        kernel=_path(call, call[KERNEL]),
        initrd=_path(call, call[INITRD]),
        command_line=call[APPEND],
        vcpus=call[CPUS],
        cpu=call[CPU],
        ports=tuple(port for ports in call[PUBLISH] for port in ports),
        display=call[DISPLAY],
        labels=dict(labels),
    )
    if call[MEMORY]:
        config = msgspec.structs.replace(config, memory_bytes=-(-call[MEMORY] // _MIB) * _MIB)
    return msgspec.convert({**msgspec.to_builtins(config), **words}, VmConfig)


def _one_of(flag: str, word: str, words: tuple[str, ...]) -> str:
    if word not in words:
        known = ", ".join(word for word in words if word)
        raise Invalid(f"invalid argument {word!r} for {flag}", f"use one of {known}")
    return word


def _path(call: Invocation, path: str) -> str:
    return call.io.path(path) if path else ""
