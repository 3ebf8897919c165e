"""Events of images, with Docker's actors: an id, or for pull and push the name."""

from __future__ import annotations

import time

from proa.engine.context import Context
from proa.engine.model import EventRecord
from proa.image.model import Image
from proa.oci.reference import parse_reference


def tell_of_image(context: Context, action: str, image: Image, *, name: str = "") -> None:
    """Append an event whose actor is the image's id; ``name`` is the id where none is given."""
    labels = image.config.config.labels
    _append(context, action, str(image.id), {**labels, "name": name or str(image.id)})


def tell_of_name(context: Context, action: str, image: Image, name: str) -> None:
    """Append an event whose actor is what the user called the image."""
    reference = parse_reference(name)
    labels = image.config.config.labels
    attributes = {**labels, "name": reference.familiar_repository}
    _append(context, action, reference.familiar, attributes)


def tell_of_pruning(context: Context, freed_bytes: int) -> None:
    """Append the event of ``image prune``."""
    _append(context, "prune", "", {"reclaimed": str(freed_bytes)})


def _append(context: Context, action: str, actor_id: str, attributes: dict[str, str]) -> None:
    event = EventRecord(
        sequence=0,
        time_ns=time.time_ns(),
        type="image",
        action=action,
        actor_id=actor_id,
        attributes=attributes,
    )
    context.state.events.append(event)
