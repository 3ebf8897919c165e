"""Threads for requests in work.

A request may last as long as a container (``wait``, ``attach``, ``logs -f``), so there is a thread
for each, not a small pool with a queue behind it. Threads that have nothing to do wait a while for
more and then end: a burst leaves no memory behind.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

_IDLE_S = 2.0
_STACK_BYTES = 512 * 1024


class Threads:
    """Runs jobs side by side, at most ``most`` at a time; further ones wait in their order."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._jobs: deque[Callable[[], None]] = deque()
        self._condition = threading.Condition()
        self._idle = 0
        self._count = 0

    @property
    def busy(self) -> int:
        """Jobs in work or waiting."""
        with self._condition:
            return self._count - self._idle + len(self._jobs)

    def submit(self, job: Callable[[], None]) -> None:
        """Run a job soon; it must not raise."""
        with self._condition:
            self._jobs.append(job)
            if self._idle >= len(self._jobs):
                self._condition.notify()
                return
            if self._count >= self._most:
                return
            self._count += 1
        threading.stack_size(_STACK_BYTES)
        threading.Thread(target=self._work, name="proa-request", daemon=True).start()

    def _work(self) -> None:
        while True:
            with self._condition:
                if not self._jobs:
                    self._idle += 1
                    self._condition.wait_for(lambda: bool(self._jobs), _IDLE_S)
                    self._idle -= 1
                if not self._jobs:
                    self._count -= 1
                    return
                job = self._jobs.popleft()
            job()
            del job
