"""Putting containers back where their restart policy says, when nobody is left who would.

A supervisor restarts its container itself. It cannot when it was killed, or when the machine went
down: then the next listing, or ``proa system recover`` (at boot), finds the container lost and
starts it again. Policies (Docker's):

* ``always``: also one that the user had stopped, but only after a reboot;
* ``unless-stopped``: one that the user had not stopped;
* ``on-failure``: one that was lost while it ran.

Only locks and boot ids are trusted; no pid that is recorded from before is ever looked at.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from proa.engine.containers import recovery
from proa.engine.containers.run import start
from proa.engine.context import Context
from proa.engine.model import ContainerRecord, Status
from proa.errors import ProaError
from proa.linux import procfs


class Restored(msgspec.Struct, frozen=True, kw_only=True):
    """What was done.

    Attributes:
        lost: ids of containers whose supervisor was found dead.
        started: ids of those that were started again.
        failed: why others could not be, by id.
    """

    lost: tuple[str, ...] = ()
    started: tuple[str, ...] = ()
    failed: dict[str, str] = {}


def restore(context: Context) -> Restored:
    """Set right what dead supervisors left, and start what shall run after a reboot."""
    lost = recovery.recover_all(context)
    boot_id = procfs.read_boot_id()
    exited: tuple[Status, ...] = ("exited",)
    rebooted = [
        record
        for record in context.state.containers.list(exited)
        if record.config.restart.name == "always"
        and record.state.started_at_ns
        and record.state.supervisor.boot_id not in ("", boot_id)
    ]
    return _start(context, lost, rebooted)


def restart_lost(context: Context, lost: Iterable[ContainerRecord]) -> Restored:
    """Start those of some lost containers whose policy says so; failures are recorded by them."""
    return _start(context, lost, ())


def _start(
    context: Context, lost: Iterable[ContainerRecord], others: Iterable[ContainerRecord]
) -> Restored:
    lost = list(lost)
    chosen = {record.id: record for record in (*filter(_wants, lost), *others)}
    started, failed = [], {}
    for record in chosen.values():
        try:
            start(context, record.id)
        except ProaError as error:
            failed[record.id] = str(error)
        else:
            started.append(record.id)
    return Restored(
        lost=tuple([record.id for record in lost]), started=tuple(started), failed=failed
    )


def _wants(record: ContainerRecord) -> bool:
    match record.config.restart.name:
        case "always":
            return True
        case "unless-stopped" | "on-failure":
            return not record.state.stopped_by_user
        case _:
            return False
