"""Connections between requests: one epoll for all, no thread for any.

::

    accepted ──► idle ──bytes──► head incomplete ──whole head──► in work (a thread) ──► idle
                   │                  │ 10 s                         │
                   └──────────────────┴──────────► closed ◄──────────┘

A connection is watched once (EPOLLONESHOT): from the moment that its event is fetched it belongs
to whoever fetched it, until that one arms it again. So no lock is held while a request is in work,
and the thread that has answered arms the connection itself, without waking the loop.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import time
from collections.abc import Callable

from proa import log
from proa.server.http import limits

_HEAD_END = b"\r\n\r\n"
_WATCHED = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLONESHOT
_SWEEP_S = 1.0
_RECEIVE_BYTES = 64 * 1024


class Idle:
    """A connection that waits for a request.

    Attributes:
        data: what has arrived of its head.
        deadline_s: monotonic time by which the head must be whole; 0: nothing has arrived.
        in_work: a thread has it.
    """

    __slots__ = ("data", "deadline_s", "in_work", "sock")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.data = b""
        self.deadline_s = 0.0
        self.in_work = False


class ConnectionLoop:
    """The server's main loop."""

    def __init__(
        self,
        listeners: list[socket.socket],
        accept: Callable[[socket.socket, socket.socket], socket.socket | None],
        submit: Callable[[Idle], None],
    ) -> None:
        """Prepare; nothing is watched before :meth:`run`.

        Args:
            listeners: non-blocking, bound and listening.
            accept: turns an accepted socket of a listener into the one to serve; None: refused.
            submit: takes a connection whose head is whole.
        """
        self._epoll = select.epoll()
        self._listeners = {sock.fileno(): sock for sock in listeners}
        self._accept = accept
        self._submit = submit
        self._connections: dict[int, Idle] = {}
        self._wake_r, self._wake_w = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._running = True
        self._listening = False

    @property
    def count(self) -> int:
        """Open connections."""
        return len(self._connections)

    @property
    def wake_fd(self) -> int:
        """A descriptor that wakes the loop when something is written to it."""
        return self._wake_w

    def run(self, on_wake: Callable[[], None]) -> None:
        """Serve until :meth:`stop`.

        Args:
            on_wake: called when the loop was woken: a signal arrived.
        """
        self._epoll.register(self._wake_r, select.EPOLLIN)
        self._listen(on=True)
        next_sweep_s = time.monotonic() + _SWEEP_S
        while self._running:
            for fd, _ in self._epoll.poll(_SWEEP_S):
                if fd == self._wake_r:
                    os.read(self._wake_r, 4096)
                    on_wake()
                elif fd in self._listeners:
                    self._accept_some(self._listeners[fd])
                else:
                    self._on_readable(fd)
            now_s = time.monotonic()
            if now_s >= next_sweep_s:
                next_sweep_s = now_s + _SWEEP_S
                self._sweep(now_s)

    def give_back(self, connection: Idle, data: bytes) -> None:
        """Watch a connection again after its answer; called by the request's thread."""
        connection.data = data
        connection.deadline_s = time.monotonic() + limits.HEAD_TIMEOUT_S if data else 0.0
        connection.in_work = False
        try:
            self._epoll.modify(connection.sock.fileno(), _WATCHED)
        except (OSError, ValueError):
            self.close(connection)

    def close(self, connection: Idle) -> None:
        """Close a connection; called by whoever it belongs to."""
        fd = connection.sock.fileno()
        if fd < 0:
            return
        self._connections.pop(fd, None)
        connection.sock.close()

    def stop_listening(self) -> None:
        """Take no more connections and close those that wait for nothing."""
        self._listen(on=False)
        for sock in self._listeners.values():
            sock.close()
        self._listeners.clear()
        for connection in list(self._connections.values()):
            if not connection.in_work:
                self.close(connection)

    def hang_up(self) -> None:
        """End the connections in work: their threads see their clients go."""
        for connection in list(self._connections.values()):
            try:
                connection.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue

    def stop(self) -> None:
        """Let :meth:`run` return after this round."""
        self._running = False

    def _listen(self, *, on: bool) -> None:
        if self._listening == on:
            return
        self._listening = on
        for fd in self._listeners:
            if on:
                self._epoll.register(fd, select.EPOLLIN)
            else:
                self._epoll.unregister(fd)

    def _accept_some(self, listener: socket.socket) -> None:
        for _ in range(64):
            if len(self._connections) >= limits.CONNECTIONS and not self._drop_one():
                # Until a sweep: the backlog holds them, and a full one refuses.
                self._listen(on=False)
                return
            try:
                raw, _ = listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS):
                    log.warning("server.accept", error=str(error))
                    if not self._drop_one():
                        self._listen(on=False)
                return
            raw.setblocking(True)
            sock = self._accept(listener, raw)
            if sock is None:
                continue
            self._connections[sock.fileno()] = Idle(sock)
            self._epoll.register(sock.fileno(), _WATCHED)

    def _drop_one(self) -> bool:
        """Close the connection that has been idle longest; False when there is none."""
        for connection in self._connections.values():
            if not connection.in_work:
                self.close(connection)
                return True
        return False

    def _on_readable(self, fd: int) -> None:
        connection = self._connections.get(fd)
        if connection is None or connection.in_work:
            return
        try:
            more = connection.sock.recv(_RECEIVE_BYTES, socket.MSG_DONTWAIT)
        except BlockingIOError:
            self._epoll.modify(fd, _WATCHED)
            return
        except OSError:
            more = b""
        if not more:
            self.close(connection)
            return
        # Empty lines before a request are allowed (RFC 9112, 2.2).
        connection.data = (connection.data + more).lstrip(b"\r\n")
        if _HEAD_END in connection.data or len(connection.data) > limits.HEAD_BYTES:
            connection.in_work = True
            self._submit(connection)
            return
        if connection.data and not connection.deadline_s:
            connection.deadline_s = time.monotonic() + limits.HEAD_TIMEOUT_S
        self._epoll.modify(fd, _WATCHED)

    def _sweep(self, now_s: float) -> None:
        for connection in list(self._connections.values()):
            if connection.deadline_s and not connection.in_work and connection.deadline_s < now_s:
                try:
                    connection.sock.send(_TOO_SLOW, socket.MSG_DONTWAIT)
                except OSError:
                    pass
                self.close(connection)
        if self._listeners:
            self._listen(on=len(self._connections) < limits.CONNECTIONS)


_TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
