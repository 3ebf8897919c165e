"""The processes of a sandbox behind another kernel, as that kernel shows them."""

from __future__ import annotations

from typing import Protocol

import msgspec


class ProcessText(msgspec.Struct, frozen=True, kw_only=True):
    """Files of ``/proc/PID`` as they are; written by the guest: to be parsed with care.

    Attributes:
        pid: in the guest.
        command: arguments, separated by NUL.
    """

    pid: int
    stat: bytes
    status: bytes
    command: bytes


class ProcessList(msgspec.Struct, frozen=True, kw_only=True):
    """All processes of a container, the guest's uptime and its memory."""

    processes: tuple[ProcessText, ...]
    uptime_s: float
    memory_bytes: int


class ReadProcesses(msgspec.Struct, frozen=True, kw_only=True, tag="read-processes"):
    """Answered with a :class:`ProcessList`."""


class ProcessAccess(Protocol):
    """A sandbox that shows its processes itself."""

    def read_processes(self) -> ProcessList:
        """Read them."""
