"""Published ports on the IPv6 loopback address: connections passed on by hand.

The kernel leads packets to containers, but not those for ``::1``: IPv6 has no ``route_localnet``,
and where bridged packets pass the IP hooks it drops the answers, whatever routes say. Programs on
the host try ``::1`` first when they are told ``localhost``, so what they connect to is accepted
here and passed on to the container. Such a connection comes from the host itself: nothing of its
address is lost.
"""

from __future__ import annotations

import errno
import select
import socket
from collections.abc import Callable

from proa.network.dns.poller import Poller

_MAX_CONNECTIONS = 128
_BUFFER_BYTES = 1 << 17


class Proxy:
    """Passes on the connections that one listener accepts."""

    def __init__(self, poller: Poller, listener: socket.socket, target: tuple[str, int]) -> None:
        """Serve.

        Args:
            poller: where descriptors are waited for.
            listener: stays the caller's; it is made non-blocking.
            target: address and port of the container.
        """
        self.target = target
        self._poller = poller
        self._listener = listener
        self._connections: set[_Connection] = set()
        listener.setblocking(False)
        poller.add(listener.fileno(), select.EPOLLIN, self._on_connection)

    def fileno(self) -> int:
        """The listener's descriptor."""
        return self._listener.fileno()

    def close(self) -> None:
        """Hang up on everybody; the listener stays open. Idempotent."""
        self._poller.remove(self._listener.fileno())
        for connection in list(self._connections):
            connection.close()

    def _on_connection(self, _events: int) -> None:
        try:
            client, _ = self._listener.accept()
        except OSError:
            return
        if len(self._connections) >= _MAX_CONNECTIONS:
            client.close()
            return
        family = socket.AF_INET6 if ":" in self.target[0] else socket.AF_INET
        server = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        for peer in (client, server):
            peer.setblocking(False)
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if server.connect_ex(self.target) not in (0, errno.EINPROGRESS):
            client.close()
            server.close()
            return
        connection = _Connection(self._poller, client, server, self._connections.discard)
        self._connections.add(connection)


class _Way:
    """One direction of a connection."""

    __slots__ = ("ended", "pending", "sink", "source")

    def __init__(self, source: socket.socket, sink: socket.socket) -> None:
        self.source = source
        self.sink = sink
        self.pending = b""
        self.ended = False

    def move(self) -> None:
        """Pass on what is there.

        Raises:
            OSError: an end is broken.
        """
        try:
            if not self.pending and not self.ended:
                self.pending = self.source.recv(_BUFFER_BYTES)
                self.ended = not self.pending
                if self.ended:
                    self.sink.shutdown(socket.SHUT_WR)
            if self.pending:
                self.pending = self.pending[self.sink.send(self.pending) :]
        except BlockingIOError:
            return


class _Connection:
    """A client and the container's end, until both have said all."""

    def __init__(
        self,
        poller: Poller,
        client: socket.socket,
        server: socket.socket,
        on_end: Callable[[_Connection], None],
    ) -> None:
        self._poller = poller
        self._on_end = on_end
        self._there, self._back = _Way(client, server), _Way(server, client)
        self._waiting: dict[socket.socket, int] = {}
        self._connected = False
        self._wait(server, select.EPOLLOUT)

    def close(self) -> None:
        """Hang up on both. Idempotent."""
        for peer in (self._there.source, self._back.source):
            self._wait(peer, 0)
            peer.close()
        self._on_end(self)

    def _on_ready(self, _events: int) -> None:
        try:
            if not self._connected:
                failure = self._there.sink.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if failure:
                    raise OSError(failure, "connect")
                self._connected = True
            for way in (self._there, self._back):
                way.move()
        except OSError:
            self.close()
            return
        ways = (self._there, self._back)
        if all(way.ended and not way.pending for way in ways):
            self.close()
            return
        for reading, writing in (ways, ways[::-1]):
            reads = 0 if reading.ended or reading.pending else select.EPOLLIN
            self._wait(reading.source, reads | (select.EPOLLOUT if writing.pending else 0))

    def _wait(self, peer: socket.socket, events: int) -> None:
        """Wait for other events than before on one end."""
        if self._waiting.get(peer, 0) == events:
            return
        if self._waiting.pop(peer, 0):
            self._poller.remove(peer.fileno())
        if events:
            self._poller.add(peer.fileno(), events, self._on_ready)
            self._waiting[peer] = events
