"""The server: sockets, loop, threads, and the order of starting and stopping.

Stopping (SIGTERM, SIGINT): no new connections; idle ones are closed; requests in work get
``grace_s`` to end; streams are told (``stop_fd``) and end; what is left is hung up on. Containers
do not notice: they belong to their supervisors.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
import time
from collections.abc import Sequence
from functools import partial

from proa import __version__, log
from proa.engine.facade import Engine
from proa.server import tls
from proa.server.http import limits
from proa.server.http.exchange import Exchange
from proa.server.http.service import Service
from proa.server.listening import Listener
from proa.server.loop import ConnectionLoop, Idle
from proa.server.memory import Memory
from proa.server.routes.table import ROUTES
from proa.server.routing import NEWEST, Router, format_version
from proa.server.threads import Threads

GRACE_S = 10.0
_NEXT_MS = 3
_SIGNALS = (signal.SIGTERM, signal.SIGINT)

HEADERS = (
    ("Api-Version", format_version(NEWEST)),
    ("Docker-Experimental", "false"),
    ("Ostype", "linux"),
    ("Server", f"Proa/{__version__} (linux)"),
)
"""In every answer, as Docker's clients expect them."""


class Server:
    """One server on one engine."""

    def __init__(self, engine: Engine, listeners: Sequence[Listener]) -> None:
        """Prepare; :meth:`run` serves.

        Args:
            engine: whose containers are served.
            listeners: taken over, closed at the end.
        """
        self._listeners = {listener.sock.fileno(): listener for listener in listeners}
        self._stop_r, self._stop_w = os.pipe2(os.O_CLOEXEC)
        self._threads = Threads(limits.REQUESTS)
        self.service = Service(
            engine=engine,
            router=Router(ROUTES),
            memory=Memory(engine, self._stop_r),
            headers=HEADERS,
            local_names=_local_names(listeners),
        )
        self._loop = ConnectionLoop(
            [listener.sock for listener in listeners], self._accept, self._submit
        )
        metrics = self.service.memory.metrics
        metrics.show("proa_server_connections", lambda: self._loop.count)
        metrics.show("proa_server_requests_in_work", lambda: self._threads.busy)

    def run(self, *, grace_s: float = GRACE_S) -> None:
        """Serve until SIGTERM or SIGINT, or :meth:`stop`.

        Args:
            grace_s: for requests in work when it stops.
        """
        previous = {number: signal.signal(number, self._on_signal) for number in _SIGNALS}
        # A large heap that never changes again need not be walked.
        gc.collect()
        gc.freeze()
        for listener in self._listeners.values():
            log.info("server.listening", address=_describe(listener))
        try:
            self._loop.run(self._loop.stop)
            self._drain(grace_s)
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
            self._remove_sockets()
        log.info("server.stopped", requests_left=self._threads.busy)

    def stop(self) -> None:
        """Ask the server to stop; may be called by any thread and by signal handlers."""
        os.write(self._loop.wake_fd, b"s")

    def _on_signal(self, number: int, _frame: object) -> None:
        log.info("server.stopping", signal=signal.Signals(number).name)
        self.stop()

    def _drain(self, grace_s: float) -> None:
        self.service.stopping = True
        self._loop.stop_listening()
        os.write(self._stop_w, b"s")
        deadline = time.monotonic() + grace_s
        while self._threads.busy and time.monotonic() < deadline:
            time.sleep(0.02)
        self._loop.hang_up()

    def _remove_sockets(self) -> None:
        for listener in self._listeners.values():
            if listener.path:
                try:
                    os.unlink(listener.path)
                except OSError:
                    continue

    def _accept(self, listening: socket.socket, raw: socket.socket) -> socket.socket | None:
        listener = self._listeners[listening.fileno()]
        if listener.tls is not None:
            return tls.terminate(raw, listener.tls)
        return raw

    def _submit(self, connection: Idle) -> None:
        self._threads.submit(partial(self._serve, connection))

    def _serve(self, connection: Idle) -> None:
        """Answer the requests that have arrived on a connection, then give it back."""
        data: bytes | None = connection.data
        connection.data = b""
        try:
            while data is not None:
                data = Exchange(connection.sock, self.service).serve(data)
                if data is not None:
                    # Empty lines before a request are allowed (RFC 9112, 2.2).
                    data = data.lstrip(b"\r\n") or _await_more(connection.sock)
                if data is not None and b"\r\n\r\n" not in data:
                    self._loop.give_back(connection, data)
                    return
        except Exception as error:  # noqa: BLE001 - a defect ends one connection, not the server
            log.warning("server.defect", error=f"{type(error).__name__}: {error}")
        self._loop.close(connection)


def _await_more(sock: socket.socket) -> bytes | None:
    """Wait a moment for the next request: clients send several in a row.

    Returns:
        What has arrived, perhaps nothing; None when the client hung up.
    """
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    if not poll.poll(_NEXT_MS):
        return b""
    try:
        return sock.recv(65536, socket.MSG_DONTWAIT) or None
    except BlockingIOError:
        return b""


def _local_names(listeners: Sequence[Listener]) -> frozenset[str]:
    """Names by which clients may call this server: its own, if it listens on TCP at all."""
    if all(listener.tls is None for listener in listeners):
        return frozenset()
    names = {name for listener in listeners for name in listener.names}
    return frozenset(names | {socket.gethostname().lower(), socket.getfqdn().lower()})


def _describe(listener: Listener) -> str:
    if listener.path:
        return f"unix://{listener.path}"
    name = listener.sock.getsockname()
    if isinstance(name, tuple):
        return f"tcp://{name[0]}:{name[1]}"
    return f"unix://{os.fsdecode(name)}"
