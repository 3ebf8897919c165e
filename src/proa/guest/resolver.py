"""The container's name server in the guest: every question goes to the host, every answer back.

Messages are not looked at; the host's resolver takes care of what they say.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

from proa.vm.agent import protocol
from proa.vm.agent.mux import READ, Mux
from proa.vm.agent.protocol import Frame

_PORT = 53
_MAX_QUESTIONS = 256
_MAX_BYTES = 65535
_BACKLOG = 16
_UDP, _TCP = b"\0", b"\1"


class GuestResolver:
    """Listens on one address in the guest's network.

    Args:
        mux: the channel.
        address: IPv4 address of the loopback interface.
    """

    def __init__(self, mux: Mux, address: str) -> None:
        """Listen.

        Raises:
            OSError: the address is taken.
        """
        self._mux = mux
        self._last = 0
        self._waiting: dict[int, Callable[[bytes], None]] = {}
        self._datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        for peer in (self._datagrams, self._listener):
            # A server of the container's own may listen on all addresses.
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            peer.bind((address, _PORT))
        self._listener.listen(_BACKLOG)
        mux.add(self._datagrams.fileno(), READ, self._on_datagram)
        mux.add(self._listener.fileno(), READ, self._on_connection)

    def on_answer(self, frame: Frame) -> None:
        """Give an answer to whoever asked."""
        reply = self._waiting.pop(frame.stream, None)
        if reply is not None:
            reply(frame.payload)

    def _ask(self, kind: bytes, message: bytes, reply: Callable[[bytes], None]) -> None:
        while len(self._waiting) >= _MAX_QUESTIONS:
            # The oldest was never answered.
            del self._waiting[next(iter(self._waiting))]
        self._last = (self._last + 1) % (1 << 32)
        self._waiting[self._last] = reply
        self._mux.send(protocol.QUERY, self._last, kind + message)

    def _on_datagram(self, _events: int) -> None:
        try:
            message, sender = self._datagrams.recvfrom(_MAX_BYTES)
        except OSError:
            return

        def reply(answer: bytes) -> None:
            try:
                self._datagrams.sendto(answer, sender)
            except OSError:
                # Its socket is full or gone; it will ask again.
                return

        self._ask(_UDP, message, reply)

    def _on_connection(self, _events: int) -> None:
        try:
            peer, _ = self._listener.accept()
        except OSError:
            return
        peer.setblocking(False)
        _Connection(self._mux, peer, self._ask)


class _Connection:
    """One client over TCP (RFC 1035, 4.2.2: each message behind its length)."""

    def __init__(
        self,
        mux: Mux,
        peer: socket.socket,
        ask: Callable[[bytes, bytes, Callable[[bytes], None]], None],
    ) -> None:
        self._mux = mux
        self._peer = peer
        self._ask = ask
        self._data = b""
        mux.add(peer.fileno(), READ, self._on_readable)

    def _on_readable(self, _events: int) -> None:
        try:
            data = self._peer.recv(_MAX_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._data += data
        while len(self._data) >= 2:
            length = int.from_bytes(self._data[:2], "big")
            if len(self._data) < 2 + length:
                break
            message, self._data = self._data[2 : 2 + length], self._data[2 + length :]
            self._ask(_TCP, message, self._reply)
        if not data:
            self._mux.remove(self._peer.fileno())
            self._peer.close()

    def _reply(self, answer: bytes) -> None:
        try:
            self._peer.send(len(answer).to_bytes(2, "big") + answer)
        except OSError:
            # The client has gone.
            return
