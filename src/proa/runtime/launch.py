"""Start a child on a plan and see it through to its execve: the parent's side.

Milestones come over the *report* pipe: ``n`` when a detached or spare child has its namespaces,
``s`` when the child has stopped sharing descriptors, ``c`` when a staged child has mounted
everything, ``p`` when it is parked, end of file when it executes (close-on-exec) or dies. Which of
the two it was is in the arena.

Crash rule: until the report ends, the child has its parent-death signal (except for ``exec``, whose
short setup the parent awaits); whatever the parent opened is closed by its own end.
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from proa.errors import ProaError
from proa.linux.process import pidfd_open, pidfd_send_signal, wait_pidfd
from proa.runtime import slots
from proa.runtime.entering import entering
from proa.runtime.executors.arena import Arena
from proa.runtime.executors.clone import Child
from proa.runtime.executors.selection import Executor
from proa.runtime.failures import translate
from proa.runtime.plan import Segment
from proa.runtime.steps.begin import MOUNTS, NAMESPACES, WAIT
from proa.runtime.steps.finish import PARKED, SEPARATED

_SIGKILL = 9
_POLL_IN_SHIFT = 32

_REST_ATTEMPTS = 1000
"""Milliseconds for the few calls before the child waits; they block on nothing."""

_left: list[Arena] = []
"""Of children that were left parked: unmapping one would take the plan from under its child."""


def unmap_left() -> None:
    """Free the plans of children that were left parked, once all of them have executed or ended."""
    for arena in _left:
        arena.close()
    _left.clear()


class Launch:
    """A child on its way to execve.

    Attributes:
        child: its pid and pidfd; the pidfd is handed over to the process handle.
        subject: the container in the words of messages.
        disk: directory on the filesystem that the root is made on, for the errors of a full one.
    """

    __slots__ = (
        "_adopted",
        "_arena",
        "_hold",
        "_ready",
        "_report",
        "_shared",
        "child",
        "devpts",
        "disk",
        "master",
        "subject",
    )

    def __init__(
        self,
        child: Child,
        arena: Arena,
        report: int,
        hold: int,
        subject: str,
        shared: Sequence[int],
    ) -> None:
        self.child = child
        self.subject = subject
        self.disk = ""
        self.devpts = -1
        self.master = -1
        self._adopted = False
        self._shared = shared
        self._arena = arena
        self._report = report
        self._hold = hold
        self._ready = -1

    def load(self, segments: Iterable[Segment]) -> None:
        """Add to the plan of a child that waits."""
        self._arena.load(segments)

    def await_namespaces(self) -> None:
        """Wait until a detached or spare child has its namespaces.

        Raises:
            ProaError: it stopped before that; it is gone.
        """
        self._await(NAMESPACES)

    def await_mounts(self) -> None:
        """Wait until a staged child has mounted everything.

        Raises:
            ProaError: it stopped before that; it is gone.
        """
        self._await(MOUNTS)

    def proceed(self) -> None:
        """Let a staged child go on."""
        os.eventfd_write(self._ready, 1)

    def await_separation(self) -> None:
        """Wait until the child has its own descriptors; then the parent may close its copies.

        Raises:
            ProaError: it stopped before that; it is gone.
        """
        self._await(SEPARATED)
        self._adopt()

    def await_park(self) -> None:
        """Wait until the child is parked before its execve.

        Raises:
            ProaError: it stopped before that; it is gone.
        """
        if os.read(self._report, 1) != PARKED:
            raise self.fail()

    def await_execution(self) -> None:
        """Wait until the child has executed its command, then free the arena.

        Raises:
            CommandNotFound, CommandNotExecutable: the command's fault.
            ProaError: another step failed. The child is gone.
        """
        if not self.executed():
            raise self.fail()
        self.close()

    def release(self) -> None:
        """Let a parked child execute."""
        os.eventfd_write(self._hold, 1)

    def executed(self) -> bool:
        """Wait for the end of the report; whether it was execve's doing."""
        os.read(self._report, 1)
        arena = self._arena
        return arena.failure() is None and arena.current()[1].syscall == "execve"

    def explain(self, signal: int) -> ProaError:
        """Why a child that has been reaped never executed its command.

        Args:
            signal: that ended it, or 0.
        """
        return translate(self._arena, signal, self.subject, self.disk)

    def fail(self) -> ProaError:
        """End and reap the child, close everything; the error says why it stopped."""
        signal = self._reap()
        error = self.explain(signal)
        self._dispose()
        return error

    def abort(self) -> None:
        """End and reap the child, close everything. Idempotent."""
        if self._report >= 0:
            if not self._adopted:
                self._await_rest()
            self._reap()
            self._dispose()

    def _await_rest(self) -> None:
        """Wait until a child that shares our descriptors waits for us, or is gone.

        Killed between opening a descriptor and noting it in its slot, it would leave us one that
        nobody knows of.
        """
        poll = select.poll()
        poll.register(self.child.pidfd, select.POLLIN)
        for _attempt in range(_REST_ATTEMPTS):
            if self._arena.current()[1].name == WAIT or poll.poll(1):
                return

    def close(self) -> None:
        """Close what belongs to the launch alone. Only after execve or the child's end."""
        self._close_descriptors()
        self._arena.close()

    def leave(self) -> None:
        """Close the descriptors only: the child is another process' to start. Idempotent.

        The arena stays mapped until this process ends, and in the child until its execve.
        """
        _left.append(self._arena)
        self._close_descriptors()

    def _close_descriptors(self) -> None:
        for fd in (self._report, self._hold, self._ready):
            if fd >= 0:
                os.close(fd)
        self._report = self._hold = self._ready = -1

    def _await(self, milestone: bytes) -> None:
        poll = select.poll()
        poll.register(self._report, select.POLLIN)
        poll.register(self.child.pidfd, select.POLLIN)
        ready = dict(poll.poll())
        if self._report not in ready or os.read(self._report, 1) != milestone:
            raise self.fail()

    def _reap(self) -> int:
        try:
            pidfd_send_signal(self.child.pidfd, _SIGKILL)
        except ProcessLookupError:
            pass
        end = wait_pidfd(self.child.pidfd)
        return end[1] if end is not None else 0

    def _dispose(self) -> None:
        self._adopt()
        for fd in (self.child.pidfd, self.devpts, self.master):
            if fd >= 0:
                os.close(fd)
        self.devpts = self.master = -1
        self.close()

    def _adopt(self) -> None:
        """Take over what the child opened while descriptors were shared. Idempotent."""
        if self._adopted:
            return
        self._adopted = True
        for slot in self._shared:
            fd = self._arena.slot(slot)
            if fd <= 0:
                continue
            if slot == slots.DEVPTS:
                self.devpts = fd
            elif slot == slots.MASTER:
                self.master = fd
            else:
                os.close(fd)


