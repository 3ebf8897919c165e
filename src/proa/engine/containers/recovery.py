"""What dead supervisors left: found by a free lock, told truthfully, removed.

A supervisor holds the lock on its container's directory for as long as it lives, so the kernel
tells whether it does; pids are never trusted. For a container that is recorded as alive and whose
lock is free:

* its init has died with its supervisor (parent-death signal), the cgroup is emptied and removed;
* a container that was to be removed at its end (``--rm``) is removed, any other becomes *exited*
  with code 137 and says why.

A supervisor that dies while it starts a container or after it has recorded its end leaves a group
or a control socket beside a record that says *created* or *exited*; both are removed.

A directory with a free lock and no record is what a crash between making a container and recording
it left, or between deleting the record and the files; it is removed. Recovery holds the lock itself
while it works, so two recoveries, or a recovery and a start, never meet.
"""

from __future__ import annotations

import fcntl
import os
import time

import msgspec

from proa.engine import berths, firewalling, volumes
from proa.engine.compose.spec import cgroup_path
from proa.engine.containerevents import container_event
from proa.engine.context import Context
from proa.engine.model import ContainerRecord, ProcessIdentity
from proa.engine.names import is_id
from proa.errors import ProaError
from proa.fs import tree
from proa.runtime import recover

ALIVE = ("running", "paused", "restarting", "removing")
LOST_EXIT_CODE = 137
LOST_ERROR = "the container's supervisor was killed"


def recover_all(context: Context) -> list[ContainerRecord]:
    """Set right all that dead supervisors left; one query and one listing when there is nothing.

    Returns:
        The containers that were found lost and still exist, as they are now.
    """
    lost: list[ContainerRecord] = []
    known = {record.id: record for record in context.state.containers.list()}
    for record in known.values():
        if record.state.status in ALIVE:
            current = recover_container(context, record)
            if current is not None and current.state.error == LOST_ERROR:
                lost.append(current)
    stopped = [record for record in known.values() if record.state.status not in ALIVE]
    remains = _names_of_remains(context, stopped) if stopped else set()
    for record in stopped:
        if record.id in remains:
            _clear_stopped(context, record)
    for name in _list(context.layout.containers):
        if is_id(name) and name not in known:
            _remove_orphan(context, name)
    berths.remove_abandoned(context.layout)
    return lost


def recover_container(context: Context, record: ContainerRecord) -> ContainerRecord | None:
    """Set one container right if its supervisor is dead.

    Returns:
        The record as it is now; None when the container was to vanish and has.
    """
    lock = _try_lock(context.layout.container(record.id))
    if lock is None:
        return record
    try:
        current = context.state.containers.find(record.id)
        if current is None or current.state.status not in ALIVE:
            return current
        _clear_remains(context, current)
        return _record_loss(context, current)
    finally:
        if lock >= 0:
            os.close(lock)


def _names_of_remains(context: Context, records: list[ContainerRecord]) -> set[str]:
    """Ids that have a control socket, or a cgroup below a parent of these containers."""
    parents = {os.path.dirname(cgroup_path(record)) for record in records}
    groups = [name for parent in parents for name in recover.list_groups(parent)]
    return {*_list(context.layout.controls), *groups}


def _list(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except FileNotFoundError:
        return []


def _clear_stopped(context: Context, record: ContainerRecord) -> None:
    lock = _try_lock(context.layout.container(record.id))
    if lock is None:
        return
    try:
        current = context.state.containers.find(record.id)
        if current is not None and current.state.status not in ALIVE:
            _clear_remains(context, current)
    finally:
        if lock >= 0:
            os.close(lock)


def _try_lock(directory: str) -> int | None:
    """Lock a container's directory: a descriptor, -1 if it does not exist, None if it is held."""
    try:
        lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return -1
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


def _clear_remains(context: Context, record: ContainerRecord) -> None:
    recover.remove_remains(record.id, cgroup_path(record))
    firewalling.clear_remains(context, record)
    try:
        os.unlink(context.layout.control(record.id))
    except FileNotFoundError:
        pass


def _record_loss(context: Context, record: ContainerRecord) -> ContainerRecord | None:
    event = container_event(record, "die", {"exitCode": str(LOST_EXIT_CODE)})
    if record.config.auto_remove or record.state.status == "removing":
        gone = msgspec.structs.replace(event, action="destroy")
        context.state.containers.delete(record.id, [event, gone])
        volumes.remove_anonymous(context, record)
        tree.remove_tree(context.layout.container(record.id))
        return None
    state = msgspec.structs.replace(
        record.state,
        status="exited",
        init=ProcessIdentity(),
        exit_code=LOST_EXIT_CODE,
        error=LOST_ERROR,
        finished_at_ns=time.time_ns(),
    )
    context.state.containers.update_state(record.id, state, [event])
    return msgspec.structs.replace(record, state=state)


def _remove_orphan(context: Context, container_id: str) -> None:
    lock = _try_lock(context.layout.container(container_id))
    if lock is None or lock < 0:
        return
    try:
        if context.state.containers.find(container_id) is None:
            recover.remove_remains(container_id, "")
            try:
                os.unlink(context.layout.control(container_id))
            except FileNotFoundError:
                pass
            tree.remove_tree(context.layout.container(container_id))
    except (OSError, ProaError):
        # The next command tries again; a container that nobody knows must not stop this one.
        return
    finally:
        os.close(lock)
