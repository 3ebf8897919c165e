"""A machine's serial console: drained by its supervisor, shown to any number of clients.

What the guest says is kept: the last 64 KiB for whoever attaches, the last two MiB in
``console.log`` and ``console.log.1``. A client that reads too slowly is hung up on; the guest is
never kept waiting.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

from proa.engine.supervisor.loop import READ, WRITE, Loop

REPLAY_BYTES = 65536
BACKLOG_BYTES = 1 << 20
LOG_BYTES = 1 << 20
_CHUNK = 65536


class _Client:
    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.pending = bytearray()
        self.writing = False


class ConsoleHub:
    """Between one console and its clients."""

    def __init__(self, loop: Loop, console: socket.socket, log_path: str) -> None:
        """Take the console's socket over.

        Raises:
            OSError: the log cannot be opened.
        """
        self._loop = loop
        self._console = console
        self._console.setblocking(False)
        self._clients: dict[int, _Client] = {}
        self._replay = bytearray()
        self._input = bytearray()
        self._log_path = log_path
        self._log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._watched = READ
        loop.add(console.fileno(), READ, self._on_console)

    def attach(self, sock: socket.socket) -> None:
        """Show the console to a client, beginning with what was said last; takes the socket."""
        sock.setblocking(False)
        client = _Client(sock)
        client.pending += self._replay
        self._clients[sock.fileno()] = client
        self._watch(client)
        self._flush(client)

    def drain(self) -> None:
        """Read what the guest said before its end."""
        while self._read_console():
            pass

    def close(self) -> None:
        """Send what is left, hang up on all clients. Idempotent."""
        for client in list(self._clients.values()):
            client.socket.settimeout(0.5)
            try:
                client.socket.sendall(client.pending)
            except OSError:
                pass
            self._drop(client)
        if self._console.fileno() >= 0:
            self._loop.remove(self._console.fileno())
            self._console.close()
            os.close(self._log)

    def _on_console(self, events: int) -> None:
        if events & WRITE:
            self._send_input()
        if events & ~WRITE and self._read_console() == b"":
            # The guest is gone; the descriptor would stay readable for ever.
            self._loop.remove(self._console.fileno())

    def _read_console(self) -> bytes | None:
        """Take one piece of output; None when there is none now, empty at its end."""
        try:
            data = self._console.recv(_CHUNK)
        except BlockingIOError:
            return None
        except OSError:
            return b""
        if not data:
            return b""
        self._replay += data
        del self._replay[:-REPLAY_BYTES]
        self._write_log(data)
        for client in list(self._clients.values()):
            client.pending += data
            self._flush(client)
        return data

    def _write_log(self, data: bytes) -> None:
        try:
            os.write(self._log, data)
            if os.fstat(self._log).st_size > LOG_BYTES:
                os.rename(self._log_path, f"{self._log_path}.1")
                flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
                fresh = os.open(self._log_path, flags, 0o600)
                os.close(self._log)
                self._log = fresh
        except OSError:
            # A full disk must not stop a machine.
            pass

    def _on_client(self, client: _Client, events: int) -> None:
        if events & WRITE:
            self._flush(client)
        if not events & ~WRITE or client.socket.fileno() < 0:
            return
        try:
            data = client.socket.recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._drop(client)
            return
        self._input += data
        self._send_input()

    def _send_input(self) -> None:
        """Give the guest what the users typed, as fast as its serial line takes it."""
        try:
            while self._input:
                sent = self._console.send(self._input)
                del self._input[:sent]
        except BlockingIOError:
            pass
        except OSError:
            self._input.clear()
        # What nobody takes is typed in vain.
        del self._input[BACKLOG_BYTES:]
        wanted = READ | WRITE if self._input else READ
        if wanted != self._watched and self._console.fileno() in self._loop.watched:
            self._loop.remove(self._console.fileno())
            self._loop.add(self._console.fileno(), wanted, self._on_console)
            self._watched = wanted

    def _flush(self, client: _Client) -> None:
        try:
            while client.pending:
                del client.pending[: client.socket.send(client.pending)]
        except BlockingIOError:
            if len(client.pending) > BACKLOG_BYTES:
                self._drop(client)
                return
        except OSError:
            self._drop(client)
            return
        self._watch(client)

    def _watch(self, client: _Client) -> None:
        fd = client.socket.fileno()
        writing = bool(client.pending)
        if fd in self._loop.watched and writing == client.writing:
            return
        self._loop.remove(fd)
        client.writing = writing
        callback: Callable[[int], None] = lambda events: self._on_client(client, events)  # noqa: E731
        self._loop.add(fd, READ | WRITE if writing else READ, callback)

    def _drop(self, client: _Client) -> None:
        fd = client.socket.fileno()
        if self._clients.pop(fd, None) is not None:
            self._loop.remove(fd)
            client.socket.close()
