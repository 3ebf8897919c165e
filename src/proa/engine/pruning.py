"""Removing all that nobody uses: ``proa system prune``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from proa.engine.containers.prune import prune as prune_containers
from proa.engine.context import Context
from proa.engine.images import Images
from proa.engine.networks import Networks
from proa.engine.prunefilters import PruneFilter
from proa.engine.volumes import Volumes
from proa.errors import Unsupported
from proa.image.model import Removal


class SystemPruned(msgspec.Struct, frozen=True, kw_only=True):
    """What was removed, and how many bytes that freed.

    Attributes:
        containers: ids.
        networks, volumes: names.
        images: lines as of ``proa rmi``.
    """

    containers: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    images: tuple[Removal, ...] = ()
    freed_bytes: int = 0


def prune_system(
    context: Context,
    *,
    every: bool,
    volumes: bool,
    filters: Mapping[str, Sequence[str]],
) -> SystemPruned:
    """Remove stopped containers, then what only they used; see ``engine.system.prune``."""
    PruneFilter(filters)  # nothing is removed when one of them is wrong
    if volumes and "until" in filters:
        raise Unsupported(
            "the filter 'until' does not go with volumes", "leave out --volumes or the filter"
        )
    containers = prune_containers(context, filters)
    networks = Networks(context).prune(filters=filters)
    names, volume_bytes = Volumes(context).prune(filters=filters) if volumes else ([], 0)
    images = Images(context).prune(every=every, filters=filters)
    return SystemPruned(
        containers=containers.ids,
        networks=tuple(networks),
        volumes=tuple(names),
        images=images.removed,
        freed_bytes=containers.freed_bytes + volume_bytes + images.freed_bytes,
    )
