"""Capabilities: names, sets as bit masks, capset(2)'s encoding and what /proc says.

A set is an ``int`` with bit *n* for capability number *n*, as in ``/proc/PID/status``.

Sources: ``linux/capability.h``, capabilities(7), capget(2), proc_pid_status(5).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable
from typing import NamedTuple

NAMES = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
)
"""Names by number."""

NUMBERS = {name: number for number, name in enumerate(NAMES)}

VERSION_3 = 0x20080522
"""_LINUX_CAPABILITY_VERSION_3: 64-bit sets."""

# prctl(2) options on capability sets.
PR_CAPBSET_READ = 23
PR_CAPBSET_DROP = 24
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
PR_CAP_AMBIENT_CLEAR_ALL = 4


class CapabilitySets(NamedTuple):
    """The five sets of a thread, as bit masks."""

    inheritable: int
    permitted: int
    effective: int
    bounding: int
    ambient: int


def mask_of(names: Iterable[str]) -> int:
    """Return the bit mask of ``CAP_*`` names.

    Raises:
        KeyError: a name that is not in :data:`NAMES`.
    """
    mask = 0
    for name in names:
        mask |= 1 << NUMBERS[name]
    return mask


def names_of(mask: int) -> list[str]:
    """Return the names in a bit mask, by number; bits that have no name here are left out."""
    return [name for number, name in enumerate(NAMES) if mask >> number & 1]


def read_last_capability() -> int:
    """Return the highest capability number of the running kernel.

    Raises:
        OSError: /proc is not mounted.
    """
    with open("/proc/sys/kernel/cap_last_cap", "rb") as file:
        return int(file.read())


def read_sets(pid: int | None = None) -> CapabilitySets:
    """Read a process' capability sets, the caller's own by default.

    Raises:
        OSError: no such process, or /proc is not mounted.
    """
    with open(f"/proc/{'self' if pid is None else pid}/status", "rb") as file:
        return parse_status(file.read())


def parse_status(status: bytes) -> CapabilitySets:
    """Pick the capability sets out of the text of ``/proc/PID/status``.

    Raises:
        ValueError: a set is missing (Linux before 4.3).
    """
    found: dict[bytes, int] = {}
    for line in status.split(b"\n"):
        if line.startswith(b"Cap"):
            key, _, value = line.partition(b":")
            found[key] = int(value, 16)
    try:
        return CapabilitySets(
            inheritable=found[b"CapInh"],
            permitted=found[b"CapPrm"],
            effective=found[b"CapEff"],
            bounding=found[b"CapBnd"],
            ambient=found[b"CapAmb"],
        )
    except KeyError as missing:
        raise ValueError(f"no {os.fsdecode(missing.args[0])} in the status of a process") from None


def encode_capset_header(pid: int = 0) -> bytes:
    """Return ``struct __user_cap_header_struct`` for capset(2); pid 0 is the caller."""
    return struct.pack("=Ii", VERSION_3, pid)


def encode_capset_data(*, effective: int, permitted: int, inheritable: int) -> bytes:
    """Return two ``struct __user_cap_data_struct`` for capset(2), lower bits first."""
    low = 0xFFFFFFFF
    return struct.pack(
        "=6I",
        effective & low,
        permitted & low,
        inheritable & low,
        effective >> 32,
        permitted >> 32,
        inheritable >> 32,
    )
