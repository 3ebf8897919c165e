"""What every log driver offers, and the entry that crosses between writers and readers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Protocol

import msgspec

from proa.units import parse_rfc3339_ns

Stream = Literal["stdout", "stderr"]


class LogEntry(msgspec.Struct, frozen=True):
    """One entry: a line with its newline, or a piece of one without it.

    Attributes:
        log: text; bytes that were not UTF-8 are U+FFFD.
        stream: ``stdout`` or ``stderr``.
        time: UTC, RFC 3339 with nine digits: the order of the text is the order of time.
        attrs: labels and variables chosen by the log options.
    """

    log: str = ""
    stream: Stream = "stdout"
    time: str = ""
    attrs: dict[str, str] = {}

    @property
    def time_ns(self) -> int:
        """Nanoseconds since the epoch."""
        return parse_rfc3339_ns(self.time) if self.time else 0


class LogWriter(Protocol):
    """Where a supervisor puts what its container writes. Belongs to one process and thread."""

    @property
    def error(self) -> str:
        """Why entries are being dropped right now, empty if all is well."""

    @property
    def dropped_bytes(self) -> int:
        """Bytes that could not be written since the log was opened."""

    def open(self) -> None:
        """Make the log, if nothing was written yet. Idempotent.

        Raises:
            ProaError: it cannot be opened.
        """

    def write(self, stream: Stream, data: bytes, time_ns: int) -> None:
        """Log what a container wrote; never raises for a full or failing disk.

        Args:
            stream: which of its two.
            data: any bytes; an incomplete last line is kept until its end arrives.
            time_ns: when it was read, nanoseconds since the epoch.
        """

    def take_pending(self) -> dict[Stream, bytes]:
        """Give up the beginnings of lines whose ends have not arrived, by stream."""

    def restore_pending(self, pending: Mapping[Stream, bytes]) -> None:
        """Go on with what another writer of the same log gave up."""

    def flush(self, time_ns: int) -> None:
        """Write incomplete lines as they are (the streams have ended)."""

    def close(self) -> None:
        """Flush nothing more and close the file. Idempotent."""
