"""What the database is told of one container while its supervisor lives, and the events of it.

The supervisor is the only writer of a live container's state. A container that is removed at its
end has nothing to lose at a power cut, so its transactions need not reach the disk (``durable``).
"""

from __future__ import annotations

import os
import time

import msgspec

from proa.engine.context import Context
from proa.engine.model import ContainerRecord, ContainerState, EventRecord, ProcessIdentity, Status
from proa.errors import CommandNotExecutable, CommandNotFound, ProaError
from proa.linux import procfs
from proa.oci.isolation import ExitStatus


class Journal:
    """The container's record as stored; every method is one transaction with its event.

    Attributes:
        record: the last state that was written.
    """

    def __init__(self, context: Context, record: ContainerRecord) -> None:
        self.record = record
        self._state = context.state
        self._durable = not record.config.auto_remove

    @property
    def status(self) -> Status:
        """The status that is stored."""
        return self.record.state.status

    def started(self, pid: int, restart_count: int) -> None:
        """The container's init runs as ``pid`` under this process."""
        boot_id = procfs.read_boot_id()
        state = ContainerState(
            status="running",
            init=_identify(pid, boot_id),
            supervisor=_identify(os.getpid(), boot_id),
            started_at_ns=time.time_ns(),
            restart_count=restart_count,
        )
        self._write(state, "start")

    def not_started(self, error: BaseException) -> None:
        """The container could not start: as it was, with the reason and Docker's exit code."""
        if not self._durable:
            self.forget()
            return
        before = self.record.state
        status: Status = "created" if before.started_at_ns == 0 else "exited"
        state = msgspec.structs.replace(
            before, status=status, init=ProcessIdentity(), exit_code=exit_code_of(error),
            error=str(error),
        )  # fmt: skip
        try:
            self._write(state)
        except ProaError:
            # The error that is on its way to the user matters more than the record of it.
            return

    def ended(
        self, end: ExitStatus, restart_count: int, *, stopped_by_user: bool, restarting: bool
    ) -> None:
        """The container's init has ended; the record of one that is to vanish is deleted."""
        if end.oom_killed:
            self.event("oom")
        code = str(end.code)
        if not self._durable and not restarting:
            self.forget("die", exitCode=code)
            return
        state = msgspec.structs.replace(
            self.record.state,
            status="restarting" if restarting else "exited",
            init=ProcessIdentity(),
            exit_code=end.code,
            oom_killed=end.oom_killed,
            finished_at_ns=time.time_ns(),
            restart_count=restart_count,
            stopped_by_user=stopped_by_user,
        )
        self._write(state, "die", exitCode=code)

    def moved_to(self, status: Status, action: str) -> None:
        """Only the status changes (paused and back)."""
        self._write(msgspec.structs.replace(self.record.state, status=status), action)

    def forget(self, action: str = "", **attributes: str) -> None:
        """Delete the record."""
        events = [self._event(action, attributes)] if action else []
        events.append(self._event("destroy", {}))
        self._state.containers.delete(self.record.id, events, durable=False)

    def event(self, action: str, **attributes: str) -> None:
        """Something happened that changes no record."""
        self._state.events.append(self._event(action, attributes), durable=False)

    def _write(self, state: ContainerState, action: str = "", **attributes: str) -> None:
        events = [self._event(action, attributes)] if action else []
        self._state.containers.update_state(self.record.id, state, events, durable=self._durable)
        self.record = msgspec.structs.replace(self.record, state=state)

    def _event(self, action: str, attributes: dict[str, str]) -> EventRecord:
        record = self.record
        return EventRecord(
            sequence=0,
            time_ns=time.time_ns(),
            type="container",
            action=action,
            actor_id=record.id,
            attributes={"image": record.config.image, "name": record.name, **attributes},
        )


def _identify(pid: int, boot_id: str) -> ProcessIdentity:
    try:
        return ProcessIdentity(pid, procfs.read_start_ticks(pid), boot_id)
    except OSError:
        # It has ended already and is only waited for.
        return ProcessIdentity(pid, 0, boot_id)


def exit_code_of(error: BaseException) -> int:
    """Docker's exit code for a container that could not start."""
    if isinstance(error, CommandNotFound):
        return 127
    if isinstance(error, CommandNotExecutable):
        return 126
    return 125
