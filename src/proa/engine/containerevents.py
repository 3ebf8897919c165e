"""Events of containers: what every one of them says."""

from __future__ import annotations

import time
from collections.abc import Mapping

from proa.engine.model import ContainerRecord, EventRecord


def container_event(
    record: ContainerRecord, action: str, attributes: Mapping[str, str] | None = None
) -> EventRecord:
    """Return an event of a container.

    As with Docker it carries the container's labels, which clients filter by (Compose its
    projects); a label called as one of the engine's own attributes does not hide that.

    Args:
        record: the container; a nameless one gets its name when it is inserted.
        action: ``create``, ``start``, ``die`` ...
        attributes: what this action says beyond image and name.
    """
    own = {"image": record.config.image}
    if record.name:
        own["name"] = record.name
    return EventRecord(
        sequence=0,
        time_ns=time.time_ns(),
        type="container",
        action=action,
        actor_id=record.id,
        attributes={**record.config.labels, **own, **(attributes or {})},
    )
