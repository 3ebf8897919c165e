"""What a container sees at /sys/fs/cgroup on a machine with v1 hierarchies."""

from __future__ import annotations

import os
from collections.abc import Collection
from functools import lru_cache

from proa.cgroups.hierarchy import Hierarchy


def hierarchies(machine: Hierarchy, controllers: Collection[str]) -> tuple[tuple[str, str], ...]:
    """Directory name and mount options of the hierarchies that hold any of ``controllers``.

    Controllers that are mounted together can only be mounted together again.
    """
    return _group(tuple(machine.v1.items()), frozenset(controllers))


@lru_cache(maxsize=4)
def _group(
    mounted: tuple[tuple[str, str], ...], controllers: frozenset[str]
) -> tuple[tuple[str, str], ...]:
    together: dict[str, list[str]] = {}
    for controller, point in mounted:
        together.setdefault(point, []).append(controller)
    return tuple(
        [
            (os.path.basename(point), ",".join(words))
            for point, words in together.items()
            if not controllers.isdisjoint(words)
        ]
    )
