"""A small event loop on epoll: descriptors with callbacks, and timers on the monotonic clock.

asyncio would cost a megabyte and 45 ms of imports a supervisor; this is all that a supervisor
needs. Callbacks run one at a time, in the order the kernel reports; a callback may add and remove
anything.
"""

from __future__ import annotations

import heapq
import select
import time
from collections.abc import Callable

READ = select.EPOLLIN
WRITE = select.EPOLLOUT
HANGUP = select.EPOLLHUP
Callback = Callable[[int], None]


class Timer:
    """A call that is due once; :meth:`cancel` before that to forget it."""

    __slots__ = ("_callback", "due_s", "order")

    def __init__(self, due_s: float, order: int, callback: Callable[[], None]) -> None:
        self.due_s = due_s
        self.order = order
        self._callback: Callable[[], None] | None = callback

    def __lt__(self, other: Timer) -> bool:
        return (self.due_s, self.order) < (other.due_s, other.order)

    def cancel(self) -> None:
        """Forget the call. Idempotent."""
        self._callback = None

    @property
    def cancelled(self) -> bool:
        """Nothing is due any more."""
        return self._callback is None

    def fire(self) -> None:
        """Make the call unless it was cancelled."""
        callback, self._callback = self._callback, None
        if callback is not None:
            callback()


class Loop:
    """The loop of one process; descriptors stay the caller's."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._callbacks: dict[int, Callback] = {}
        self._timers: list[Timer] = []
        self._order = 0
        self._stopping = False
        self._idle_s = 0.0
        self._on_idle: Callable[[], None] | None = None

    def add(self, fd: int, events: int, callback: Callback) -> None:
        """Call ``callback(events)`` when ``fd`` is ready.

        Raises:
            OSError: the descriptor cannot be polled (EPERM: a regular file).
        """
        self._epoll.register(fd, events)
        self._callbacks[fd] = callback

    def remove(self, fd: int) -> None:
        """Forget a descriptor; unknown ones are ignored. Call it before closing the descriptor."""
        if self._callbacks.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Timer:
        """Call once after ``delay_s`` seconds."""
        self._order += 1
        timer = Timer(time.monotonic() + delay_s, self._order, callback)
        heapq.heappush(self._timers, timer)
        return timer

    def when_idle(self, idle_s: float, callback: Callable[[], None] | None) -> None:
        """Call back when nothing has happened for ``idle_s`` seconds and no timer is set."""
        self._idle_s = idle_s
        self._on_idle = callback

    @property
    def watched(self) -> frozenset[int]:
        """The descriptors that are waited for."""
        return frozenset(self._callbacks)

    def stop(self) -> None:
        """Make :meth:`run` return after the current callback."""
        self._stopping = True

    def run(self) -> None:
        """Serve until :meth:`stop`; may be called again."""
        self._stopping = False
        while not self._is_stopping():
            self._fire_due()
            if self._is_stopping():
                return
            happened = self._epoll.poll(self._timeout_s())
            if not happened and not self._timers and self._on_idle is not None:
                self._on_idle()
            for fd, events in happened:
                callback = self._callbacks.get(fd)
                if callback is not None:
                    callback(events)
                if self._is_stopping():
                    return

    def close(self) -> None:
        """Release the epoll descriptor."""
        self._epoll.close()

    def _is_stopping(self) -> bool:
        return self._stopping

    def _timeout_s(self) -> float:
        while self._timers and self._timers[0].cancelled:
            heapq.heappop(self._timers)
        if not self._timers:
            return -1 if self._on_idle is None else self._idle_s
        return max(0.0, self._timers[0].due_s - time.monotonic())

    def _fire_due(self) -> None:
        while self._timers and self._timers[0].due_s <= time.monotonic():
            heapq.heappop(self._timers).fire()