class Spawned(NamedTuple):
    """A child that begins, and what its parent keeps until it goes on by itself.

    Attributes:
        ready: eventfd that lets it go on.
        kept: descriptors to close once it has its own.
    """

    launch: Launch
    ready: int
    kept: tuple[int, ...]

    def close(self) -> None:
        """Close what the child has by now."""
        for fd in self.kept:
            os.close(fd)


def spawn(
    segments: Iterable[Segment],
    *,
    executor: Executor,
    flags: int,
    cgroup_fd: int,
    subject: str,
    fill: dict[int, int],
    entered: Sequence[tuple[int, str]] = (),
    shared: Sequence[int] = (),
    detached_hold: int = -1,
) -> Spawned:
    """Make a child; see :func:`start`.

    Raises:
        OSError: the kernel refuses; nothing is left.
    """
    ours: list[int] = []
    try:
        ready = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        ours.append(ready)
        parent = pidfd_open(os.getpid())
        ours.append(parent)
        report, reporting = os.pipe2(os.O_CLOEXEC)
        ours.append(reporting)
        hold = detached_hold if detached_hold >= 0 else os.eventfd(0, os.EFD_CLOEXEC)
        try:
            arena = Arena(shared=executor.SEPARATE_MEMORY)
            arena.load(segments)
            _fill(arena, fill, ready=ready, parent=parent, report=reporting, hold=hold)
            with entering(entered):
                child = executor.spawn(arena, flags, cgroup_fd)
        except BaseException:
            os.close(report)
            os.close(hold)
            raise
    except BaseException:
        for fd in ours:
            os.close(fd)
        raise
    return Spawned(Launch(child, arena, report, hold, subject, shared), ready, tuple(ours))


def start(
    segments: Iterable[Segment],
    *,
    executor: Executor,
    flags: int,
    cgroup_fd: int,
    subject: str,
    disk: str = "",
    fill: dict[int, int],
    prepare: Callable[[int, Arena], None],
    entered: Sequence[tuple[int, str]] = (),
    shared: Sequence[int] = (),
    detached_hold: int = -1,
) -> Launch:
    """Start a child and bring it to where it has descriptors of its own.

    Args:
        segments: what it does, at least until it waits.
        executor: how.
        flags: CLONE_*.
        cgroup_fd: cgroup v2 to be born in, or -1.
        subject: the container in the words of messages.
        disk: directory on the filesystem that its root is made on.
        fill: slots to fill before the child exists.
        prepare: called with the child's pid while it runs and waits: the rest of the plan, the
            slots it needs, identities, mounts.
        entered: namespaces to be in while the child is made: descriptor and kind.
        shared: slots in which the child leaves descriptors for the parent before it separates.
        detached_hold: for a child that another process will start: what it reads eight bytes from
            (this function takes it over). It announces its namespaces, and ``prepare`` waits.

    Raises:
        ProaError: a step failed; nothing is left.
    """
    spawned = spawn(
        segments, executor=executor, flags=flags, cgroup_fd=cgroup_fd, subject=subject, fill=fill,
        entered=entered, shared=shared, detached_hold=detached_hold,
    )  # fmt: skip
    return go_on(spawned, disk=disk, prepare=prepare, staged=detached_hold >= 0)


def go_on(
    spawned: Spawned,
    *,
    disk: str,
    prepare: Callable[[int, Arena], None],
    staged: bool = False,
) -> Launch:
    """Bring a child that was made to where it has descriptors of its own; see :func:`start`.

    Raises:
        ProaError: a step failed; nothing is left.
    """
    launch = spawned.launch
    launch.disk = disk
    try:
        if staged:
            launch._ready = os.dup(spawned.ready)
            launch.await_namespaces()
        prepare(launch.child.pid, launch._arena)
        os.eventfd_write(spawned.ready, 1)
        launch.await_separation()
    except BaseException:
        launch.abort()
        raise
    finally:
        spawned.close()
    return launch


def _fill(
    arena: Arena,
    fill: dict[int, int],
    *,
    ready: int,
    parent: int,
    report: int,
    hold: int,
) -> None:
    pollin = select.POLLIN << _POLL_IN_SHIFT
    arena.set_slot(slots.READY, ready)
    arena.set_slot(slots.POLL_READY, ready | pollin)
    arena.set_slot(slots.POLL_PARENT, parent | pollin)
    arena.set_slot(slots.REPORT, report)
    arena.set_slot(slots.HOLD, hold)
    for slot, value in fill.items():
        arena.set_slot(slot, value)
