"""Verbs on existing containers: stop, kill, wait, remove.

A running container is changed by its supervisor, asked over the control socket. Where the socket is
dead the supervisor is too, and recovery tells what became of the container.
"""

from __future__ import annotations

import fcntl
import os
import socket
import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from proa.engine import volumes
from proa.engine.containerevents import container_event
from proa.engine.containers.recovery import recover_container
from proa.engine.context import Context
from proa.engine.ipc import control, host, wire
from proa.engine.model import ContainerRecord
from proa.engine.names import validate_name
from proa.errors import Conflict, Invalid, NotFound, TimedOut, Unavailable
from proa.fs import tree
from proa.units import parse_signal

T = TypeVar("T")

_ALIVE = ("running", "paused", "restarting")
_LEAVE_TIMEOUT_S = 30.0
_LOOK_EVERY = 20
_START_GRACE_S = 30.0
_ATTEMPTS = 20
"""How often somebody else may start a container again under the hands of who ends it."""


def get(context: Context, reference: str) -> ContainerRecord:
    """Return a container as it is now; a dead supervisor is noticed.

    Raises:
        NotFound: no such container.
        Invalid: an id prefix fits several.
    """
    record = context.state.containers.get(reference)
    if record.state.status not in _ALIVE:
        return record
    recovered = recover_container(context, record)
    if recovered is None:
        raise NotFound(f"no such container: {reference}")
    return recovered


def stop(
    context: Context, reference: str, *, timeout_s: float | None = None, signal: str = ""
) -> None:
    """End a container: its stop signal, then SIGKILL after the timeout. Idempotent.

    Args:
        timeout_s: None: the container's own (10 s); negative: wait for ever.
        signal: name or number; empty: the container's.
    """
    number = parse_signal(signal) if signal else 0
    record = get(context, reference)
    if record.state.status not in _ALIVE:
        return
    _ask(context, record, wire.Stop(number=number, timeout_s=timeout_s))


def kill(context: Context, reference: str, signal: str = "KILL") -> None:
    """Send a signal to a container's init.

    Raises:
        Conflict: it is not running.
        Invalid: no such signal.
    """
    number = parse_signal(signal)
    record = get(context, reference)
    if record.state.status not in _ALIVE:
        raise Conflict(
            f"cannot kill container {reference}: container {record.id[:12]} is not running"
        )
    _ask(context, record, wire.Signal(number=number))


def pause(context: Context, reference: str) -> None:
    """Freeze a running container.

    Raises:
        Conflict: it is not running, or paused already.
    """
    _ask_running(context, reference, wire.Pause())


def unpause(context: Context, reference: str) -> None:
    """Thaw a paused container.

    Raises:
        Conflict: it is not paused.
    """
    _ask_running(context, reference, wire.Unpause())


def _ask_running(context: Context, reference: str, request: wire.ControlRequest) -> None:
    record = get(context, reference)
    if not ask_if_alive(context, record, request):
        raise not_running(record)


def ask_if_alive(context: Context, record: ContainerRecord, request: wire.ControlRequest) -> bool:
    """Ask a container's supervisor; False when the container does not run (any more).

    Raises:
        ProaError: what the supervisor answered.
    """
    return _exchange(context, record, lambda peer: control.ask(peer, request)) is not None


def ask_value(context: Context, reference: str, request: wire.ControlRequest) -> bytes:
    """Ask a running container's supervisor for a value (msgpack).

    Raises:
        Conflict: it is not running.
    """
    record = get(context, reference)
    answers = _exchange(context, record, lambda peer: control.ask_value(peer, request))
    if answers is None:
        raise not_running(record)
    return answers[0]


def not_running(record: ContainerRecord) -> Conflict:
    """The error of verbs that need a running container."""
    return Conflict(f"container {record.id[:12]} is not running", "start it first")


def rename(context: Context, reference: str, name: str) -> None:
    """Give a container another name.

    Raises:
        Conflict: the name is in use.
        Invalid: it cannot be a name, or is the container's already.
    """
    record = get(context, reference)
    name = name.removeprefix("/")
    if name == record.name:
        raise Invalid("renaming a container with the same name as its current name")
    validate_name(name)
    if ask_if_alive(context, record, wire.Rename(name=name)):
        return
    event = container_event(record, "rename", {"name": name, "oldName": record.name})
    context.state.containers.rename(record.id, name, [event])


def wait(context: Context, reference: str) -> int:
    """Wait for a container's end and return its exit code."""
    record = get(context, reference)
    if record.state.status not in _ALIVE:
        return record.state.exit_code
    code = _ask(context, record, wire.Wait())
    if code is not None:
        return code
    return get(context, record.id).state.exit_code


