"""Bytes between one hijacked connection and the pipes of a container or a command.

Docker's multiplexed format (Engine API, "ContainerAttach"): a frame is one byte for the stream (1
stdout, 2 stderr), three zero bytes, a four-byte big-endian length, and that many bytes. With a
terminal there is one stream and no frames. What the client sends is always raw, and ends when the
client ends its half of the connection.

One thread, no byte is waited for in one direction while the other has something to do: a client
that writes without reading would hang otherwise.
"""

from __future__ import annotations

import fcntl
import os
import select
import socket
from collections.abc import Callable
from typing import Final

STDIN: Final = 0
STDOUT: Final = 1
STDERR: Final = 2

_OUTPUT_BYTES: Final = 256 * 1024
_INPUT_BYTES: Final = 64 * 1024
_GONE: Final = select.POLLHUP | select.POLLERR | select.POLLNVAL
_READABLE: Final = select.POLLIN | select.POLLHUP | select.POLLERR

Send = Callable[[bytes], bytes]


def frame(stream: int, data: bytes) -> bytes:
    """Return one frame of the multiplexed format."""
    return frame_head(stream, len(data)) + data


def frame_head(stream: int, length: int) -> bytes:
    """Return the eight bytes before the data of a frame."""
    return stream.to_bytes(1, "big") + b"\0\0\0" + length.to_bytes(4, "big")


