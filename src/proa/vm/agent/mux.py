"""Moves frames over a channel, and waits for all descriptors of one end in one place.

Single-threaded: everything but :meth:`Mux.post` belongs to the thread that calls :meth:`Mux.run`.
"""

from __future__ import annotations

import os
import select
import time
from collections import deque
from collections.abc import Callable, Mapping

from proa.errors import Corrupt
from proa.vm.agent import protocol
from proa.vm.agent.protocol import Frame, FrameParser

READ = select.EPOLLIN
WRITE = select.EPOLLOUT
_ALWAYS = select.EPOLLHUP | select.EPOLLERR

CONGESTED_BYTES = 256 * 1024
"""So much unsent data holds all streams back."""

_CHUNK_BYTES = 256 * 1024

Callback = Callable[[int], None]


class Stream:
    """What a stream's frames are given to; see :mod:`proa.vm.agent.streams`."""

    def on_frame(self, frame: Frame) -> None:
        """Handle DATA, CREDIT, END or CLOSED.

        Raises:
            Corrupt: the other end breaks the rules.
        """
        raise NotImplementedError

    def on_writable(self) -> None:
        """The channel takes data again."""


class Mux:
    """One end of a channel.

    Args:
        fd: the channel, made non-blocking here; stays the caller's.
        accepted: what the other end may send (:data:`protocol.FROM_GUEST` or ``FROM_HOST``).
        on_frame: gets the frames that belong to no stream.
    """

    def __init__(
        self, fd: int, accepted: Mapping[int, int], on_frame: Callable[[Frame], None]
    ) -> None:
        os.set_blocking(fd, False)
        self._fd = fd
        self._parser = FrameParser(accepted)
        self._on_frame = on_frame
        self._out: deque[memoryview] = deque()
        self._out_bytes = 0
        self._poll = select.epoll()
        self._callbacks: dict[int, Callback] = {}
        self._soon: deque[Callable[[], None]] = deque()
        self._timers: list[tuple[float, Callable[[], None]]] = []
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._interest = READ
        self.streams: dict[int, Stream] = {}
        self.stopped = False
        self.add(self._wake, READ, self._on_wake)
        self.add(fd, READ, self._on_channel)

    # -- descriptors -------------------------------------------------------------------------------

    def add(self, fd: int, events: int, callback: Callback) -> None:
        """Call ``callback`` with what happened when one of ``events`` has.

        Raises:
            PermissionError: a regular file: it is always ready.
        """
        self._poll.register(fd, events)
        self._callbacks[fd] = callback

    def modify(self, fd: int, events: int) -> None:
        """Wait for other events of a descriptor."""
        self._poll.modify(fd, events)

    def remove(self, fd: int) -> None:
        """Stop waiting for a descriptor. Idempotent."""
        if self._callbacks.pop(fd, None) is not None:
            self._poll.unregister(fd)

    def post(self, action: Callable[[], None]) -> None:
        """Run ``action`` in the loop's thread, soon. Any thread may call this."""
        self._soon.append(action)
        os.eventfd_write(self._wake, 1)

    def call_later(self, deadline: float, action: Callable[[], None]) -> None:
        """Run ``action`` at ``deadline`` (time.monotonic)."""
        self._timers.append((deadline, action))

    # -- frames ------------------------------------------------------------------------------------

    def send(self, kind: int, stream: int, payload: bytes = b"") -> None:
        """Send a frame, now or when the channel has room."""
        data = protocol.pack(kind, stream, payload)
        self._out.append(memoryview(data))
        self._out_bytes += len(data)
        if len(self._out) == 1:
            self._flush()

    @property
    def congested(self) -> bool:
        """More is waiting to be sent than streams may add to."""
        return self._out_bytes > CONGESTED_BYTES

    def run(self, timeout_s: float | None = None) -> None:
        """Wait once and handle what has happened.

        Raises:
            Corrupt: the other end breaks the rules.
            EOFError: the channel is closed.
        """
        if self._timers:
            next_s = max(min([deadline for deadline, _ in self._timers]) - time.monotonic(), 0)
            timeout_s = next_s if timeout_s is None else min(timeout_s, next_s)
        for fd, events in self._poll.poll(timeout_s):
            callback = self._callbacks.get(fd)
            if callback is not None:
                callback(events)
        if self._timers:
            self._run_timers()

    def _run_timers(self) -> None:
        now = time.monotonic()
        due = [timer for timer in self._timers if timer[0] <= now]
        self._timers = [timer for timer in self._timers if timer[0] > now]
        for _, action in due:
            action()

    def flush(self) -> None:
        """Wait until everything is sent.

        Raises:
            EOFError: the channel is closed.
        """
        while self._out:
            self._flush()
            if self._out:
                select.select((), (self._fd,), ())

    def close(self) -> None:
        """Forget all descriptors; none but its own is closed. Idempotent."""
        if self._wake >= 0:
            self._poll.close()
            os.close(self._wake)
            self._wake = -1

    def run_posted(self) -> None:
        """Run what was posted until now."""
        for _ in range(len(self._soon)):
            self._soon.popleft()()

    def _on_wake(self, _events: int) -> None:
        os.eventfd_read(self._wake)
        self.run_posted()

    def _on_channel(self, events: int) -> None:
        if events & WRITE:
            self._flush()
        if events & (READ | _ALWAYS):
            self._receive()

    def _receive(self) -> None:
        try:
            data = os.read(self._fd, _CHUNK_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            raise EOFError("the channel is broken") from error
        if not data:
            raise EOFError("the channel is closed")
        for frame in self._parser.feed(data):
            if frame.kind in _OF_STREAMS:
                stream = self.streams.get(frame.stream)
                # A frame that crossed the stream's end on its way is nobody's.
                if stream is not None:
                    stream.on_frame(frame)
            else:
                self._on_frame(frame)

    def _flush(self) -> None:
        was_congested = self.congested
        while self._out:
            first = self._out[0]
            try:
                written = os.write(self._fd, first)
            except BlockingIOError:
                break
            except OSError as error:
                raise EOFError("the channel is broken") from error
            self._out_bytes -= written
            if written < len(first):
                self._out[0] = first[written:]
            else:
                self._out.popleft()
        wanted = READ | WRITE if self._out else READ
        if wanted != self._interest:
            self._interest = wanted
            self._poll.modify(self._fd, wanted)
        if was_congested and not self.congested:
            for stream in list(self.streams.values()):
                stream.on_writable()


_OF_STREAMS = frozenset({protocol.DATA, protocol.CREDIT, protocol.END, protocol.CLOSED})


def credit_of(frame: Frame) -> int:
    """Return the number in a CREDIT frame.

    Raises:
        Corrupt: it has none.
    """
    if len(frame.payload) != protocol.CREDIT_VALUE.size:
        raise Corrupt("the channel to the guest carries a credit without its number")
    (value,) = protocol.CREDIT_VALUE.unpack(frame.payload)
    return int(value)
