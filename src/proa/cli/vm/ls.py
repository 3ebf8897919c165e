"""``proa vm ls``: the virtual machines."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from proa.cli.invocation import Invocation
from proa.cli.kinds import BOOL
from proa.cli.parser import Command, Flag
from proa.cli.render import FORMAT, Listing, Row, short_id, show_listing
from proa.units import format_duration_human, format_size_binary

if TYPE_CHECKING:
    from proa.engine.vmmodel import VmRecord

QUIET = Flag("quiet", BOOL, "Only display ids", short="q")

COMMAND = Command(
    words="vm ls",
    usage="[OPTIONS]",
    summary="List virtual machines",
    flags=(FORMAT, QUIET),
)

_HEADINGS: dict[str, object] = {
    "ID": "VM ID",
    "Name": "NAME",
    "Status": "STATUS",
    "Accelerator": "ACCEL",
    "CPUs": "CPUS",
    "Memory": "MEMORY",
    "Ports": "PORTS",
    "State": "STATE",
}
_SHOWN = ("ID", "Name", "Status", "Accelerator", "CPUs", "Memory", "Ports")


def execute(call: Invocation) -> int:
    """List all machines, newest first."""
    now_ns = time.time_ns()
    rows = [_row(record, now_ns) for record in call.engine.vms.list()]
    listing = Listing(headings=_HEADINGS, shown=_SHOWN, rows=rows)
    show_listing(call.io, listing, call[FORMAT], quiet=call[QUIET])
    return 0


def _row(record: VmRecord, now_ns: int) -> Row:
    config = record.config
    return {
        "ID": short_id(record.id),
        "Name": record.name,
        "Status": _status(record, now_ns),
        "State": record.state.status,
        "Accelerator": record.state.accelerator,
        "CPUs": str(config.vcpus),
        "Memory": format_size_binary(config.memory_bytes),
        "Ports": ", ".join(
            f"{port.host_ip or '0.0.0.0'}:{port.host_port}->{port.container_port}/tcp"
            for port in config.ports
        ),
    }


def _status(record: VmRecord, now_ns: int) -> str:
    state = record.state
    if state.status == "running":
        return f"Up {format_duration_human((now_ns - state.started_at_ns) / 1e9)}"
    if state.status == "created":
        return "Created"
    since = format_duration_human((now_ns - state.finished_at_ns) / 1e9)
    return f"Off ({state.how}) {since} ago"
