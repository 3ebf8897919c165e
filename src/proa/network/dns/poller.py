"""The event loop that the resolver lives in, as it needs it; the supervisor's fits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Timer(Protocol):
    """A call that is due later."""

    def cancel(self) -> None:
        """Forget it."""


class Poller(Protocol):
    """Descriptors with callbacks, and timers."""

    def add(self, fd: int, events: int, callback: Callable[[int], None]) -> None:
        """Call back when the descriptor is ready."""

    def remove(self, fd: int) -> None:
        """Forget a descriptor."""

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Timer:
        """Call once, later."""
