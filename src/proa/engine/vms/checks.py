"""What a new machine is checked for before anything of it is made."""

from __future__ import annotations

import os

from proa.engine.vmmodel import VmConfig, VmDisk
from proa.engine.vms.compose import stamp
from proa.errors import Invalid
from proa.vm.qemu.argv import MIB, build_command
from proa.vm.qemu.images import inspect_image
from proa.vm.qemu.machine import File, FirmwareBoot, KernelBoot, Machine


def describe_disk(path: str, disk_format: str) -> VmDisk:
    """A copy-on-write disk of an image.

    Raises:
        ProaError: it cannot be read, or is no image that machines can use.
    """

    info = inspect_image(path, disk_format)
    return VmDisk(
        base=path, base_format=info.format, base_stamp=stamp(path), size_bytes=info.size_bytes
    )


def check_config(config: VmConfig) -> None:
    """Refuse what QEMU would refuse at the first start.

    Raises:
        Invalid: the message names the word.
    """

    if config.memory_bytes < 16 * MIB:
        raise Invalid("a machine needs at least 16 MiB of memory")
    for path in (config.cdrom, config.kernel, config.initrd):
        if path and not os.access(path, os.R_OK):
            raise Invalid(f"{path} cannot be read", "name a readable file")
    if config.ports and config.network == "none":
        raise Invalid("ports need a network", "leave out --network none")
    for port in config.ports:
        if port.protocol != "tcp" or not port.host_port:
            raise Invalid(
                "a machine's ports are TCP ports of the host that are named", "-p 127.0.0.1:2222:22"
            )
    boot: KernelBoot | FirmwareBoot = FirmwareBoot()
    if config.kernel:
        boot = KernelBoot(kernel=File(config.kernel), command_line=config.command_line)
    build_command(
        Machine(
            name="check",
            board="q35",
            cpu=config.cpu,
            vcpus=config.vcpus,
            memory_bytes=config.memory_bytes,
            boot=boot,
        )
    )