def remove(
    context: Context, reference: str, *, force: bool = False, with_volumes: bool = False
) -> None:
    """Remove a container and its files.

    Args:
        force: end it first.
        with_volumes: remove its anonymous volumes too.

    Raises:
        Conflict: it runs and ``force`` is not given.
    """
    record = get(context, reference)
    for attempt in range(_ATTEMPTS):
        if record.state.status in _ALIVE:
            if not force:
                raise Conflict(
                    f"cannot remove container {reference}: container {record.id[:12]} is "
                    f"{record.state.status}",
                    "stop it before removing it, or force the removal (-f)",
                )
            _ask(context, record, wire.Stop(number=9, timeout_s=0))
        try:
            _remove_stopped(context, record)
        except StartedAgain:
            if not force or attempt == _ATTEMPTS - 1:
                raise
            record = get(context, record.id)
        else:
            break
    if with_volumes:
        volumes.remove_anonymous(context, record)


class StartedAgain(Conflict):
    """A container that was not running a moment ago does."""


def _remove_stopped(context: Context, record: ContainerRecord) -> None:
    directory = context.layout.container(record.id)
    lock = lock_stopped(context, record)
    try:
        current = context.state.containers.find(record.id)
        if current is None:
            return
        if current.state.status in _ALIVE:
            raise _started_again(record)
        context.state.containers.delete(record.id, [container_event(record, "destroy")])
        worker = host.current
        if worker is not None and worker.peer is not None:
            # Nobody has to wait for it; whatever happens to this process, what is left in a
            # directory without a record is removed by the next look.
            worker.defer(partial(_remove_files, directory, lock))
            lock = -1
        else:
            tree.remove_tree(directory)
    finally:
        if lock >= 0:
            os.close(lock)


def _remove_files(directory: str, lock: int) -> None:
    try:
        tree.remove_tree(directory)
    finally:
        if lock >= 0:
            os.close(lock)


def lock_stopped(context: Context, record: ContainerRecord) -> int:
    """Lock the directory of a container that does not run; its last supervisor may have to leave.

    Returns:
        The descriptor that holds the lock; -1 when the directory is gone.

    Raises:
        StartedAgain: somebody has started it.
        TimedOut: a supervisor has recorded the end and does not leave.
    """
    try:
        lock = os.open(
            context.layout.container(record.id), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        )
    except FileNotFoundError:
        return -1
    try:
        _await_lock(context, record, lock)
    except BaseException:
        os.close(lock)
        raise
    return lock


def _await_lock(context: Context, record: ContainerRecord, lock: int) -> None:
    deadline = time.monotonic() + _LEAVE_TIMEOUT_S
    looks = 0
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            looks += 1
            if looks % _LOOK_EVERY == 0:
                current = context.state.containers.find(record.id)
                if current is not None and current.state.status in _ALIVE:
                    raise _started_again(record) from None
            if time.monotonic() > deadline:
                raise TimedOut(
                    f"the supervisor of container {record.id[:12]} does not leave",
                    "end it by its pid (proa inspect), then try again",
                ) from None
            time.sleep(0.001)
        else:
            return


def _started_again(record: ContainerRecord) -> StartedAgain:
    return StartedAgain(f"container {record.id[:12]} was started again meanwhile")


def _ask(context: Context, record: ContainerRecord, request: wire.ControlRequest) -> int | None:
    """Ask the supervisor; when it is gone, set right what it left and answer from the record."""
    answers = _exchange(context, record, lambda peer: control.ask(peer, request))
    if answers is not None:
        return answers[0]
    current = context.state.containers.find(record.id) or record
    return current.state.exit_code


def _exchange(
    context: Context, record: ContainerRecord, ask: Callable[[socket.socket], T]
) -> tuple[T] | None:
    """Ask the supervisor of a container; None when the container is not alive (any more)."""
    current: ContainerRecord | None = record
    for _ in range(_ATTEMPTS):
        peer = reach(context, current)
        if peer is None:
            return None
        try:
            return (ask(peer),)
        except control.HungUp:
            current = context.state.containers.find(record.id)
        finally:
            peer.close()
    raise Unavailable(f"the supervisor of container {record.id[:12]} hangs up on every question")


def reach(context: Context, record: ContainerRecord | None) -> socket.socket | None:
    """Connect to the supervisor of a container; None when the container is not alive (any more).

    A supervisor that has just begun does not listen yet: it gets a moment. A dead one is recovered.

    Raises:
        Unavailable: it lives and does not listen.
    """
    deadline = time.monotonic() + _START_GRACE_S
    current = record
    while current is not None and current.state.status in _ALIVE:
        peer = control.connect(context.layout, current.id)
        if peer is not None:
            return peer
        current = context.state.containers.find(current.id)
        if current is not None and current.state.status in _ALIVE:
            current = recover_container(context, current)
            if time.monotonic() > deadline and current is not None:
                raise Unavailable(f"the supervisor of container {current.id[:12]} does not answer")
            time.sleep(0.005)
    return None


def reach_running(context: Context, record: ContainerRecord) -> socket.socket:
    """As :func:`reach`, for verbs that need a running container.

    Raises:
        Conflict: it is not running.
    """
    peer = reach(context, record)
    if peer is None:
        raise not_running(record)
    return peer
