"""What every verb works with: where things are, the database, the images, the isolations."""

from __future__ import annotations

import os

from proa.engine.config import ContainerConfig
from proa.engine.layout import Layout
from proa.engine.state import State
from proa.image.store import ImageStore
from proa.oci.isolation import Isolation
from proa.runtime.process import ProcessIsolation


class Context:
    """One engine on one state root, in this process; connections open on first use."""

    __slots__ = ("_database", "_images", "_is_ready", "_state", "layout")

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._state = State(layout.root)
        self._images = ImageStore(layout.root, self._state.images)
        self._database = (0, 0)
        self._is_ready = False

    @property
    def state(self) -> State:
        """The database; a new engine may be asked what it has before it is given anything."""
        self._make_ready()
        return self._state

    @property
    def images(self) -> ImageStore:
        """The images of this root."""
        self._make_ready()
        return self._images

    def isolation(self, config: ContainerConfig) -> Isolation:
        """Return the isolation that a container asks for."""
        if config.isolation == "vm":
            from proa.vm.isolation import VmIsolation

            return VmIsolation(
                self.layout.root, accelerator=config.vm_accelerator, kernel=config.vm_kernel
            )
        return ProcessIsolation()

    def warm(self) -> None:
        """Open the database ahead of a request (a parked worker has the time)."""
        try:
            self.state.events.last_sequence()
            self._database = self._identity()
        except Exception:  # noqa: BLE001 - the request itself will say what is wrong
            self._state.close()

    def close(self) -> None:
        """Close the database; the next use opens it again. Idempotent."""
        self._state.close()

    def check(self) -> None:
        """Notice a database that was replaced since :meth:`warm`, before acting on a stale one."""
        if self._database != self._identity():
            self._state.close()

    def _make_ready(self) -> None:
        if not self._is_ready:
            self.layout.ensure()
            self._is_ready = True

    def _identity(self) -> tuple[int, int]:
        try:
            info = os.stat(f"{self.layout.root}/proa.db")
        except OSError:
            return (0, 0)
        return (info.st_dev, info.st_ino)


_contexts: dict[tuple[str, str], Context] = {}


def get(layout: Layout) -> Context:
    """Return this process' context of a layout; a worker's is open already."""
    key = (layout.root, layout.run)
    found = _contexts.get(key)
    if found is None:
        found = _contexts[key] = Context(layout)
    return found
