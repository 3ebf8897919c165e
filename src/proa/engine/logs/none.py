"""The driver ``none``: what the container writes goes only to attached clients."""

from __future__ import annotations

from collections.abc import Mapping

from proa.engine.logs.driver import Stream


class NullWriter:
    """Drops everything. Implements :class:`proa.engine.logs.driver.LogWriter`."""

    @property
    def error(self) -> str:
        """Empty: nothing can fail."""
        return ""

    @property
    def dropped_bytes(self) -> int:
        """Zero: nothing was promised."""
        return 0

    def open(self) -> None:
        """Do nothing."""

    def write(self, stream: Stream, data: bytes, time_ns: int) -> None:
        """Do nothing."""

    def take_pending(self) -> dict[Stream, bytes]:
        """There is nothing."""
        return {}

    def restore_pending(self, pending: Mapping[Stream, bytes]) -> None:
        """Forget it."""

    def flush(self, time_ns: int) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""
