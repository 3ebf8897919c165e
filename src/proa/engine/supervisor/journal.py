"""What the database is told of one container while its supervisor lives, and the events of it.

The supervisor is the only writer of a live container's state. A container that is removed at its
end has nothing to lose at a power cut, so its transactions need not reach the disk (``durable``).
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

import msgspec

from proa.engine.config import ContainerConfig
from proa.engine.containerevents import container_event
from proa.engine.context import Context
from proa.engine.model import (
    ContainerRecord,
    ContainerState,
    EventRecord,
    Health,
    ProcessIdentity,
    Status,
)
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
        self._announced = False

    @property
    def status(self) -> Status:
        """The status that is stored."""
        return self.record.state.status

    def resume(self) -> None:
        """Go on with a container whose start another supervisor has told of."""
        self._announced = True

    def started(self, pid: int, restart_count: int, health: Health = "none") -> None:
        """The container's init runs as ``pid`` under this process."""
        boot_id = procfs.read_boot_id()
        state = ContainerState(
            status="running",
            init=_identify(pid, boot_id),
            supervisor=_identify(os.getpid(), boot_id),
            started_at_ns=time.time_ns(),
            restart_count=restart_count,
            health=health,
        )
        self._announced = True
        self._write(state, [self._event("start", {})])

    def not_started(self, error: BaseException) -> None:
        """The container could not start: as it was, with the reason and Docker's exit code."""
        if not self._durable:
            self.forget()
            return
        before = self.record.state
        if before.status == "running" and not self._announced:
            # ``run`` records its containers as running before they do.
            before = ContainerState()
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
        events = [] if self._announced else [self._event("start", {})]
        self._announced = True
        events.append(self._event("die", {"exitCode": str(end.code)}))
        if stopped_by_user and not restarting:
            events.append(self._event("stop", {}))
        if not self._durable and not restarting:
            self.forget(events)
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
        self._write(state, events)

    def moved_to(self, status: Status, action: str) -> None:
        """Only the status changes (paused and back)."""
        state = msgspec.structs.replace(self.record.state, status=status)
        self._write(state, [self._event(action, {})])

    def became(self, health: Health) -> None:
        """Only the health changes."""
        state = msgspec.structs.replace(self.record.state, health=health)
        self._write(state, [self._event(f"health_status: {health}", {})], durable=False)

    def reconfigured(self, config: ContainerConfig) -> None:
        """The configuration was changed, live."""
        self._state.containers.set_config(self.record.id, config, [self._event("update", {})])
        self.record = msgspec.structs.replace(self.record, config=config)

    def renamed(self, name: str) -> None:
        """The container has another name.

        Raises:
            Conflict: the name is in use.
            Invalid: it cannot be a name.
        """
        before = self.record
        self.record = msgspec.structs.replace(before, name=name)
        try:
            event = self._event("rename", {"oldName": before.name})
            self._state.containers.rename(before.id, name, [event])
        except BaseException:
            self.record = before
            raise

    def forget(self, events: Sequence[EventRecord] = ()) -> None:
        """Delete the record."""
        gone = (*events, self._event("destroy", {}))
        self._state.containers.delete(self.record.id, gone, durable=False)

    def event(self, action: str, **attributes: str) -> None:
        """Something happened that changes no record."""
        self._state.events.append(self._event(action, attributes), durable=False)

    def tell(self, events: Sequence[tuple[str, dict[str, str]]]) -> None:
        """Append events that matter less than what the container does: failures are passed over."""
        try:
            self._state.events.append(*(self._event(*event) for event in events), durable=False)
        except ProaError:
            return

    def _write(
        self, state: ContainerState, events: Sequence[EventRecord] = (), *, durable: bool = True
    ) -> None:
        self._state.containers.update_state(
            self.record.id, state, events, durable=durable and self._durable
        )
        self.record = msgspec.structs.replace(self.record, state=state)

    def _event(self, action: str, attributes: dict[str, str]) -> EventRecord:
        return container_event(self.record, action, attributes)


def starting_state() -> ContainerState:
    """State of a container that this process is about to start: its death will be noticed."""
    return ContainerState(
        status="running",
        supervisor=_identify(os.getpid(), procfs.read_boot_id()),
        started_at_ns=time.time_ns(),
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
