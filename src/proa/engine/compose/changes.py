"""A container's configuration with the changes of ``update``."""

from __future__ import annotations

import msgspec

from proa.engine.compose.resources import compose_resources
from proa.engine.config import ContainerConfig, ContainerUpdate
from proa.errors import Conflict


def updated(config: ContainerConfig, changes: ContainerUpdate) -> ContainerConfig:
    """Return the configuration with the changes, checked.

    Raises:
        Invalid: the new limits contradict each other.
        Conflict: a restart policy for a container that is removed at its end.
    """
    if changes.restart is not None and config.auto_remove and changes.restart.name != "no":
        raise Conflict(
            "a container that is removed at its end cannot have a restart policy",
            "make it again without --rm",
        )
    given = msgspec.structs.asdict(changes.resources)
    empty = msgspec.structs.asdict(type(changes.resources)())
    said = {name: value for name, value in given.items() if value != empty[name]}
    limits = msgspec.structs.replace(config.resources, **said)
    compose_resources(limits)
    return msgspec.structs.replace(
        config,
        resources=limits,
        restart=changes.restart or config.restart,
        labels={**config.labels, **changes.labels},
    )
