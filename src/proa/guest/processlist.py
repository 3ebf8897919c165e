"""The container's processes, for ``proa top``."""

from __future__ import annotations

import os

from proa.oci.processlist import ProcessList, ProcessText

_MAX_PROCESSES = 2048
_MAX_COMMAND_BYTES = 4096
_MAX_TOTAL_BYTES = 768 * 1024
"""What fits an answer on the channel."""


def read(pids: list[int]) -> ProcessList:
    """Read what the kernel shows of these processes; those that have ended are left out."""
    found = []
    total = 0
    for pid in pids[:_MAX_PROCESSES]:
        try:
            text = ProcessText(
                pid=pid,
                stat=_load(f"/proc/{pid}/stat"),
                status=_load(f"/proc/{pid}/status"),
                command=_load(f"/proc/{pid}/cmdline"),
            )
        except OSError:
            continue
        total += len(text.stat) + len(text.status) + len(text.command)
        if total > _MAX_TOTAL_BYTES:
            break
        found.append(text)
    with open("/proc/uptime", encoding="ascii") as stream:
        uptime_s = float(stream.read().split()[0])
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return ProcessList(processes=tuple(found), uptime_s=uptime_s, memory_bytes=memory_bytes)


def _load(path: str) -> bytes:
    with open(path, "rb") as stream:
        return stream.read(_MAX_COMMAND_BYTES)
