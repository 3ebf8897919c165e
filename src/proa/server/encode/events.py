"""Events as ``GET /events`` shows them."""

from __future__ import annotations

from typing import Any

from proa.engine.model import EventRecord
from proa.units import NS_PER_S


def encode_event(event: EventRecord) -> dict[str, Any]:
    """Return an event; containers' and images' also have the three fields of old clients."""
    document: dict[str, Any] = {
        "Type": event.type,
        "Action": event.action,
        "Actor": {"ID": event.actor_id, "Attributes": dict(event.attributes)},
        "scope": "local",
        "time": event.time_ns // NS_PER_S,
        "timeNano": event.time_ns,
    }
    if event.type in ("container", "image"):
        old = {"status": event.action, "id": event.actor_id}
        if event.attributes.get("image"):
            old["from"] = event.attributes["image"]
        return {**old, **document}
    return document
