"""``proa image to-disk``: make a bootable disk of an image."""

from __future__ import annotations

from proa.cli.invocation import Invocation
from proa.cli.kinds import BYTES, STRING
from proa.cli.parser import Command, Flag

FORMAT = Flag("disk-format", STRING, "Format of the disk (qcow2, raw)", default="qcow2")
INIT = Flag("init", STRING, "Program to start (default: /sbin/init)")
KERNEL = Flag("kernel", STRING, "Installed guest kernel to boot (default: the newest)")
SIZE = Flag("size", BYTES, "Size of the root file system (default: what it needs, and 512 MiB)")

COMMAND = Command(
    words="image to-disk",
    usage="[OPTIONS] IMAGE FILE",
    summary="Make a disk of an image with an init system, which boots with UEFI",
    flags=(FORMAT, INIT, KERNEL, SIZE),
    least=2,
    most=2,
    details="Run it with 'proa vm create --firmware uefi --disk FILE'. The kernel comes from"
    " 'proa vm kernel install'.",
)


def execute(call: Invocation) -> int:
    """Write the disk and print where it is."""
    reference, path = call.arguments
    path = call.io.path(path)
    call.engine.vms.convert_image(
        reference,
        path,
        disk_format=call[FORMAT],
        size_bytes=call[SIZE],
        kernel=call[KERNEL],
        init=call[INIT],
    )
    call.io.out(path)
    return 0