class Pump:
    """One connection's bytes; the descriptors stay the caller's."""

    def __init__(
        self,
        sock: socket.socket,
        outputs: dict[int, int],
        *,
        stdin_fd: int = -1,
        multiplexed: bool = True,
        early: bytes = b"",
        stop_fd: int = -1,
        end_fd: int = -1,
        ends_with_outputs: bool = True,
        on_stdin_end: Callable[[], None] | None = None,
        encode: Callable[[int, bytes], bytes] | None = None,
    ) -> None:
        """Prepare.

        Args:
            sock: the client; becomes non-blocking.
            outputs: read ends by descriptor, with the stream each of them is.
            stdin_fd: where the client's bytes go; -1: they are dropped.
            multiplexed: with frames.
            early: what the client has sent already.
            stop_fd: readable when the server stops.
            end_fd: readable when the container or command has ended: what is in the pipes by then
                is passed on, and it is over.
            ends_with_outputs: the end of all outputs is the end.
            on_stdin_end: closes ``stdin_fd``: the client has no more.
            encode: another framing (a websocket's); gets the stream and the data.
        """
        self._sock = sock
        self._outputs = dict(outputs)
        self._had_outputs = bool(outputs)
        self._stdin_fd = stdin_fd
        self._multiplexed = multiplexed
        self._to_container = early if stdin_fd >= 0 else b""
        self._to_client = b""
        self._stop_fd = stop_fd
        self._end_fd = end_fd
        self._ends_with_outputs = ends_with_outputs
        self._on_stdin_end = on_stdin_end
        self._encode = encode
        self._watched: dict[int, Callable[[], bool]] = {}
        self._client_sends = True
        self._over = False
        self.client_gone = False

    def run(self) -> None:
        """Pump until the container, the client or the server has had enough."""
        self._sock.setblocking(False)
        for fd in (*self._outputs, self._stdin_fd):
            if fd >= 0:
                os.set_blocking(fd, False)
        for fd in self._outputs:
            _widen(fd)
        while not self._over:
            self._step()
        if not self.client_gone:
            self.finish()
        self._flush()

    def watch(self, fd: int, on_readable: Callable[[], bool]) -> None:
        """Call ``on_readable`` when a descriptor is, until that returns False."""
        self._watched[fd] = on_readable

    def accept_input(self, data: bytes) -> bytes:
        """Turn what the client sent into bytes for the container; a websocket's has frames."""
        return data

    def finish(self) -> None:
        """Add what belongs behind the last byte."""

    def queue_output(self, data: bytes) -> None:
        """Send bytes of the protocol, behind what waits already."""
        self._to_client += data

    def queue_input(self, data: bytes) -> None:
        """Give bytes to the container, behind what waits already."""
        if self._stdin_fd >= 0:
            self._to_container += data

    def end_input(self) -> None:
        """Take no more from the client."""
        self._client_sends = False
        self._end_stdin()

    def _step(self) -> None:
        poll = select.poll()
        poll.register(self._sock, self._interest())
        if not self._to_client:
            for fd in self._outputs:
                poll.register(fd, select.POLLIN)
        if self._to_container:
            poll.register(self._stdin_fd, select.POLLOUT)
        elif self._stdin_fd >= 0:
            poll.register(self._stdin_fd, 0)
        for fd in (self._stop_fd, self._end_fd, *self._watched):
            if fd >= 0:
                poll.register(fd, select.POLLIN)
        ready = dict(poll.poll())
        if self._stop_fd in ready:
            self._over = True
            return
        self._serve_client(ready.pop(self._sock.fileno(), 0))
        self._serve_container(ready)
        for fd in [fd for fd in self._watched if fd in ready]:
            if not self._watched[fd]():
                del self._watched[fd]
        self._check_end(ended=self._end_fd in ready)

    def _interest(self) -> int:
        events = select.POLLOUT if self._to_client else 0
        if self._client_sends and not self._to_container:
            events |= select.POLLIN
        return events

    def _serve_client(self, events: int) -> None:
        if events & select.POLLOUT:
            self._to_client = self._send(self._to_client)
        if events & select.POLLIN:
            self._receive()
        elif events & _GONE:
            self._hang_up()

    def _serve_container(self, ready: dict[int, int]) -> None:
        if self._stdin_fd in ready and self._stdin_fd >= 0:
            if ready[self._stdin_fd] & select.POLLOUT:
                self._feed()
            elif ready[self._stdin_fd] & _GONE:
                self._end_stdin()
        for fd in list(self._outputs):
            if ready.get(fd, 0) & _READABLE and not self._to_client:
                self._take(fd)

    def _check_end(self, *, ended: bool) -> None:
        if self._over or self._to_client:
            return
        if ended:
            # Everything was written before the end was told.
            while self._outputs and not self._to_client and not self._over:
                taken = [self._take(fd) for fd in list(self._outputs)]
                self._over = self._over or not any(taken)
            self._over = self._over or not self._outputs
        elif self._had_outputs and not self._outputs and self._ends_with_outputs:
            self._over = True

    def _take(self, fd: int) -> bool:
        """Pass one piece on; False when there is none."""
        try:
            data = os.read(fd, _OUTPUT_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            data = b""  # the last process on the terminal has closed it (pty(7))
        stream = self._outputs[fd]
        if not data:
            del self._outputs[fd]
            return False
        if self._encode is not None:
            rest = self._send(self._encode(stream, data))
        elif self._multiplexed:
            rest = self._send_framed(stream, data)
        else:
            rest = self._send(data)
        self._to_client += rest
        return True

    def _send_framed(self, stream: int, data: bytes) -> bytes:
        head = frame_head(stream, len(data))
        try:
            sent = self._sock.sendmsg([head, data])
        except BlockingIOError:
            sent = 0
        except OSError:
            self._hang_up()
            return b""
        if sent >= len(head):
            return data[sent - len(head) :]
        return head[sent:] + data

    def _send(self, data: bytes) -> bytes:
        """Send what fits; return the rest."""
        try:
            return data[self._sock.send(data) :]
        except BlockingIOError:
            return data
        except OSError:
            self._hang_up()
            return b""

    def _receive(self) -> None:
        try:
            data = self._sock.recv(_INPUT_BYTES)
        except BlockingIOError:
            return
        except OSError:
            self._hang_up()
            return
        if not data:
            self.end_input()
            return
        data = self.accept_input(data)
        if self._stdin_fd >= 0 and data:
            self._to_container = data
            self._feed()

    def _feed(self) -> None:
        try:
            written = os.write(self._stdin_fd, self._to_container)
        except BlockingIOError:
            return
        except OSError:
            self._end_stdin()  # nobody reads it any more
            return
        self._to_container = self._to_container[written:]

    def _end_stdin(self) -> None:
        self._to_container = b""
        if self._stdin_fd >= 0:
            self._stdin_fd = -1
            if self._on_stdin_end is not None:
                self._on_stdin_end()

    def _hang_up(self) -> None:
        self.client_gone = True
        self._over = True
        self._to_client = b""

    def _flush(self) -> None:
        """Let a slow client have the rest, within reason."""
        if not self._to_client:
            return
        self._sock.settimeout(5.0)
        try:
            self._sock.sendall(self._to_client)
        except OSError:
            self.client_gone = True


def _widen(fd: int) -> None:
    """Let a pipe hold what one read takes; refused for terminals and above the user's limit."""
    try:
        fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, _OUTPUT_BYTES)
    except OSError:
        return
