"""What is compared: by name, in the order of the tables."""

from __future__ import annotations

from proa.compare.targets.base import Target
from proa.compare.targets.docker import DockerLike
from proa.compare.targets.host import Host
from proa.compare.targets.proa import Proa
from proa.engine.facade import Engine

ORDER = ("host", "process", "vm", "docker", "podman")
"""``full-vm`` is missing: it has no image to share with the others yet."""


def make(name: str, engine: Engine, roots: tuple[str, str]) -> Target:
    """Return a target by name.

    Args:
        name: one of :data:`ORDER`.
        engine: the user's engine.
        roots: its state root and volatile root, empty for the defaults.

    Raises:
        KeyError: there is none of that name.
    """
    if name == "host":
        return Host()
    if name in ("docker", "podman"):
        return DockerLike(name, name.capitalize())
    if name in ("process", "vm"):
        return Proa(engine, roots, name)
    raise KeyError(name)
