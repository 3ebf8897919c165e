"""Who waits for a container's end, or start: one follower of the engine's events for all of them.

Asking the supervisor would keep it awake for as long as somebody waits; events cost nothing while
nothing happens. A subscription begins at a moment: what happened before it is not told, what
happens after it is not missed, also while the follower itself is only starting.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager

from proa import log
from proa.engine.facade import Engine
from proa.engine.model import EventRecord

_RETRY_S = 1.0


class Subscription:
    """Events of one container from a moment on."""

    def __init__(self, container_id: str) -> None:
        self.container_id = container_id
        self.since_ns = time.time_ns()
        self._events: deque[EventRecord] = deque()
        self._fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def fileno(self) -> int:
        """Return a descriptor that is readable when there are events."""
        return self._fd

    def put(self, event: EventRecord) -> None:
        """Add an event; called by the follower."""
        self._events.append(event)
        os.eventfd_write(self._fd, 1)

    def take(self, *, late: bool = False) -> list[EventRecord]:
        """Return the events that have come.

        Args:
            late: also those that happened before the subscription and were committed or told
                after it: an event has its time before it is in the database.
        """
        try:
            os.eventfd_read(self._fd)
        except BlockingIOError:
            return []
        found = []
        while self._events:
            event = self._events.popleft()
            if late or event.time_ns >= self.since_ns:
                found.append(event)
        return found

    def wait(
        self, stop_fd: int, timeout_s: float, *, late: bool = False
    ) -> list[EventRecord] | None:
        """Wait for events.

        Args:
            stop_fd: readable when nobody wants them any more.
            timeout_s: longest wait.
            late: as for :meth:`take`.

        Returns:
            What has come, nothing after the timeout; None when ``stop_fd`` is readable.
        """
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        poll.register(stop_fd, select.POLLIN)
        ready = dict(poll.poll(timeout_s * 1000))
        if stop_fd in ready:
            return None
        return self.take(late=late)

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self._fd)


class ContainerEvents:
    """The follower and its subscriptions; safe for threads."""

    def __init__(self, engine: Engine, stop_fd: int) -> None:
        """Prepare; the follower starts with the first subscription.

        Args:
            engine: whose events.
            stop_fd: readable when the server stops.
        """
        self._engine = engine
        self._stop_fd = stop_fd
        self._lock = threading.Lock()
        self._subscriptions: defaultdict[str, list[Subscription]] = defaultdict(list)
        self._thread: threading.Thread | None = None

    @contextmanager
    def subscribed(self, container_id: str) -> Iterator[Subscription]:
        """Subscribe to a container's events for the length of a block."""
        subscription = self.subscribe(container_id)
        try:
            yield subscription
        finally:
            self.unsubscribe(subscription)

    def subscribe(self, container_id: str) -> Subscription:
        """Subscribe to a container's events from now on."""
        subscription = Subscription(container_id)
        with self._lock:
            self._subscriptions[container_id].append(subscription)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._follow, args=(subscription.since_ns,), name="proa-events",
                    daemon=True,
                )  # fmt: skip
                self._thread.start()
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """End a subscription."""
        with self._lock:
            others = self._subscriptions[subscription.container_id]
            others.remove(subscription)
            if not others:
                del self._subscriptions[subscription.container_id]
            subscription.close()

    def _follow(self, since_ns: int) -> None:
        while True:
            try:
                for event in self._engine.events.follow(since_ns=since_ns, stop_fd=self._stop_fd):
                    since_ns = event.time_ns + 1
                    self._hand_out(event)
                return
            except Exception as error:  # noqa: BLE001 - whoever waits must not wait for ever
                log.warning("server.events", error=str(error))
                time.sleep(_RETRY_S)

    def _hand_out(self, event: EventRecord) -> None:
        if event.type != "container":
            return
        with self._lock:
            for subscription in self._subscriptions.get(event.actor_id, ()):
                subscription.put(event)


def pause(stop_fd: int, duration_s: float) -> bool:
    """Wait a while; True when ``stop_fd`` became readable meanwhile."""
    poll = select.poll()
    poll.register(stop_fd, select.POLLIN)
    return bool(poll.poll(duration_s * 1000))
