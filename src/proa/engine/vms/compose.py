"""From a machine's record to what QEMU is told."""

from __future__ import annotations

import os

import msgspec

from proa.engine.vmmodel import VmConfig, VmDisk, VmRecord
from proa.errors import Conflict, NotFound, Unavailable
from proa.vm.accel import Acceleration
from proa.vm.qemu.machine import Disk, File, FirmwareBoot, KernelBoot, Machine, UserNetwork

OVMF_CODE = ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_CODE.fd")
OVMF_VARIABLES = ("/usr/share/OVMF/OVMF_VARS_4M.fd", "/usr/share/OVMF/OVMF_VARS.fd")


def compose_machine(record: VmRecord, directory: str, acceleration: Acceleration) -> Machine:
    """Describe the machine; console and monitor are the supervisor's to add.

    Raises:
        NotFound: a file that the machine needs is gone.
        Conflict: a base image was changed since the machine was made.
        Unavailable: UEFI firmware is not installed.
    """
    config = record.config
    return Machine(
        name=record.name,
        board="q35",
        accelerator=acceleration.accelerator,
        cpu=config.cpu,
        vcpus=config.vcpus,
        memory_bytes=config.memory_bytes,
        boot=_boot(config, directory),
        disks=_disks(config, directory),
        networks=_networks(record),
        balloon=True,
        vmgenid=True,
        reboots=True,
        display=config.display,
    )


def disk_path(directory: str, index: int) -> str:
    """Where a machine's own copy of its disk is."""
    return f"{directory}/disk{index}.qcow2"


def stamp(path: str) -> tuple[int, int]:
    """What tells whether a base image was changed.

    Raises:
        NotFound: it is gone.
    """
    try:
        status = os.stat(path)
    except OSError as error:
        raise NotFound(f"the base image {path} is not there", "put it back") from error
    return status.st_size, status.st_mtime_ns


def find_firmware(candidates: tuple[str, ...]) -> str:
    """Path of UEFI firmware.

    Raises:
        Unavailable: it is not installed.
    """
    for path in candidates:
        if os.path.exists(path):
            return path
    raise Unavailable("UEFI firmware is not installed", "apt-get install ovmf")


def _boot(config: VmConfig, directory: str) -> KernelBoot | FirmwareBoot:
    if config.kernel:
        return KernelBoot(
            kernel=File(config.kernel),
            initrd=File(config.initrd) if config.initrd else None,
            command_line=config.command_line,
        )
    if config.firmware == "bios":
        return FirmwareBoot()
    return FirmwareBoot(
        code=File(find_firmware(OVMF_CODE)),
        variables=File(f"{directory}/efivars.fd", writable=True),
    )


def _disks(config: VmConfig, directory: str) -> tuple[Disk, ...]:
    disks = [_disk(disk, directory, index) for index, disk in enumerate(config.disks)]
    if config.cdrom:
        disks.append(Disk(source=File(config.cdrom), serial="cdrom", discard=False))
    return tuple(disks)


def _disk(disk: VmDisk, directory: str, index: int) -> Disk:
    described = Disk(
        source=File(disk_path(directory, index), writable=True),
        format="qcow2",
        serial=f"disk{index}",
    )
    if not disk.base:
        return described
    if stamp(disk.base) != disk.base_stamp:
        raise Conflict(
            f"the base image {disk.base} was changed since the machine was made",
            "restore it: the machine's own disk holds only what differs from it",
        )
    return msgspec.structs.replace(
        described, backing=File(disk.base), backing_format=disk.base_format
    )


def _networks(record: VmRecord) -> tuple[UserNetwork, ...]:
    if record.config.network == "none":
        return ()
    forwards = tuple(
        (port.host_ip or "0.0.0.0", port.host_port, port.container_port)
        for port in record.config.ports
    )
    mac = "52:54:00:" + ":".join(record.id[start : start + 2] for start in (0, 2, 4))
    return (UserNetwork(mac=mac, forwards=forwards),)
