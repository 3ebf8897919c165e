"""``proa events``: what happens on the engine, as it happens."""

from __future__ import annotations

import time
from typing import Any

from proa import units
from proa.cli.invocation import Invocation
from proa.cli.kinds import FILTER, STRING, filters, reading, scalar
from proa.cli.parser import Command, Flag
from proa.cli.render import to_json
from proa.engine.model import EventRecord
from proa.engine.template import Template


def _read_time(text: str) -> int:
    return reading(units.parse_timestamp, text) if text else 0


_TIME = scalar("string", _read_time, 0)
FILTERS = Flag("filter", FILTER, "Filter output based on conditions provided", short="f")
FORMAT = Flag("format", STRING, "Format output: 'json', or a Go template")
SINCE = Flag("since", _TIME, "Show all events created since timestamp")
UNTIL = Flag("until", _TIME, "Stream events until this timestamp")

COMMAND = Command(
    words="system events",
    usage="[OPTIONS]",
    summary="Get real time events from the engine",
    flags=(FILTERS, FORMAT, SINCE, UNTIL),
)


def execute(call: Invocation) -> int:
    """Print stored events since ``--since``, then new ones until ``--until``."""
    text = call[FORMAT]
    template = Template(text) if text not in ("", "json") else None
    until_ns, chosen = call[UNTIL], filters(call[FILTERS])
    events = call.engine.events
    if until_ns and until_ns <= time.time_ns():
        found = iter(events.list(since_ns=call[SINCE], until_ns=until_ns, filters=chosen))
    else:
        since_ns = call[SINCE] if call.options.is_given(SINCE) else None
        found = events.follow(since_ns=since_ns, until_ns=until_ns, filters=chosen)
    for event in found:
        if template is not None:
            call.io.out(template.render(encode_event(event)))
        else:
            call.io.out(to_json(encode_event(event)) if text else _line(event))
    return 0


def encode_event(event: EventRecord) -> dict[str, Any]:
    """Return an event as Docker's API has it."""
    document: dict[str, Any] = {}
    if event.type in ("container", "image"):
        document["status"] = event.action
        document["id"] = event.actor_id
        if "image" in event.attributes:
            document["from"] = event.attributes["image"]
    return {
        **document,
        "Type": event.type,
        "Action": event.action,
        "Actor": {"ID": event.actor_id, "Attributes": dict(event.attributes)},
        "scope": "local",
        "time": event.time_ns // units.NS_PER_S,
        "timeNano": event.time_ns,
    }


def _line(event: EventRecord) -> str:
    pairs = ", ".join(f"{name}={value}" for name, value in sorted(event.attributes.items()))
    shown = f" ({pairs})" if pairs else ""
    moment = units.format_rfc3339_ns(event.time_ns)
    return f"{moment} {event.type} {event.action} {event.actor_id}{shown}"
