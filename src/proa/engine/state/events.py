"""The engine's events: appended with the change they tell of, kept for a while, followed live.

Followers are woken through the file ``proa.db-events``, which is touched after each commit that
appended events. (Watching SQLite's log would wake too early: its frames are written before the
commit becomes visible.) A crash between commit and touch delays an event until the next wake-up;
followers look once a second in any case.
"""

from __future__ import annotations

import builtins
import os
import time
from collections.abc import Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from proa.engine.state.event_filters import event_matches
from proa.engine.state.records import SELECT_EVENTS, encode, event_record
from proa.engine.watch import Watch
from proa.linux.inotify import IN_ATTRIB, IN_CLOSE_WRITE

if TYPE_CHECKING:
    from proa.engine.model import EventRecord
    from proa.engine.state.database import Database

RETAINED_EVENTS: Final = 10_000
_PRUNE_EVERY: Final = 256
_LOOK_AGAIN_S: Final = 1.0


class EventTable:
    """Events in the order of their commits."""

    def __init__(self, database: Database) -> None:
        """Use the table of an open database."""
        self._database = database
        self.stamp_path = database.path + "-events"

    def append(self, *events: EventRecord, durable: bool = True) -> None:
        """Append events (their ``sequence`` is ignored) in one transaction."""
        with self._database.transaction(durable=durable, spare=True):
            for event in events:
                self.append_inside(event)

    def append_inside(self, event: EventRecord) -> None:
        """Append one event inside the caller's transaction."""
        sequence = self._database.execute(
            "INSERT INTO events (time_ns, type, action, actor_id, attributes) "
            "VALUES (?, ?, ?, ?, ?)",
            (
                event.time_ns,
                event.type,
                event.action,
                event.actor_id,
                encode(event.attributes, f"event {event.type} {event.action}"),
            ),
        ).lastrowid
        if sequence and sequence % _PRUNE_EVERY == 0:
            self._database.execute(
                "DELETE FROM events WHERE sequence <= ?", (sequence - RETAINED_EVENTS,)
            )
        self._database.on_commit(self._wake_followers)

    def list(
        self,
        *,
        since_ns: int = 0,
        until_ns: int = 0,
        after_sequence: int = 0,
        filters: Mapping[str, Sequence[str]] | None = None,
    ) -> builtins.list[EventRecord]:
        """Return events, oldest first.

        Args:
            since_ns: only events at or after this time.
            until_ns: only events at or before this time; 0 for no end.
            after_sequence: only events after this one.
            filters: see :func:`event_matches`.
        """
        rows = self._database.query(
            f"{SELECT_EVENTS} WHERE sequence > ? AND time_ns BETWEEN ? AND ? ORDER BY sequence",
            (after_sequence, since_ns, until_ns or 2**63 - 1),
        )
        return [
            event
            for event in map(event_record, rows)
            if not filters or event_matches(event, filters)
        ]

    def last_sequence(self) -> int:
        """Return the number of the newest event, 0 if there is none."""
        return int(self._database.query("SELECT max(sequence) FROM events")[0][0] or 0)

    def follow(
        self,
        *,
        since_ns: int | None = None,
        until_ns: int = 0,
        filters: Mapping[str, Sequence[str]] | None = None,
        stop_fd: int = -1,
    ) -> Generator[EventRecord, None, None]:
        """Yield stored events since ``since_ns`` (None: none), then new ones as they are committed.

        Args:
            until_ns: end at this time; 0 for never.
            filters: see :func:`event_matches`.
            stop_fd: a descriptor that becomes readable when the caller wants the end.
        """
        with Watch(self._ensure_stamp(), IN_ATTRIB | IN_CLOSE_WRITE) as watch:
            after = self.last_sequence()
            if since_ns is not None:
                stored = self.list(since_ns=since_ns, until_ns=until_ns, filters=filters)
                yield from stored
                after = max(after, stored[-1].sequence if stored else 0)
            stopped = False
            while not stopped:
                timeout_s = _LOOK_AGAIN_S
                if until_ns:
                    timeout_s = min(timeout_s, (until_ns - time.time_ns()) / 1e9)
                    if timeout_s < 0:
                        return
                stopped = watch.wait(timeout_s, stop_fd)
                new = self.list(after_sequence=after, until_ns=until_ns)
                if new:
                    after = new[-1].sequence
                yield from (event for event in new if not filters or event_matches(event, filters))

    def _ensure_stamp(self) -> str:
        descriptor = os.open(self.stamp_path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.close(descriptor)
        return self.stamp_path

    def _wake_followers(self) -> None:
        try:
            os.utime(self.stamp_path)
        except OSError:
            pass  # nobody has followed yet; or followers look by themselves a second later
