"""``logs``, ``stats`` and ``events``: what is told for as long as it happens."""

from __future__ import annotations

import time
from typing import Any, Final

from proa.engine.containers.stats import StatsSample
from proa.engine.state.event_filters import EVENT_FILTERS
from proa.errors import Conflict, NotFound, Unavailable
from proa.server import responses
from proa.server.call import Call
from proa.server.encode.events import encode_event
from proa.server.encode.loglines import encode_line
from proa.server.encode.stats import encode_absent, encode_sample, read_machine_cpu_ns
from proa.server.encode.timestamps import parse_moment, parse_tail
from proa.server.errors import HttpError, bad_request
from proa.server.responses import Answer, Stream, Write, encode_json
from proa.server.routes.attaching import stream_type
from proa.server.routing import Route
from proa.server.streams.exits import pause

_INTERVAL_S: Final = 1.0


def logs(call: Call) -> Answer:
    """``GET /containers/{id}/logs``."""
    query = call.query
    stdout, stderr = query.flag("stdout"), query.flag("stderr")
    if not (stdout or stderr):
        raise bad_request("Bad parameters: you must choose at least one stream")
    container = call.engine.containers.get(call["id"])
    multiplexed, timestamps = not container.config.tty, query.flag("timestamps")
    since_ns, until_ns = parse_moment(query, "since"), parse_moment(query, "until")
    follow, tail = query.flag("follow"), parse_tail(query)
    if container.config.log.driver == "none":
        raise HttpError(501, "configured logging driver does not support reading")

    def produce(write: Write) -> None:
        with call.client.watch() as stop_fd:
            lines = call.engine.containers.logs(
                container.id, follow=follow, since_ns=since_ns, until_ns=until_ns, tail=tail,
                stdout=stdout, stderr=stderr, stop_fd=stop_fd,
            )  # fmt: skip
            for line in lines:
                write(encode_line(line, multiplexed=multiplexed, timestamps=timestamps))

    return Stream(
        produce=produce, content_type=stream_type(call, multiplexed=multiplexed), announce=follow
    )


def stats(call: Call) -> Answer:
    """``GET /containers/{id}/stats``: once, or every second until the client has had enough."""
    container = call.engine.containers.get(call["id"])
    stream = call.query.flag("stream", default=True)
    if not stream and call.query.flag("one-shot"):
        return responses.document(_Sampler(call, container.id, container.name).next())
    sampler = _Sampler(call, container.id, container.name)

    def produce(write: Write) -> None:
        with call.client.watch() as stop_fd:
            document = sampler.next()
            if not stream and sampler.running:
                pause(stop_fd, _INTERVAL_S)
                document = sampler.next()
            write(encode_json(document) + b"\n")
            while stream and not pause(stop_fd, _INTERVAL_S):
                try:
                    call.engine.containers.get(container.id)
                except NotFound:
                    return
                write(encode_json(sampler.next()) + b"\n")

    return Stream(produce=produce, content_type=responses.JSON)


class _Sampler:
    """Readings of one container, each with the one before it."""

    def __init__(self, call: Call, container_id: str, name: str) -> None:
        self._call = call
        self._id = container_id
        self._name = name
        self._before: tuple[StatsSample, int] | None = None
        self.running = False

    def next(self) -> dict[str, Any]:
        """Read once more; a container that does not run uses nothing."""
        try:
            now = self._call.engine.containers.stats(self._id), read_machine_cpu_ns()
        except (Conflict, NotFound, Unavailable):
            self.running, self._before = False, None
            return encode_absent(self._id, self._name)
        self.running = True
        document = encode_sample(now, self._before)
        self._before = now
        return document


def events(call: Call) -> Answer:
    """``GET /events``: stored ones since a moment, then new ones, until a moment or for ever."""
    query = call.query
    since_ns, until_ns = parse_moment(query, "since"), parse_moment(query, "until")
    filters = query.filters()
    if until_ns and until_ns < since_ns:
        raise bad_request("`since` time cannot be after `until` time")
    for name in filters:
        if name not in EVENT_FILTERS:
            raise bad_request(f"invalid filter '{name}'")

    # From now on, and not from when the client has the head: what it does then must not be missed.
    since_ns = since_ns or time.time_ns()

    def produce(write: Write) -> None:
        with call.client.watch() as stop_fd:
            found = call.engine.events.follow(
                since_ns=since_ns, until_ns=until_ns, filters=filters, stop_fd=stop_fd
            )
            for event in found:
                write(encode_json(encode_event(event)) + b"\n")

    return Stream(produce=produce, content_type=responses.JSON, announce=True)


ROUTES = (
    Route("GET", "/containers/{id}/logs", logs),
    Route("GET", "/containers/{id}/stats", stats),
    Route("GET", "/events", events),
)
