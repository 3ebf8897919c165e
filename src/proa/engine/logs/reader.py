"""Docker's json-file driver: reading, across rotated files, once or following.

Works beside the writer without a lock: an incomplete last line waits for its end, a rotation is
noticed by the inode number of the current path, and the place in the sequence is found again by it.
A follower that is more than ``max-file`` rotations behind goes on with the oldest file there is.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterator
from typing import Final

import msgspec

from proa import log
from proa.engine.logs.driver import LogEntry
from proa.engine.logs.sequence import LogSequence
from proa.engine.watch import Watch
from proa.linux.inotify import IN_CLOSE_WRITE, IN_CREATE, IN_MODIFY, IN_MOVED_TO
from proa.units import NS_PER_S, format_rfc3339_ns

_WAKE: Final = IN_MODIFY | IN_CLOSE_WRITE | IN_CREATE | IN_MOVED_TO
# The longest time until the end of a container is noticed whose supervisor left no other sign.
_LOOK_AGAIN_S: Final = 0.5

_decoder = msgspec.json.Decoder(LogEntry)


class LogSelection(msgspec.Struct, frozen=True, kw_only=True):
    """Which entries to read.

    Attributes:
        stdout, stderr: which streams.
        since_ns: only entries at or after this time; 0: all.
        until_ns: only entries at or before this time; 0: all.
        tail: begin this many entries before the end; -1: at the beginning. As with Docker the
            other conditions choose among these.
    """

    stdout: bool = True
    stderr: bool = True
    since_ns: int = 0
    until_ns: int = 0
    tail: int = -1


class JsonFileReader:
    """Reads one container's log. Each call is independent of others."""

    def __init__(self, path: str) -> None:
        """Describe the log at ``path``; it may not exist yet."""
        self._path = path

    def read(self, selection: LogSelection | None = None) -> Generator[LogEntry, None, None]:
        """Yield the entries that are there now, oldest first."""
        selection = selection or LogSelection()
        with LogSequence(self._path) as sequence:
            sequence.seek(selection.tail, selection.since_ns)
            select = _Selector(selection)
            while lines := sequence.read_lines():
                yield from select(lines)
                if select.finished:
                    return

    def follow(
        self,
        selection: LogSelection | None = None,
        *,
        is_running: Callable[[], bool],
        stop_fd: int = -1,
    ) -> Generator[LogEntry, None, None]:
        """Yield the entries that are there, then new ones as they are written.

        Args:
            selection: which entries.
            is_running: whether more can come; after the first False the rest is read and the
                iteration ends. Called at each wake-up: it should be cheap.
            stop_fd: a descriptor that is readable when no more can come (a pidfd) or the caller
                has had enough; -1 for none.
        """
        selection = selection or LogSelection()
        select = _Selector(selection)
        directory = os.path.dirname(self._path) or "."
        with LogSequence(self._path) as sequence, Watch(directory, _WAKE) as watch:
            sequence.seek(selection.tail, selection.since_ns)
            stopped = False
            while True:
                # Asked before reading: what was written before the end is read after it.
                last = stopped or not is_running()
                while lines := sequence.read_lines():
                    yield from select(lines)
                    if select.finished:
                        return
                timeout_s = _LOOK_AGAIN_S
                if selection.until_ns:
                    timeout_s = min(timeout_s, (selection.until_ns - time.time_ns()) / NS_PER_S)
                if last or timeout_s < 0:
                    return
                stopped = watch.wait(timeout_s, stop_fd)


class _Selector:
    """Decodes lines and applies a selection. Times are compared as text: they sort alike."""

    def __init__(self, selection: LogSelection) -> None:
        self._streams = {name for name in ("stdout", "stderr") if getattr(selection, name)}
        self._all_streams = len(self._streams) == 2
        self._since = format_rfc3339_ns(selection.since_ns) if selection.since_ns else ""
        self._until = format_rfc3339_ns(selection.until_ns) if selection.until_ns else ""
        self.finished = False

    def __call__(self, lines: bytes) -> Iterator[LogEntry]:
        entries = _decode(lines)
        if self._all_streams and not self._since and not self._until:
            yield from entries
            return
        for entry in entries:
            if self._until and entry.time > self._until:
                self.finished = True
                return
            if entry.stream in self._streams and entry.time >= self._since:
                yield entry


def _decode(lines: bytes) -> list[LogEntry]:
    try:
        return _decoder.decode_lines(lines)
    except (msgspec.DecodeError, UnicodeDecodeError):
        pass
    entries = []
    for line in lines.split(b"\n"):
        try:
            entries.append(_decoder.decode(line))
        except (msgspec.DecodeError, UnicodeDecodeError):
            if line:
                log.warning("logs.skip", line=line[:80])
    return entries
