"""``POST /containers/{id}/wait``: the exit code, when it comes."""

from __future__ import annotations

from typing import Final

from proa.engine.model import ContainerRecord, EventRecord
from proa.errors import NotFound
from proa.server import responses
from proa.server.call import Call
from proa.server.errors import bad_request
from proa.server.responses import Answer, Stream, Write, encode_json
from proa.server.routing import Route
from proa.server.streams.exits import Subscription

_CONDITIONS: Final = ("not-running", "next-exit", "removed")
_ALIVE: Final = ("running", "paused", "restarting")
_LOOK_AGAIN_S: Final = 5.0
"""Nobody tells the end of a supervisor that was killed: somebody has to look."""


def wait(call: Call) -> Answer:
    """Answer once the condition holds.

    The head goes out when the wait has begun, so that a client can wait first and start afterwards.
    """
    condition = call.query.text("condition") or "not-running"
    if condition not in _CONDITIONS:
        raise bad_request(f'invalid condition: "{condition}"')
    container_id = call.engine.containers.get(call["id"]).id
    subscription = call.memory.events.subscribe(container_id)

    def produce(write: Write) -> None:
        try:
            code = _Waiting(call, subscription, condition).run()
        finally:
            call.memory.events.unsubscribe(subscription)
        if code is not None:
            write(encode_json({"StatusCode": code}) + b"\n")

    return Stream(produce=produce, content_type=responses.JSON, announce=True)


class _Waiting:
    def __init__(self, call: Call, subscription: Subscription, condition: str) -> None:
        self._call = call
        self._subscription = subscription
        self._condition = condition
        self._code = 0

    def run(self) -> int | None:
        """Return the exit code; None when the client has gone."""
        record = self._find()
        if record is not None:
            self._code = record.state.exit_code
            if self._condition == "not-running" and record.state.status not in _ALIVE:
                return self._code
        was_alive = record is not None and record.state.status in _ALIVE
        with self._call.client.watch() as stop_fd:
            while record is not None:
                events = self._subscription.wait(stop_fd, _LOOK_AGAIN_S, late=True)
                if events is None:
                    return None
                fresh = [event for event in events if event.time_ns >= self._subscription.since_ns]
                for event in fresh:
                    if event.action == "die":
                        self._code = int(event.attributes.get("exitCode", "0"))
                        if self._condition != "removed":
                            return self._code
                    elif event.action == "destroy":
                        return self._code
                if fresh:
                    continue
                # Nothing for a while, or something that happened before and was told after: look.
                self._note_code(events)
                record = self._find()
                is_alive = record is not None and record.state.status in _ALIVE
                if was_alive and not is_alive and record is not None:
                    self._code = record.state.exit_code
                    if self._condition != "removed":
                        return self._code
                was_alive = was_alive or is_alive
        return self._code

    def _note_code(self, events: list[EventRecord]) -> None:
        for event in events:
            if event.action == "die":
                self._code = int(event.attributes.get("exitCode", "0"))

    def _find(self) -> ContainerRecord | None:
        try:
            return self._call.engine.containers.get(self._subscription.container_id)
        except NotFound:
            return None


ROUTES = (Route("POST", "/containers/{id}/wait", wait),)
