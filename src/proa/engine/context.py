"""What every verb works with: where things are, the database, the images, the isolations."""

from __future__ import annotations

import os

from proa.engine.layout import Layout
from proa.engine.state import State
from proa.image.store import ImageStore
from proa.oci.isolation import Isolation
from proa.runtime.process import ProcessIsolation


class Context:
    """One engine on one state root, in this process; connections open on first use."""

    __slots__ = ("_database", "images", "layout", "state")

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.state = State(layout.root)
        self.images = ImageStore(layout.root, self.state.images)
        self._database = (0, 0)

    def isolation(self, name: str) -> Isolation:
        """Return the isolation of that name.

        Raises:
            Unsupported: it is not part of this build.
        """
        if name == "process":
            return ProcessIsolation()
        from proa.errors import Unsupported

        raise Unsupported(
            f"the isolation '{name}' is not available in this version",
            "leave out --isolation to run with process isolation",
        )

    def warm(self) -> None:
        """Open the database ahead of a request (a parked worker has the time)."""
        try:
            self.state.events.last_sequence()
            self._database = self._identity()
        except Exception:  # noqa: BLE001 - the request itself will say what is wrong
            self.state.close()

    def check(self) -> None:
        """Notice a database that was replaced since :meth:`warm`, before acting on a stale one."""
        if self._database != self._identity():
            self.state.close()

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
