"""How far a transfer is, as Docker's clients draw it: one JSON message per report.

``{"status": "Downloading", "progressDetail": {"current": 1, "total": 2}, "progress": "[=> ] ...",
"id": "4f4fb700ef54"}``; moby, ``pkg/jsonmessage`` and ``pkg/streamformatter``. The engine reports
from several threads, so messages are sent under a lock and each layer at most ten times a second.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Final

from proa.units import format_size

Emit = Callable[[dict[str, Any]], None]

_INTERVAL_NS: Final = 100_000_000
_BAR: Final = 50
_SHORT: Final = 12


class TransferProgress:
    """Turns what the engine says of layers into Docker's messages.

    Attributes:
        layers: short ids of the layers that were transferred, in the order they began.
    """

    def __init__(self, emit: Emit, *, going: str, done: str, first: str = "") -> None:
        """Choose the words.

        Args:
            emit: sends one message.
            going: while a layer is under way, ``Downloading``.
            done: once all of it is there, ``Download complete``.
            first: when a layer begins, ``Pulling fs layer``; empty: nothing.
        """
        self._emit = emit
        self._going, self._done, self._first = going, done, first
        self._lock = threading.Lock()
        self._last_ns: dict[str, int] = {}
        self._finished: set[str] = set()
        self.layers: list[str] = []

    def __call__(self, step: str, done_bytes: int = 0, total_bytes: int = 0) -> None:
        """Report; steps that are not about a layer are not Docker's to know."""
        kind, _, digest = step.partition(" ")
        if kind != "layer" or not digest:
            return
        name = short_digest(digest)
        with self._lock:
            if name not in self._last_ns:
                self._begin(name)
            if 0 < total_bytes <= done_bytes:
                self._finish(name)
            elif time.monotonic_ns() - self._last_ns[name] >= _INTERVAL_NS:
                self._last_ns[name] = time.monotonic_ns()
                self._emit(advance(name, self._going, done_bytes, total_bytes))

    def _begin(self, name: str) -> None:
        self.layers.append(name)
        self._last_ns[name] = time.monotonic_ns()
        if self._first:
            self._emit(message(name, self._first))

    def _finish(self, name: str) -> None:
        if name not in self._finished:
            self._finished.add(name)
            self._emit(message(name, self._done))


def message(name: str, status: str) -> dict[str, Any]:
    """Return what happened to one layer, or to all (``name`` empty)."""
    document: dict[str, Any] = {"status": status}
    if name:
        document["progressDetail"] = {}
        document["id"] = name
    return document


def advance(name: str, status: str, done_bytes: int, total_bytes: int) -> dict[str, Any]:
    """Return how far one layer is."""
    detail = {"current": done_bytes}
    if total_bytes:
        detail["total"] = total_bytes
    return {
        "status": status,
        "progressDetail": detail,
        "progress": draw(done_bytes, total_bytes),
        "id": name,
    }


def draw(done_bytes: int, total_bytes: int) -> str:
    """Return the bar that clients without one of their own print."""
    if not total_bytes:
        return format_size(done_bytes)
    filled = min(_BAR, done_bytes * _BAR // total_bytes)
    bar = "=" * max(0, filled - 1) + ">" if filled < _BAR else "=" * _BAR
    return f"[{bar:<{_BAR}}]  {format_size(done_bytes)}/{format_size(total_bytes)}"


def short_digest(digest: str) -> str:
    """Return the first digits, as Docker names a layer."""
    return digest.rpartition(":")[2][:_SHORT]
