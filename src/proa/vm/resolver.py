"""The container's questions for names, from its guest to the resolver in its network namespace.

The engine serves names at 127.0.0.11 in the namespace; in the guest the agent listens there and
sends each question over the channel. Here it is asked again where the engine hears it.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from proa.linux.netns import open_socket
from proa.vm.agent.mux import READ

if TYPE_CHECKING:
    from proa.vm.agent.mux import Mux

ADDRESS = "127.0.0.11"
_PORT = 53
_MAX_QUESTIONS = 256
"""More at a time are dropped: whoever asks will ask again."""

_PATIENCE_S = 10.0
_UDP, _TCP = 0, 1
_MAX_BYTES = 65535


class ResolverRelay:
    """Asks for one guest.

    Args:
        netns_fd: the container's namespace on the host; stays the caller's, open meanwhile.
    """

    def __init__(self, netns_fd: int) -> None:
        self._netns_fd = netns_fd
        self._open: dict[int, _Question] = {}

    def ask(self, mux: Mux, payload: bytes, answer: Callable[[bytes], None]) -> None:
        """Pass a question on; ``answer`` gets what comes back, if anything does.

        Args:
            mux: whose loop waits.
            payload: a byte that says UDP or TCP, then the DNS message.
            answer: called with the DNS message.
        """
        if len(self._open) >= _MAX_QUESTIONS or len(payload) < 2:
            return
        kind = socket.SOCK_STREAM if payload[0] == _TCP else socket.SOCK_DGRAM
        try:
            peer = open_socket(self._netns_fd, socket.AF_INET, kind | socket.SOCK_NONBLOCK)
        except OSError:
            return
        question = _Question(mux, peer, payload[0] == _TCP, answer, self._forget)
        self._open[question.fd] = question
        question.send(payload[1:])

    def _forget(self, fd: int) -> None:
        self._open.pop(fd, None)


class _Question:
    """One question on its way."""

    def __init__(
        self,
        mux: Mux,
        peer: socket.socket,
        stream: bool,
        answer: Callable[[bytes], None],
        forget: Callable[[int], None],
    ) -> None:
        self._mux = mux
        self._peer = peer
        self._stream = stream
        self._answer = answer
        self._forget = forget
        self._data = b""
        self._finished = False
        self.fd = peer.fileno()

    def send(self, message: bytes) -> None:
        """Ask; the loopback interface takes it at once or never."""
        try:
            # A listener on the loopback interface has its queue: connecting ends at once.
            self._peer.setblocking(self._stream)
            self._peer.settimeout(1.0 if self._stream else 0.0)
            self._peer.connect((ADDRESS, _PORT))
            if self._stream:
                message = len(message).to_bytes(2, "big") + message
            self._peer.send(message)
            self._peer.setblocking(False)
            self._mux.add(self.fd, READ, self._on_readable)
            self._mux.call_later(time.monotonic() + _PATIENCE_S, self.close)
        except OSError:
            self.close()

    def close(self) -> None:
        """Give up, or be done. Idempotent."""
        if self._finished:
            return
        self._finished = True
        self._mux.remove(self.fd)
        self._peer.close()
        self._forget(self.fd)

    def _on_readable(self, _events: int) -> None:
        try:
            data = self._peer.recv(_MAX_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not self._stream:
            if data:
                self._answer(data)
            self.close()
            return
        self._data += data
        complete = len(self._data) >= 2 and len(self._data) >= 2 + int.from_bytes(
            self._data[:2], "big"
        )
        if complete:
            self._answer(self._data[2 : 2 + int.from_bytes(self._data[:2], "big")])
        if complete or not data:
            self.close()
