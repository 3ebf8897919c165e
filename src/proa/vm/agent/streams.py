"""Bytes of processes over a channel: a :class:`Reader` sends what a descriptor has, a
:class:`Writer` writes what arrives into one.

A reader may send as many bytes as it was given credit for (:data:`WINDOW_BYTES` at first); a writer
gives more once it has written. So a process whose output nobody takes waits, as it would on a pipe,
and neither end ever holds more than a window for each stream.

A process that has ended cannot wait: what it left in its pipe is sent beyond the credit (at most
:data:`LAST_BYTES`), and a pipe that is full at the other end is made larger for it.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Callable

from proa.errors import Corrupt
from proa.vm.agent import protocol
from proa.vm.agent.mux import READ, WRITE, Mux, Stream, credit_of
from proa.vm.agent.protocol import Frame

WINDOW_BYTES = 256 * 1024
LAST_BYTES = 128 * 1024
_LARGE_PIPE_BYTES = 1024 * 1024
"""Holds a window, the last bytes and what was in the pipe before (``fs.pipe-max-size``)."""

_RETURN_BYTES = WINDOW_BYTES // 4
_ATOMIC_BYTES = 4096
"""PIPE_BUF: what a pipe that is ready takes without blocking (pipe(7))."""


def open_apart(fd: int, flags: int) -> int:
    """Return a descriptor of the same file that may be made non-blocking without others noticing.

    Pipes and terminals are opened anew; a socket or a file is duplicated, its flags are shared.
    """
    mode = os.fstat(fd).st_mode
    if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
        try:
            return os.open(
                f"/proc/self/fd/{fd}", flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
            )
        except OSError:
            # Another user's terminal, or no /proc.
            pass
    return os.dup(fd)


class Reader(Stream):
    """Sends what comes from a descriptor.

    Args:
        mux: the channel.
        stream: its number.
        fd: taken over.
        on_end: called once nothing more will be sent.
    """

    def __init__(
        self, mux: Mux, stream: int, fd: int, on_end: Callable[[], None] | None = None
    ) -> None:
        self._mux = mux
        self._stream = stream
        self._fd = fd
        self._on_end = on_end
        self._credit = WINDOW_BYTES
        self._waiting = False
        self._finishing = False
        self._last = LAST_BYTES
        self._pollable = True
        mux.streams[stream] = self
        self._resume()

    @property
    def open(self) -> bool:
        """More may come."""
        return self._fd >= 0

    def finish(self) -> None:
        """Send what is there now, then end, whoever else still holds the other side."""
        self._finishing = True
        while self.open and not self._mux.congested:
            self._read_last()

    def close(self) -> None:
        """Stop reading. Idempotent."""
        if self._fd < 0:
            return
        self._pause()
        os.close(self._fd)
        self._fd = -1
        self._mux.streams.pop(self._stream, None)
        if self._on_end is not None:
            self._on_end()

    def on_frame(self, frame: Frame) -> None:
        """Take credit, or the news that nobody reads."""
        if frame.kind == protocol.CREDIT:
            self._credit += credit_of(frame)
            if self._credit > WINDOW_BYTES:
                raise Corrupt("the channel to the guest carries more credit than was used")
            self._go_on()
        elif frame.kind == protocol.CLOSED:
            self.close()
        else:
            raise Corrupt("the channel to the guest carries data against a stream's direction")

    def on_writable(self) -> None:
        """Go on where the channel held this stream back."""
        self._go_on()

    def _go_on(self) -> None:
        if self._finishing:
            self.finish()
        else:
            self._resume()

    def _resume(self) -> None:
        if self._waiting or self._fd < 0 or not self._credit or self._mux.congested:
            return
        self._waiting = True
        if self._pollable:
            try:
                self._mux.add(self._fd, READ, self._on_readable)
                return
            except PermissionError:
                self._pollable = False
        self._mux.post(lambda: self._on_readable(0))

    def _pause(self) -> None:
        if self._waiting and self._pollable:
            self._mux.remove(self._fd)
        self._waiting = False

    def _on_readable(self, _events: int) -> None:
        if self._fd < 0:
            return
        if not self._pollable:
            self._waiting = False
        self._read(once=True)
        if not self._credit or self._mux.congested:
            self._pause()
        elif not self._pollable:
            self._resume()

    def _read(self, *, once: bool = False) -> None:
        """Send what is there, as far as credit goes; the end of it ends the stream."""
        while self._fd >= 0 and self._credit and not self._mux.congested:
            try:
                data = os.read(self._fd, min(self._credit, protocol.MAX_DATA_BYTES))
            except BlockingIOError:
                return
            except OSError:
                # EIO: the last process on the terminal has closed it (pty(7)).
                data = b""
            if not data:
                self._end()
                return
            self._credit -= len(data)
            self._mux.send(protocol.DATA, self._stream, data)
            if once:
                return

    def _read_last(self) -> None:
        """Send a piece of what is there, whatever the credit."""
        data = b""
        if self._last:
            try:
                data = os.read(self._fd, min(self._last, protocol.MAX_DATA_BYTES))
            except OSError:
                # EAGAIN: somebody else holds the pipe; EIO: a terminal that is closed (pty(7)).
                data = b""
        if not data:
            self._end()
            return
        self._last -= len(data)
        self._mux.send(protocol.DATA, self._stream, data)

    def _end(self) -> None:
        self._mux.send(protocol.END, self._stream)
        self.close()


class Writer(Stream):
    """Writes what arrives into a descriptor.

    Args:
        mux: the channel.
        stream: its number.
        fd: taken over.
        on_end: called once everything is written, or nobody reads.
    """

    def __init__(
        self, mux: Mux, stream: int, fd: int, on_end: Callable[[], None] | None = None
    ) -> None:
        self._mux = mux
        self._stream = stream
        self._fd = fd
        self._on_end = on_end
        self._data = bytearray()
        self._written = 0
        self._ended = False
        self._waiting = False
        self._blocking = os.get_blocking(fd)
        self._socket = stat.S_ISSOCK(os.fstat(fd).st_mode)
        mux.streams[stream] = self

    @property
    def open(self) -> bool:
        """Something is still to be written, or may come."""
        return self._fd >= 0

    def finish(self) -> None:
        """The process has ended: make room for what is left, if a pipe can have it."""
        if not self._data:
            return
        try:
            fcntl.fcntl(self._fd, fcntl.F_SETPIPE_SZ, _LARGE_PIPE_BYTES)
        except OSError:
            # No pipe, or a user over the limit: its reader takes its time.
            return
        self._write()

    def close(self) -> None:
        """Stop writing. Idempotent."""
        if self._fd < 0:
            return
        if self._waiting:
            self._mux.remove(self._fd)
            self._waiting = False
        os.close(self._fd)
        self._fd = -1
        self._data.clear()
        self._mux.streams.pop(self._stream, None)
        if self._on_end is not None:
            self._on_end()

    def on_frame(self, frame: Frame) -> None:
        """Take data or its end."""
        if frame.kind == protocol.DATA:
            held = len(self._data) + len(frame.payload)
            if self._ended or held > WINDOW_BYTES + LAST_BYTES:
                raise Corrupt("the channel to the guest carries more data than was asked for")
            self._data += frame.payload
            if not self._waiting:
                self._write()
        elif frame.kind == protocol.END:
            self._ended = True
            if not self._data:
                self.close()
        else:
            raise Corrupt("the channel to the guest carries credit against a stream's direction")

    def _write(self) -> None:
        while self._data:
            try:
                count = self._write_some()
            except BlockingIOError:
                break
            except OSError:
                # EPIPE, EIO: nobody reads; the process at the other end shall know.
                self._mux.send(protocol.CLOSED, self._stream)
                self.close()
                return
            del self._data[:count]
            self._written += count
        if self._written >= _RETURN_BYTES or (self._written and not self._data):
            self._mux.send(protocol.CREDIT, self._stream, protocol.CREDIT_VALUE.pack(self._written))
            self._written = 0
        self._wait_or_end()

    def _write_some(self) -> int:
        """Write what goes without blocking.

        Raises:
            BlockingIOError: nothing goes now.
        """
        if self._socket:
            return self._send()
        if not self._blocking:
            return os.write(self._fd, self._data)
        if self._is_ready():
            return os.write(self._fd, self._data[:_ATOMIC_BYTES])
        raise BlockingIOError

    def _send(self) -> int:
        import socket

        with socket.socket(fileno=os.dup(self._fd)) as peer:
            return peer.send(self._data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)

    def _is_ready(self) -> bool:
        import select

        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        return bool(poll.poll(0))

    def _wait_or_end(self) -> None:
        if self._data and not self._waiting:
            self._waiting = True
            self._mux.add(self._fd, WRITE, self._on_ready)
        elif not self._data and self._waiting:
            self._mux.remove(self._fd)
            self._waiting = False
        if not self._data and self._ended:
            self.close()

    def _on_ready(self, _events: int) -> None:
        self._write()
