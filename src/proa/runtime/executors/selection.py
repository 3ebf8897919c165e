"""Which executor a launch uses."""

from __future__ import annotations

from typing import Protocol

from proa.errors import Invalid
from proa.runtime.executors.arena import Arena
from proa.runtime.executors.clone import Child


class Executor(Protocol):
    """What both executor modules offer."""

    NAME: str
    SEPARATE_MEMORY: bool

    def load(self) -> None:
        """Make ready ahead of time; OSError when this machine cannot."""

    def spawn(self, arena: Arena, flags: int, cgroup_fd: int = -1) -> Child:
        """Start a child on the arena's plan."""


_chosen: Executor | None = None


def choose(name: str = "auto") -> Executor:
    """Return an executor by name; ``auto`` is the native one where this machine allows it.

    Raises:
        Invalid: no executor has that name.
        OSError: ``native`` was asked for and cannot be had.
    """
    global _chosen
    if name == "portable":
        from proa.runtime.executors import portable

        return portable
    if name == "native":
        from proa.runtime.executors import native

        native.load()
        return native
    if name != "auto":
        raise Invalid(f"unknown executor {name!r}", "use auto, native or portable")
    if _chosen is None:
        try:
            _chosen = choose("native")
        except OSError:
            _chosen = choose("portable")
    return _chosen
