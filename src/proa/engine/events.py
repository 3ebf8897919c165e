"""``engine.events``: what happens to containers, images, volumes and networks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from proa.engine.context import Context
from proa.engine.model import EventRecord

EventList = list[EventRecord]


class Events:
    """The events of one engine; the newest ten thousand are kept."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def list(
        self,
        *,
        since_ns: int = 0,
        until_ns: int = 0,
        filters: Mapping[str, Sequence[str]] | None = None,
    ) -> EventList:
        """Return stored events, oldest first.

        Args:
            since_ns, until_ns: nanoseconds since the epoch; 0: no bound.
            filters: ``container``, ``image``, ``volume``, ``network``, ``event``, ``type``,
                ``label``.

        Raises:
            Invalid: an unknown filter.
        """
        return self._context.state.events.list(
            since_ns=since_ns, until_ns=until_ns, filters=filters
        )

    def follow(
        self,
        *,
        since_ns: int | None = None,
        until_ns: int = 0,
        filters: Mapping[str, Sequence[str]] | None = None,
        stop_fd: int = -1,
    ) -> Iterator[EventRecord]:
        """Yield events as they happen, after those stored since ``since_ns`` (None: none).

        Args:
            until_ns: end at this time; 0: never.
            filters: as in :meth:`list`.
            stop_fd: a descriptor that becomes readable when the caller wants the end.
        """
        yield from self._context.state.events.follow(
            since_ns=since_ns, until_ns=until_ns, filters=filters, stop_fd=stop_fd
        )
