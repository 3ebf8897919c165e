"""The container's stdio: from its pipes into the log and to whoever is attached, and stdin back.

Descriptors of clients arrive over the engine's sockets, so a byte goes from the container to the
user's terminal through one process. Writing must never block the supervisor, and the client's own
open file description must not become non-blocking (the user's shell shares it): pipes and terminals
are opened anew through /proc/self/fd, sockets are written with MSG_DONTWAIT, regular files never
block.
"""

from __future__ import annotations

import os
import socket
import stat
import time
from collections.abc import Callable, Sequence
from typing import Literal, Protocol

import msgspec

from proa.engine.supervisor.detachkeys import DetachScanner
from proa.engine.supervisor.jobcontrol import BACKGROUND_S, is_terminal_in_background
from proa.engine.supervisor.loop import HANGUP, READ, WRITE, Loop, Timer

StreamName = Literal["stdout", "stderr"]

CHUNK_BYTES = 65536
BACKLOG_BYTES = 1024 * 1024
"""What may wait for one slow reader before the container's writes are held back."""


class Attachment(msgspec.Struct, frozen=True):
    """Descriptors of a client, -1 for none; they are closed by whoever takes the attachment.

    Attributes:
        job: the process whose place in its terminal's job control they follow; 0 for none.
        sig_proxy: the client's signals are the container's.
    """

    stdin: int = -1
    stdout: int = -1
    stderr: int = -1
    job: int = 0
    sig_proxy: bool = True

    @classmethod
    def from_fds(
        cls, present: Sequence[bool], fds: Sequence[int], *, job: int = 0, sig_proxy: bool = True
    ) -> Attachment:
        """Give received descriptors their roles; surplus ones are closed."""
        left = list(fds)
        roles = [left.pop(0) if wanted and left else -1 for wanted in present]
        for fd in left:
            os.close(fd)
        stdin, stdout, stderr = roles
        return cls(stdin, stdout, stderr, job, sig_proxy)

    def close(self) -> None:
        """Close all descriptors."""
        for fd in (self.stdin, self.stdout, self.stderr):
            if fd >= 0:
                os.close(fd)


class Recorder(Protocol):
    """Where output is kept (a log driver's writer)."""

    def write(self, stream: StreamName, data: bytes, time_ns: int) -> None:
        """Take output as it came; must not raise."""


class Sink:
    """One client's stdout or stderr, written without blocking and in order."""

    def __init__(self, loop: Loop, fd: int, on_change: Callable[[], None]) -> None:
        """Take ``fd`` over.

        Args:
            loop: where a full descriptor waits.
            fd: closed by :meth:`close`.
            on_change: called when waiting bytes were written or the sink broke.
        """
        self.broken = False
        self._loop = loop
        self._on_change = on_change
        self._waiting = bytearray()
        self._socket: socket.socket | None = None
        mode = os.fstat(fd).st_mode
        if stat.S_ISSOCK(mode):
            self._socket = socket.socket(fileno=fd)
        elif stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
            fd = _reopen(fd, os.O_WRONLY)
        self._fd = fd

    @property
    def backlog(self) -> int:
        """Bytes that wait."""
        return len(self._waiting)

    def write(self, data: bytes) -> None:
        """Write what fits now and keep the rest; a broken sink swallows everything."""
        if self.broken:
            return
        if not self._waiting:
            data = data[self._write_some(data) :]
            if data and not self.broken:
                self._loop.add(self._fd, WRITE, self._on_writable)
        if not self.broken:
            self._waiting += data

    def close(self) -> None:
        """Forget what waits and close. Idempotent."""
        self._loop.remove(self._fd)
        self._waiting.clear()
        self.broken = True
        if self._fd >= 0:
            if self._socket is not None:
                self._socket.close()
            else:
                os.close(self._fd)
            self._fd = -1

    def _write_some(self, data: bytes | bytearray) -> int:
        try:
            if self._socket is not None:
                return self._socket.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
            return os.write(self._fd, data)
        except BlockingIOError:
            return 0
        except OSError:
            self.broken = True
            return 0

    def _on_writable(self, _events: int) -> None:
        del self._waiting[: self._write_some(self._waiting)]
        if self.broken or not self._waiting:
            self._waiting.clear()
            self._loop.remove(self._fd)
        self._on_change()


