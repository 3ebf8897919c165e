"""The container's control socket: who may connect, and frames without blocking.

``<run>/c/<id>``, mode 0600 in a 0700 directory. A client is never waited for: requests are
assembled from what has arrived, answers that do not fit the socket's buffer end the connection.
"""

from __future__ import annotations

import array
import os
import socket
from collections.abc import Callable

import msgspec

from proa.engine.ipc import wire
from proa.engine.layout import SocketPath
from proa.engine.supervisor.loop import READ, Loop
from proa.errors import Invalid, ProaError

_BACKLOG = 64
_SMALL_FRAME_BYTES = 1024 * 1024

Handler = Callable[["Connection", wire.ControlRequest], None]


class Connection:
    """One client: the user of a control socket, or the client of a foreground ``run``."""

    def __init__(
        self,
        loop: Loop,
        peer: socket.socket,
        on_request: Handler,
        on_signal: Callable[[int], None],
        on_close: Callable[[Connection], None],
    ) -> None:
        self.fds: list[int] = []
        self.open = True
        self._loop = loop
        self._peer = peer
        self._data = bytearray()
        self._on_request = on_request
        self._on_signal = on_signal
        self._on_close = on_close
        peer.setblocking(False)
        loop.add(peer.fileno(), READ, self._on_readable)

    @property
    def pid(self) -> int:
        """The client's process."""
        credentials = self._peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        return int.from_bytes(credentials[:4], "little", signed=True)

    def answer(self, kind: bytes, payload: bytes = b"", fds: tuple[int, ...] = ()) -> None:
        """Send a frame; a client that does not take it is hung up on."""
        if not self.open:
            return
        try:
            wire.send(self._peer, kind, payload, fds)
        except OSError:
            self.close()

    def fail(self, error: BaseException) -> None:
        """Send an error."""
        self.answer(b"E", wire.encode(wire.failure_of(error)))

    def take_fds(self, present: tuple[bool, ...]) -> list[int]:
        """Hand over the descriptors that came with the request, as many as were announced.

        Raises:
            Invalid: fewer arrived.
        """
        wanted = sum(present)
        if len(self.fds) < wanted:
            raise Invalid(f"a request announced {wanted} descriptors and sent {len(self.fds)}")
        taken, self.fds = self.fds[:wanted], self.fds[wanted:]
        return taken

    def release(self) -> socket.socket:
        """Stop watching and give the socket back, blocking again; nothing is closed."""
        self.open = False
        self._loop.remove(self._peer.fileno())
        self._peer.setblocking(True)
        self._drop_fds()
        return self._peer

    def close(self) -> None:
        """Hang up. Idempotent."""
        if not self.open:
            return
        self.open = False
        self._loop.remove(self._peer.fileno())
        self._peer.close()
        self._drop_fds()
        self._on_close(self)

    def _drop_fds(self) -> None:
        for fd in self.fds:
            os.close(fd)
        self.fds.clear()

    def _on_readable(self, _events: int) -> None:
        try:
            more = self._receive()
        except BlockingIOError:
            return
        except OSError:
            more = b""
        if not more:
            self.close()
            return
        self._data += more
        while self.open and len(self._data) >= 5:
            length = int.from_bytes(self._data[1:5], "big")
            if length > _SMALL_FRAME_BYTES:
                self.close()
                return
            if len(self._data) < 5 + length:
                return
            kind, payload = bytes(self._data[:1]), bytes(self._data[5 : 5 + length])
            del self._data[: 5 + length]
            self._handle(kind, payload)

    def _receive(self) -> bytes:
        space = socket.CMSG_SPACE(wire.MAX_FDS * 4)
        data, rights, _, _ = self._peer.recvmsg(65536, space, socket.MSG_CMSG_CLOEXEC)
        for level, kind, content in rights:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds = array.array("i")
                fds.frombytes(content[: len(content) - len(content) % 4])
                self.fds += fds
        return data

    def _handle(self, kind: bytes, payload: bytes) -> None:
        if kind == b"K" and payload.isdigit():
            self._on_signal(int(payload))
            return
        try:
            request = wire.decode_control(payload)
        except msgspec.DecodeError as error:
            self.fail(Invalid(f"a control request cannot be read: {error}"))
            return
        try:
            self._on_request(self, request)
        except ProaError as error:
            self.fail(error)


class ControlSocket:
    """The listening side."""

    def __init__(
        self,
        loop: Loop,
        path: str,
        on_connect: Callable[[socket.socket], None],
        listener: int = -1,
    ) -> None:
        """Listen on ``path``, replacing what a dead supervisor left.

        Args:
            loop: where clients are waited for.
            path: the socket's place.
            on_connect: gets each client.
            listener: a socket that listens there already, taken over; -1 for none.

        Raises:
            OSError: the directory is gone or full.
        """
        self._loop = loop
        self._path = path
        self._on_connect = on_connect
        if listener >= 0:
            self._listener = socket.socket(fileno=listener)
            self._listener.setblocking(False)
            loop.add(listener, READ, self._on_readable)
            return
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        with SocketPath(path) as name:
            try:
                self._listener.bind(name)
            except OSError:
                os.unlink(name)
                self._listener.bind(name)
        self._listener.listen(_BACKLOG)
        loop.add(self._listener.fileno(), READ, self._on_readable)

    @property
    def fd(self) -> int:
        """The listening descriptor."""
        return self._listener.fileno()

    def forget(self) -> None:
        """Stop listening here; whoever else has the descriptor goes on."""
        self._loop.remove(self._listener.fileno())
        self._listener.close()

    def close(self) -> None:
        """Stop listening and remove the socket."""
        self._loop.remove(self._listener.fileno())
        try:
            os.unlink(self._path)
        except FileNotFoundError:
            pass
        self._listener.close()

    def _on_readable(self, _events: int) -> None:
        try:
            peer, _ = self._listener.accept()
        except OSError:
            return
        self._on_connect(peer)
