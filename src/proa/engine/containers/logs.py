"""What a container wrote (``proa logs``)."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from proa.engine.containers import query, recovery
from proa.engine.containers.lifecycle import get
from proa.engine.context import Context
from proa.engine.logs.drivers import open_log_reader
from proa.engine.logs.reader import LogSelection


class LogLine(msgspec.Struct, frozen=True):
    """One entry of a log: ``stdout`` or ``stderr``, when, and what (with its newline)."""

    stream: str
    time_ns: int
    data: bytes


def read_logs(
    context: Context,
    reference: str,
    selection: LogSelection,
    *,
    follow: bool = False,
    stop_fd: int = -1,
) -> Iterator[LogLine]:
    """Yield what a container wrote, oldest first; with ``follow`` until it has ended.

    Args:
        reference: the container.
        selection: which entries.
        follow: go on with what it writes.
        stop_fd: a descriptor that becomes readable when the caller wants the end.

    Raises:
        NotFound: no such container.
        Unsupported: its log driver keeps nothing.
    """
    record = get(context, reference)
    reader = open_log_reader(record.config.log, context.layout.log(record.id))
    entries = (
        reader.follow(selection, is_running=lambda: _is_alive(context, record.id), stop_fd=stop_fd)
        if follow
        else reader.read(selection)
    )
    for entry in entries:
        yield LogLine(entry.stream, entry.time_ns, entry.log.encode())


def _is_alive(context: Context, container_id: str) -> bool:
    found = context.state.containers.find(container_id)
    if found is None or found.state.status not in query.ALIVE:
        return False
    current = recovery.recover_container(context, found)
    return current is not None and current.state.status in query.ALIVE
