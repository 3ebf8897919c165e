"""``proa stats``: what containers use, live."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from proa import units
from proa.cli.invocation import Invocation
from proa.cli.kinds import BOOL
from proa.cli.parser import Command, Flag
from proa.cli.render import FORMAT, NO_TRUNC, Listing, Row, short_id, show_listing
from proa.engine.containers.stats import StatsSample
from proa.engine.model import ContainerRecord
from proa.errors import Conflict, NotFound, Unavailable

ALL = Flag("all", BOOL, "Show all containers (default shows just running)", short="a")
NO_STREAM = Flag("no-stream", BOOL, "Disable streaming stats and only pull the first result")

COMMAND = Command(
    words="container stats",
    usage="[OPTIONS] [CONTAINER...]",
    summary="Display a live stream of container(s) resource usage statistics",
    flags=(ALL, FORMAT, NO_STREAM, NO_TRUNC),
    most=None,
)

INTERVAL_S = 1.0
_HEADINGS: dict[str, object] = {
    "ID": "CONTAINER ID",
    "Container": "CONTAINER",
    "Name": "NAME",
    "CPUPerc": "CPU %",
    "MemUsage": "MEM USAGE / LIMIT",
    "MemPerc": "MEM %",
    "NetIO": "NET I/O",
    "BlockIO": "BLOCK I/O",
    "PIDs": "PIDS",
}
_SHOWN = ("ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs")
_CLEAR = b"\x1b[H\x1b[2J"

Samples = Mapping[str, StatsSample]


def execute(call: Invocation) -> int:
    """Show a table every second, or one table; rates are those between two readings."""
    before = _read(call, _choose(call))
    while True:
        time.sleep(INTERVAL_S)
        records = _choose(call)
        now = _read(call, records)
        rows = [_row(call, record, before.get(record.id), now.get(record.id)) for record in records]
        if not call[NO_STREAM] and call.io.is_terminal(call.io.stdout_fd):
            call.io.write(call.io.stdout_fd, _CLEAR)
        show_listing(call.io, Listing(headings=_HEADINGS, shown=_SHOWN, rows=rows), call[FORMAT])
        if call[NO_STREAM]:
            return 0
        before = now


def _choose(call: Invocation) -> Sequence[ContainerRecord]:
    if call.arguments:
        return [call.engine.containers.get(name) for name in call.arguments]
    return call.engine.containers.list(all=call[ALL])


def _read(call: Invocation, records: Sequence[ContainerRecord]) -> Samples:
    samples = {}
    for record in records:
        try:
            samples[record.id] = call.engine.containers.stats(record.id)
        except (Conflict, NotFound, Unavailable):
            continue  # it does not run
    return samples


def _row(
    call: Invocation,
    record: ContainerRecord,
    before: StatsSample | None,
    now: StatsSample | None,
) -> Row:
    identity = {
        "ID": record.id if call[NO_TRUNC] else short_id(record.id),
        "Container": record.name,
        "Name": record.name,
    }
    if now is None:
        nothing = {"CPUPerc": "--", "MemPerc": "--", "PIDs": "--"}
        return {**identity, **nothing, "MemUsage": "-- / --", "NetIO": "--", "BlockIO": "--"}
    used, limit = now.memory_bytes, now.memory_limit_bytes
    cpu = now.cpu_percent_since(before) if before is not None else 0.0
    usage = now.usage
    return {
        **identity,
        "CPUPerc": f"{cpu:.2f}%",
        "MemUsage": f"{units.format_size_binary(used)} / {units.format_size_binary(limit)}",
        "MemPerc": f"{now.memory_percent:.2f}%",
        "NetIO": _pair(now.network_received_bytes, now.network_sent_bytes),
        "BlockIO": _pair(usage.io_read_bytes, usage.io_write_bytes),
        "PIDs": str(max(usage.pids_current, 0)),
    }


def _pair(one: int, other: int) -> str:
    return f"{units.format_size(max(one, 0))} / {units.format_size(max(other, 0))}"
