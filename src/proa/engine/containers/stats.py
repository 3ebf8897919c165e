"""What a container uses (``proa stats``): readings, and rates between two of them."""

from __future__ import annotations

import os
import time

import msgspec

from proa.engine.containers.lifecycle import ask_value, get
from proa.engine.context import Context
from proa.engine.ipc import wire
from proa.oci.isolation import Stats


class StatsSample(msgspec.Struct, frozen=True, kw_only=True):
    """One reading of one container.

    Attributes:
        monotonic_ns: when, for rates.
        usage: the controllers' counters; -1 where one is absent.
        memory_limit_bytes: the container's limit, or the machine's memory.
        network_received_bytes, network_sent_bytes: all interfaces but the loopback, since the
            container's start; -1 where it has the host's network.
    """

    id: str
    name: str
    time_ns: int
    monotonic_ns: int
    usage: Stats
    memory_limit_bytes: int
    network_received_bytes: int = -1
    network_sent_bytes: int = -1

    @property
    def memory_bytes(self) -> int:
        """Memory in use by Docker's formula: without the page cache that is not in use."""
        used, inactive = self.usage.memory_usage_bytes, self.usage.memory_inactive_file_bytes
        if used < 0:
            return 0
        return used - inactive if 0 <= inactive < used else used

    @property
    def memory_percent(self) -> float:
        """Share of the limit, 0 to 100."""
        if self.memory_limit_bytes <= 0:
            return 0.0
        return 100 * self.memory_bytes / self.memory_limit_bytes

    def cpu_percent_since(self, before: StatsSample) -> float:
        """CPU use between two readings; one CPU is 100."""
        elapsed_ns = self.monotonic_ns - before.monotonic_ns
        used_ns = self.usage.cpu_usage_ns - before.usage.cpu_usage_ns
        if elapsed_ns <= 0 or used_ns < 0:
            return 0.0
        return 100 * used_ns / elapsed_ns


def sample(context: Context, reference: str) -> StatsSample:
    """Read a running container's counters.

    Raises:
        NotFound: no such container.
        Conflict: it is not running.
    """
    record = get(context, reference)
    payload = ask_value(context, record.id, wire.ReadStats())
    usage = msgspec.msgpack.decode(payload, type=Stats)
    limit = usage.memory_limit_bytes
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    received, sent = -1, -1
    if usage.network_received_bytes >= 0:
        received, sent = usage.network_received_bytes, usage.network_sent_bytes
    elif record.config.network_mode != "host":
        received, sent = _network_bytes(record.state.init.pid)
    return StatsSample(
        id=record.id,
        name=record.name,
        time_ns=time.time_ns(),
        monotonic_ns=time.monotonic_ns(),
        usage=usage,
        memory_limit_bytes=limit if 0 < limit < machine else machine,
        network_received_bytes=received,
        network_sent_bytes=sent,
    )


def _network_bytes(pid: int) -> tuple[int, int]:
    """Sum of received and sent bytes of a process' interfaces; 0 when it has ended."""
    received = sent = 0
    try:
        with open(f"/proc/{pid}/net/dev", encoding="ascii", errors="replace") as stream:
            lines = stream.read().splitlines()[2:]
    except OSError:
        return 0, 0
    for line in lines:
        name, _, counters = line.partition(":")
        fields = counters.split()
        if name.strip() != "lo" and len(fields) >= 9:
            received += int(fields[0])
            sent += int(fields[8])
    return received, sent
