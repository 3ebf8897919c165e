"""Removing all containers that do not run (``proa container prune``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from proa.engine.containers.lifecycle import remove
from proa.engine.containers.query import StoredFacts, list_containers
from proa.engine.context import Context
from proa.engine.prunefilters import PruneFilter
from proa.errors import Conflict, NotFound
from proa.fs.usage import allocated_bytes

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
    chosen, facts = PruneFilter(filters), StoredFacts(context)
    removed, freed = [], 0
    for record in list_containers(context, everything=True):
        if record.state.status not in _STOPPED:
            continue
        if filters and not chosen.passes(facts.labels(record), record.created_at_ns):
            continue
        try:
            size = allocated_bytes(context.layout.container(record.id))
            remove(context, record.id)
        except (NotFound, Conflict):
            continue  # somebody else removed or started it
        removed.append(record.id)
        freed += size
    return Pruned(ids=tuple(removed), freed_bytes=freed)