def _reopen(fd: int, mode: int) -> int:
    """Return a non-blocking descriptor of the same pipe or terminal with its own file description.

    Where that is refused (a pipe of another user's process) the description itself is changed.
    """
    try:
        fresh = os.open(f"/proc/self/fd/{fd}", mode | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        os.set_blocking(fd, False)
        return fd
    os.close(fd)
    return fresh


class Output:
    """One output stream of the container: read, record, hand to the sinks."""

    def __init__(self, loop: Loop, fd: int, name: StreamName, recorder: Recorder) -> None:
        """Take the read end ``fd`` over; -1 for a stream that has ended already."""
        self.open = fd >= 0
        self._loop = loop
        self._fd = fd
        self._name = name
        self._recorder = recorder
        self._sinks: list[Sink] = []
        self._leader: Sink | None = None
        self._held = False
        if self.open:
            os.set_blocking(fd, False)
            loop.add(fd, READ, self._on_readable)

    @property
    def fd(self) -> int:
        """The read end, -1 once the stream has ended."""
        return self._fd if self.open else -1

    def attach(self, sink: Sink, *, leader: bool = False) -> None:
        """Add a reader.

        Args:
            sink: who gets all output from now on.
            leader: the container belongs to it, as a command to its pipeline: when it breaks, the
                container's writes shall fail like anybody's on a broken pipe.
        """
        self._sinks.append(sink)
        if leader:
            self._leader = sink

    def detach(self, sink: Sink) -> None:
        """Remove a reader and close it."""
        if sink in self._sinks:
            self._sinks.remove(sink)
        if self._leader is sink:
            self._leader = None
        sink.close()
        self.review()

    def review(self) -> None:
        """Drop broken readers; hold the container back while one is slow, go on when it is not."""
        if self._leader is not None and self._leader.broken:
            self._close()
            return
        for sink in [sink for sink in self._sinks if sink.broken]:
            self.detach(sink)
        held = any(sink.backlog > BACKLOG_BYTES for sink in self._sinks)
        if held != self._held and self.open:
            self._held = held
            if held:
                self._loop.remove(self._fd)
            else:
                self._loop.add(self._fd, READ, self._on_readable)

    def abandon_readers(self) -> None:
        """Close all readers; the container writes on, into the record alone."""
        self._leader = None
        for sink in list(self._sinks):
            self.detach(sink)

    @property
    def settled(self) -> bool:
        """Nothing waits for a reader."""
        return not any(sink.backlog for sink in self._sinks if not sink.broken)

    def drain(self) -> None:
        """Read what is there now: the container's processes have ended."""
        while self.open and self._read():
            pass
        self._close()

    def close(self) -> None:
        """Close the stream and all readers."""
        self._close()
        for sink in self._sinks:
            sink.close()
        self._sinks.clear()

    def _close(self) -> None:
        if self.open:
            self.open = False
            self._loop.remove(self._fd)
            os.close(self._fd)

    def _on_readable(self, _events: int) -> None:
        if not self._read():
            self._close()

    def _read(self) -> bool:
        """Pass one chunk on; False at the end of the stream or when nothing is there."""
        try:
            data = os.read(self._fd, CHUNK_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            # EIO: the last process on the terminal has closed it (pty(7)).
            return False
        if not data:
            return False
        self._recorder.write(self._name, data, time.time_ns())
        for sink in self._sinks:
            sink.write(data)
        self.review()
        return self.open


class Input:
    """The container's stdin: one attached source at a time feeds its pipe."""

    def __init__(self, loop: Loop, fd: int, *, once: bool) -> None:
        """Take the write end ``fd`` over.

        Args:
            loop: where both ends wait.
            fd: the container's pipe.
            once: the first source's end is the container's end of file (Docker's StdinOnce).
        """
        self._loop = loop
        self._fd = fd
        self._once = once
        self._source = -1
        self._pollable = False
        self._waiting = b""
        self._job = 0
        self._timer: Timer | None = None
        self._scanner: DetachScanner | None = None
        self._on_detach: Callable[[], None] | None = None
        os.set_blocking(fd, False)

    def attach(
        self,
        source: int,
        keys: bytes = b"",
        on_detach: Callable[[], None] | None = None,
        *,
        job: int = 0,
    ) -> None:
        """Read ``source`` (taken over) into the container from now on.

        Args:
            source: any descriptor.
            keys: sequence that detaches instead of being passed on; empty for none.
            on_detach: called when it came.
            job: nothing is read from a terminal on which this process is in the background.
        """
        self.detach()
        self._job = job if os.isatty(source) else 0
        self._scanner = DetachScanner(keys) if keys else None
        self._on_detach = on_detach
        if self._fd < 0:
            os.close(source)
            return
        mode = os.fstat(source).st_mode
        if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
            source = _reopen(source, os.O_RDONLY)
        elif stat.S_ISSOCK(mode):
            # A duplicate shares the description's flags; the peer's end is another description.
            os.set_blocking(source, False)
        self._source = source
        try:
            self._loop.add(source, READ, self._on_source)
            self._pollable = True
        except PermissionError:
            # A regular file is always ready; the container's pipe sets the pace.
            self._pollable = False
            self._loop.add(self._fd, WRITE, self._on_pipe)

    @property
    def fd(self) -> int:
        """The container's pipe, -1 once it is closed."""
        return self._fd

    def detach(self) -> None:
        """Forget the source; the container's pipe stays open."""
        if self._source >= 0:
            if self._pollable:
                self._loop.remove(self._source)
            os.close(self._source)
            self._source = -1
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def close(self) -> None:
        """Close the container's pipe and the source."""
        self.detach()
        if self._fd >= 0:
            self._loop.remove(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _look_again(self) -> None:
        self._timer = None
        self._loop.add(self._source, READ, self._on_source)

    def _on_source(self, events: int) -> None:
        background = self._job and is_terminal_in_background(self._source, self._job)
        if background and not events & HANGUP:
            self._loop.remove(self._source)
            self._timer = self._loop.call_later(BACKGROUND_S, self._look_again)
            return
        try:
            data = os.read(self._source, CHUNK_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._end_of_source()
            return
        leaving = False
        if self._scanner is not None:
            data, leaving = self._scanner.feed(data)
        self._waiting = data
        self._push()
        if leaving:
            self.detach()
            if self._on_detach is not None:
                self._on_detach()
            return
        if self._waiting and self._source >= 0:
            # Removed, not masked: the kernel reports a hang-up whatever is asked for.
            self._loop.remove(self._source)
            self._loop.add(self._fd, WRITE, self._on_pipe)

    def _on_pipe(self, _events: int) -> None:
        if not self._waiting and not self._pollable and self._source >= 0:
            self._waiting = os.read(self._source, CHUNK_BYTES)
            if not self._waiting:
                self._end_of_source()
                return
        self._push()
        if not self._waiting and self._pollable:
            self._loop.remove(self._fd)
            if self._source >= 0:
                self._loop.add(self._source, READ, self._on_source)

    def _push(self) -> None:
        if not self._waiting:
            return
        try:
            self._waiting = self._waiting[os.write(self._fd, self._waiting) :]
        except BlockingIOError:
            return
        except OSError:
            # The container closed its stdin; nobody will read the rest.
            self._waiting = b""
            self.close()

    def _end_of_source(self) -> None:
        if self._once:
            self.close()
        else:
            self.detach()
            self._loop.remove(self._fd)
