"""What the engine knows about a full virtual machine: plain data, kept in ``proa.db``.

A machine is what its user made it (:class:`VmConfig`, never changed) and what became of it
(:class:`VmState`, written by the one process that supervises it while it runs).
"""

from __future__ import annotations

from typing import Literal

import msgspec

from proa.engine.config import PortConfig

VmStatus = Literal["created", "running", "exited"]
DiskFormat = Literal["raw", "qcow2"]


class VmDisk(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A disk of a machine: its own copy-on-write image ``disk<N>.qcow2``.

    Attributes:
        base: absolute path of the image that it is a copy of, shared, never written; empty: none.
        base_format: layout of ``base``.
        base_stamp: size and modification time (ns) of ``base`` when the machine was made: an image
            that was changed under its copies would damage all of them.
        size_bytes: what the guest sees.
    """

    base: str = ""
    base_format: DiskFormat = "raw"
    base_stamp: tuple[int, int] = (0, 0)
    size_bytes: int = 0


class VmConfig(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A machine as its user asked for it.

    Attributes:
        disks: in the order of booting.
        cdrom: absolute path of an ISO image, read-only; boots when no disk does.
        firmware: ``bios`` (SeaBIOS) or ``uefi`` (OVMF).
        kernel, initrd, command_line: boot this Linux directly instead (absolute paths).
        cpu: model of the processor, empty: the best that the accelerator has.
        network: ``user`` (NAT of QEMU's own, with DHCP) or ``none``.
        ports: TCP ports of the host that lead into the machine.
        accelerator: ``auto``, ``kvm`` or ``tcg``.
        display: give it a graphics adapter and a keyboard.
    """

    disks: tuple[VmDisk, ...] = ()
    cdrom: str = ""
    firmware: Literal["bios", "uefi"] = "bios"
    kernel: str = ""
    initrd: str = ""
    command_line: str = ""
    vcpus: int = 1
    memory_bytes: int = 1 << 30
    cpu: str = ""
    network: Literal["user", "none"] = "user"
    ports: tuple[PortConfig, ...] = ()
    accelerator: Literal["auto", "kvm", "tcg"] = "auto"
    display: bool = False
    labels: dict[str, str] = {}


class VmState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of it; times in nanoseconds since the epoch, 0 for never.

    Attributes:
        qemu_pid: of the running machine; 0.
        accelerator: what it runs on, and ``reason`` why.
        how: how the last run ended: ``shutdown`` (the guest did), ``stopped``, ``killed``
            or ``failed``.
        error: of the last start or run.
    """

    status: VmStatus = "created"
    qemu_pid: int = 0
    accelerator: str = ""
    reason: str = ""
    started_at_ns: int = 0
    finished_at_ns: int = 0
    how: str = ""
    error: str = ""


class VmRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One machine.

    Attributes:
        id: 64 lower-case hex digits.
        uid: host user of its QEMU alone.
    """

    id: str
    name: str
    uid: int
    created_at_ns: int
    config: VmConfig
    state: VmState
