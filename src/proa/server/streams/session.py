"""An attachment to a container, from before its start to its end.

``docker run`` attaches to a container that was created and starts it afterwards, so that no byte is
missed. Between the two there is no supervisor to attach to: the descriptors wait here
(:class:`WaitingRoom`) for whoever starts the container, and travel with that request. A container
that something else starts (``proa start``) is joined as soon as its event is seen.
"""

from __future__ import annotations

import os
import threading
from collections import defaultdict
from typing import Final

import msgspec

from proa.engine.containers.handles import AttachHandle
from proa.engine.containers.streams import Streams
from proa.engine.facade import Engine
from proa.errors import ProaError

START_TIMEOUT_S: Final = 60.0


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which streams a client attaches to."""

    stdin: bool = False
    stdout: bool = False
    stderr: bool = False
    detach_keys: str = ""


class AttachSession:
    """The server's ends of one attachment.

    Attributes:
        container_id: whose.
        stdin_fd: the client's bytes go in here; -1: not attached.
        stdout_fd, stderr_fd: the container's come out here; -1: not attached.
        handle: of the supervisor; None for one that travelled with the start.
    """

    def __init__(self, container_id: str, wanted: Wanted) -> None:
        self.container_id = container_id
        self.stdin_fd = self.stdout_fd = self.stderr_fd = -1
        self.handle: AttachHandle | None = None
        self._theirs: list[int] = []
        self._lock = threading.Lock()
        stdin = stdout = stderr = -1
        if wanted.stdin:
            stdin, self.stdin_fd = self._pipe(theirs=0)
        if wanted.stdout:
            self.stdout_fd, stdout = self._pipe(theirs=1)
        if wanted.stderr:
            self.stderr_fd, stderr = self._pipe(theirs=1)
        self.streams = Streams(
            stdin_fd=stdin, stdout_fd=stdout, stderr_fd=stderr, detach_keys=wanted.detach_keys
        )

    def join(self, engine: Engine) -> None:
        """Attach to the running container.

        Raises:
            Conflict: it is not running, or paused.
        """
        self.handle = engine.containers.open_attachment(self.container_id, self.streams)
        self.close_theirs()

    def close_theirs(self) -> None:
        """The container's side has its copies: its end shall be seen here. Idempotent."""
        with self._lock:
            theirs, self._theirs = self._theirs, []
        for fd in theirs:
            os.close(fd)

    def close_stdin(self) -> None:
        """The client has no more. Idempotent."""
        if self.stdin_fd >= 0:
            os.close(self.stdin_fd)
            self.stdin_fd = -1

    def close(self) -> None:
        """Detach and close everything. Idempotent."""
        if self.handle is not None:
            self.handle.close()
        self.close_theirs()
        self.close_stdin()
        for fd in (self.stdout_fd, self.stderr_fd):
            if fd >= 0:
                os.close(fd)
        self.stdout_fd = self.stderr_fd = -1

    def _pipe(self, *, theirs: int) -> tuple[int, int]:
        ends = os.pipe2(os.O_CLOEXEC)
        self._theirs.append(ends[theirs])
        return ends


class WaitingRoom:
    """Attachments to containers that do not run yet, and who starts them; safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: defaultdict[str, list[AttachSession]] = defaultdict(list)
        self._starting: dict[str, threading.Event] = {}

    def enter(self, session: AttachSession) -> None:
        """Wait for the container's start."""
        with self._lock:
            self._waiting[session.container_id].append(session)

    def leave(self, session: AttachSession) -> bool:
        """Wait no more; False when it did not wait (any more)."""
        with self._lock:
            waiting = self._waiting.get(session.container_id, [])
            if session not in waiting:
                return False
            waiting.remove(session)
            if not waiting:
                del self._waiting[session.container_id]
            return True

    def take(self, container_id: str) -> list[AttachSession]:
        """Return all that wait for a container; they are the caller's to connect."""
        with self._lock:
            return self._waiting.pop(container_id, [])

    def await_start(self, container_id: str) -> None:
        """Wait until nobody here starts this container (any more).

        As with Docker, a stop that comes in the middle of a start ends what was started; without
        this it would find nothing to stop, and the container would run on.
        """
        with self._lock:
            started = self._starting.get(container_id)
        if started is not None:
            started.wait(START_TIMEOUT_S)

    def start(self, engine: Engine, container_id: str) -> None:
        """Start a container with everybody who waits for it attached.

        Raises:
            ProaError: it cannot be started; they see the end of its streams.
        """
        started = threading.Event()
        with self._lock:
            mine = self._starting.setdefault(container_id, started) is started
        try:
            self._start(engine, container_id)
        finally:
            if mine:
                with self._lock:
                    del self._starting[container_id]
                started.set()

    def _start(self, engine: Engine, container_id: str) -> None:
        sessions = self.take(container_id)
        first = sessions[0] if sessions else None
        try:
            engine.containers.start(
                container_id, streams=first.streams if first is not None else None, detach=True
            )
        except BaseException:
            # As with Docker: a start that fails is the end of who waited for it.
            for session in sessions:
                session.close_theirs()
            raise
        if first is not None:
            first.close_theirs()
        self.join(engine, sessions[1:])

    def join(self, engine: Engine, sessions: list[AttachSession]) -> None:
        """Attach sessions to their running container; those that come too late see its end."""
        for session in sessions:
            try:
                session.join(engine)
            except ProaError:
                session.close_theirs()
