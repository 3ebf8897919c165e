"""``docker events --filter``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from proa.engine.names import is_hex_prefix
from proa.errors import Invalid

if TYPE_CHECKING:
    from proa.engine.model import EventRecord

EVENT_FILTERS: Final = (
    "container",
    "daemon",
    "event",
    "image",
    "label",
    "network",
    "scope",
    "type",
    "volume",
)


def event_matches(event: EventRecord, filters: Mapping[str, Sequence[str]]) -> bool:
    """Tell whether an event passes Docker's event filters.

    Values of one name are alternatives, names must all match; ``label`` values must all match.

    Args:
        filters: ``container``, ``image``, ``volume``, ``network`` (id, id prefix or name),
        ``event``
            (action), ``type``, ``label`` (``name`` or ``name=value``), ``scope`` (``local``),
            ``daemon`` (ignored: there is one).

    Raises:
        Invalid: an unknown filter.
    """
    for name, values in filters.items():
        if name not in EVENT_FILTERS:
            raise Invalid(
                f"invalid event filter '{name}'", f"the filters are {', '.join(EVENT_FILTERS)}"
            )
        if values and not _passes(event, name, values):
            return False
    return True


def _passes(event: EventRecord, name: str, values: Sequence[str]) -> bool:
    if name == "type":
        return event.type in values
    if name == "event":
        # "exec_start: sh" is found by "exec_start".
        return event.action in values or event.action.split(":", 1)[0] in values
    if name == "label":
        return all(_has_label(event.attributes, value) for value in values)
    if name == "scope":
        return "local" in values
    if name == "daemon":
        return True
    if event.type == name:
        subjects = (event.actor_id, event.attributes.get("name", ""))
    elif name == "image" and event.type == "container":
        subjects = (event.attributes.get("image", ""), "")
    elif name in event.attributes:
        subjects = (event.attributes[name], "")
    else:
        return False
    return any(value in subjects or _is_prefix(value, subjects[0]) for value in values)


def _is_prefix(value: str, identity: str) -> bool:
    return is_hex_prefix(value) and identity.removeprefix("sha256:").startswith(value)


def _has_label(attributes: Mapping[str, str], wanted: str) -> bool:
    name, equals, value = wanted.partition("=")
    return name in attributes and (not equals or attributes[name] == value)
