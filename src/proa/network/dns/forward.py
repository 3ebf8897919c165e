"""Questions on their way to the host's servers: one exchange each, from the host's namespace.

Every exchange has a socket of its own, and with it a source port that the kernel chose, and a
random id; only the server that was asked is heard (the socket is connected), and only an answer to
this very question is passed on.
"""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Callable, Sequence

from proa.network.dns import wire
from proa.network.dns.poller import Poller, Timer

ATTEMPT_S = 2.0
_PORT = 53
_LARGEST_BYTES = 65535


class Exchange:
    """One question to the servers, one after the other until one answers.

    ``on_done`` is called once, with the answer (its id is the asker's) or None.
    """

    def __init__(
        self,
        poller: Poller,
        query: bytes,
        servers: Sequence[str],
        on_done: Callable[[bytes | None], None],
        *,
        stream: bool,
    ) -> None:
        """Begin.

        Args:
            query: as the asker sent it.
            servers: addresses, in order of preference.
            stream: ask over TCP.
        """
        self._poller = poller
        self._asker_id = query[:2]
        self._query = query
        self._servers = list(servers)
        self._on_done = on_done
        self._stream = stream
        self._socket: socket.socket | None = None
        self._timer: Timer | None = None
        self._pending = b""
        self._received = b""

    def start(self) -> None:
        """Ask the first server."""
        self._attempt()

    def cancel(self) -> None:
        """Give up silently. Idempotent."""
        self._close()
        self._servers.clear()

    def _attempt(self) -> None:
        while self._servers:
            server = self._servers.pop(0)
            self._query = os.urandom(2) + self._query[2:]
            try:
                self._open(server)
            except OSError:
                self._close()
                continue
            self._timer = self._poller.call_later(ATTEMPT_S, self._next)
            return
        self._on_done(None)

    def _open(self, server: str) -> None:
        family = socket.AF_INET6 if ":" in server else socket.AF_INET
        kind = socket.SOCK_STREAM if self._stream else socket.SOCK_DGRAM
        peer = socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        self._socket = peer
        self._received = b""
        if self._stream:
            peer.connect_ex((server, _PORT))
            self._pending = len(self._query).to_bytes(2, "big") + self._query
            self._poller.add(peer.fileno(), select.EPOLLOUT, self._on_writable)
        else:
            peer.connect((server, _PORT))
            peer.send(self._query)
            self._poller.add(peer.fileno(), select.EPOLLIN, self._on_readable)

    def _on_writable(self, _events: int) -> None:
        peer = self._socket
        assert peer is not None
        try:
            self._pending = self._pending[peer.send(self._pending) :]
        except BlockingIOError:
            return
        except OSError:
            self._next()
            return
        if not self._pending:
            self._poller.remove(peer.fileno())
            self._poller.add(peer.fileno(), select.EPOLLIN, self._on_readable)

    def _on_readable(self, _events: int) -> None:
        assert self._socket is not None
        try:
            data = self._socket.recv(_LARGEST_BYTES)
        except BlockingIOError:
            return
        except OSError:
            # "Connection refused" by ICMP: there is no server.
            self._next()
            return
        if self._stream:
            if not data:
                self._next()
                return
            self._received += data
            if len(self._received) < 2:
                return
            length = int.from_bytes(self._received[:2], "big")
            if len(self._received) < 2 + length:
                return
            data = self._received[2 : 2 + length]
        if not wire.is_answer_to(self._query, data):
            if self._stream:
                self._next()
            return
        self._close()
        self._on_done(self._asker_id + data[2:])

    def _next(self) -> None:
        self._close()
        self._attempt()

    def _close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._socket is not None:
            self._poller.remove(self._socket.fileno())
            self._socket.close()
            self._socket = None
