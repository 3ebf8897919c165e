"""A client of ``attach`` and ``exec``, byte by byte: what the docker command line hides."""

from __future__ import annotations

import base64
import os
import socket
from typing import NamedTuple

from tests.support.serving import Api

TIMEOUT_S = 20.0


class Frame(NamedTuple):
    """One frame of the multiplexed format: 1 is stdout, 2 is stderr."""

    stream: int
    data: bytes


class Hijacked:
    """A connection that was taken over; a context manager.

    Attributes:
        status: of the head.
        headers: of it, lower-case names.
        sock: for what comes after it.
    """

    def __init__(
        self,
        api: Api,
        target: str,
        *,
        body: bytes = b"",
        upgrade: str = "tcp",
        method: str = "POST",
        headers: str = "",
        early: bytes = b"",
    ) -> None:
        """Send a request and read the head of its answer.

        Args:
            api: the server.
            target: with version and query.
            body: JSON.
            upgrade: empty: do not ask for one.
            method: of the request.
            headers: more lines, each with CR LF.
            early: sent together with the request, for the other side of the head.
        """
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(TIMEOUT_S)
        self.sock.connect(api.path)
        head = f"{method} {target} HTTP/1.1\r\nHost: docker\r\n{headers}"
        if upgrade:
            head += f"Connection: Upgrade\r\nUpgrade: {upgrade}\r\n"
        if body:
            head += "Content-Type: application/json\r\n"
        if method == "POST":
            head += f"Content-Length: {len(body)}\r\n"
        self.sock.sendall(head.encode() + b"\r\n" + body + early)
        self._data = b""
        while b"\r\n\r\n" not in self._data:
            self._data += self._receive()
        raw, _, self._data = self._data.partition(b"\r\n\r\n")
        first, *lines = raw.decode().split("\r\n")
        self.status = int(first.split()[1])
        self.headers = {
            name.lower(): value for name, _, value in (line.partition(": ") for line in lines)
        }

    def read(self, size: int) -> bytes:
        """Return so many bytes, fewer at the end."""
        while len(self._data) < size and (more := self.sock.recv(65536)):
            self._data += more
        taken, self._data = self._data[:size], self._data[size:]
        return taken

    def read_all(self) -> bytes:
        """Return everything to the end."""
        while more := self.sock.recv(65536):
            self._data += more
        return self.read(len(self._data))

    def read_until(self, mark: bytes) -> bytes:
        """Return everything up to some bytes."""
        while mark not in self._data:
            self._data += self._receive()
        at = self._data.index(mark) + len(mark)
        return self.read(at)

    def read_frame(self) -> Frame | None:
        """Return the next frame; None at the end."""
        head = self.read(8)
        if not head:
            return None
        return Frame(head[0], self.read(int.from_bytes(head[4:], "big")))

    def read_frames(self) -> dict[int, bytes]:
        """Return everything to the end, by stream."""
        streams: dict[int, bytes] = {}
        while (frame := self.read_frame()) is not None:
            streams[frame.stream] = streams.get(frame.stream, b"") + frame.data
        return streams

    def end_input(self) -> None:
        """End our half."""
        self.sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Hang up."""
        self.sock.close()

    def __enter__(self) -> Hijacked:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _receive(self) -> bytes:
        more = self.sock.recv(65536)
        assert more, f"the connection ended after {self._data!r}"
        return more


def websocket(api: Api, target: str) -> Hijacked:
    """Return an open websocket; see :func:`send_message` and :func:`read_message`."""
    key = base64.b64encode(os.urandom(16)).decode()
    headers = f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
    return Hijacked(api, target, method="GET", upgrade="websocket", headers=headers)


def send_message(connection: Hijacked, data: bytes, opcode: int = 2) -> None:
    """Send a masked frame, as clients must."""
    mask = os.urandom(4)
    masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(data))
    assert len(data) < 126
    connection.sock.sendall(bytes((0x80 | opcode, 0x80 | len(data))) + mask + masked)


def read_message(connection: Hijacked) -> tuple[int, bytes]:
    """Return opcode and payload of the next frame."""
    head = connection.read(2)
    length = head[1]
    if length == 126:
        length = int.from_bytes(connection.read(2), "big")
    return head[0] & 0x0F, connection.read(length)
