"""Removing all containers that do not run (``proa container prune``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from proa.engine.containers.lifecycle import remove
from proa.engine.containers.query import list_containers
from proa.engine.context import Context
from proa.errors import Conflict, Invalid, NotFound
from proa.fs.usage import usage
from proa.units import parse_timestamp

_STOPPED = ("created", "exited", "dead")


class Pruned(msgspec.Struct, frozen=True, kw_only=True):
    """What was removed, and how many bytes that freed."""

    ids: tuple[str, ...]
    freed_bytes: int


def prune(context: Context, filters: Mapping[str, Sequence[str]] | None = None) -> Pruned:
    """Remove every container that does not run.

    Args:
        filters: ``until`` (only those made before), ``label`` and ``label!``.

    Raises:
        Invalid: another filter.
    """
    wanted = dict(filters or {})
    before = [parse_timestamp(text) for text in wanted.pop("until", [])]
    without = [text.partition("=") for text in wanted.pop("label!", [])]
    for name in wanted:
        if name != "label":
            raise Invalid(f"invalid filter '{name}'", "the filters are until, label and label!")
    removed, freed = [], 0
    for record in list_containers(context, everything=True, filters=wanted):
        labels = record.config.labels
        if record.state.status not in _STOPPED:
            continue
        if before and record.created_at_ns >= min(before):
            continue
        if any(name in labels and (not eq or labels[name] == v) for name, eq, v in without):
            continue
        try:
            size = usage(f"{context.layout.container(record.id)}/upper").size_bytes
            remove(context, record.id)
        except (NotFound, Conflict, FileNotFoundError):
            continue  # somebody else removed or started it
        removed.append(record.id)
        freed += size
    return Pruned(ids=tuple(removed), freed_bytes=freed)
