"""The engine's database: which containers, image names, networks, volumes and events exist.

:class:`State` is the entry; :mod:`proa.engine.state.database` states the rules of concurrency,
durability and forks.
"""

from __future__ import annotations

from contextlib import AbstractContextManager

from proa.engine.state.containers import ContainerTable
from proa.engine.state.database import BUSY_TIMEOUT_S, Database
from proa.engine.state.events import EventTable
from proa.engine.state.images import ImageNameTable
from proa.engine.state.networks import Endpoint, NetworkTable, PublishedPort
from proa.engine.state.virtualmachines import VirtualMachineTable
from proa.engine.state.volumes import VolumeRecord, VolumeTable

__all__ = [
    "ContainerTable",
    "Endpoint",
    "EventTable",
    "ImageNameTable",
    "NetworkTable",
    "PublishedPort",
    "State",
    "VirtualMachineTable",
    "VolumeRecord",
    "VolumeTable",
]


class State:
    """The tables of one state root, over one lazily opened connection a process.

    Attributes:
        containers: containers by id and name.
        images: names of images (implements :class:`proa.image.references.References`).
        networks: networks, and the containers on them.
        volumes: named volumes.
        virtual_machines: full virtual machines by id and name.
        events: what happened.
    """

    def __init__(self, root: str, *, busy_timeout_s: float = BUSY_TIMEOUT_S) -> None:
        """Describe the database under ``root``; it is opened, or created, by the first call.

        Args:
            root: the engine's state root, an existing directory.
            busy_timeout_s: longest wait for other processes' transactions.
        """
        self._database = Database(root, busy_timeout_s=busy_timeout_s)
        self.events = EventTable(self._database)
        self.containers = ContainerTable(self._database, self.events)
        self.images = ImageNameTable(self._database)
        self.networks = NetworkTable(self._database)
        self.volumes = VolumeTable(self._database)
        self.virtual_machines = VirtualMachineTable(self._database)

    def transaction(self, *, durable: bool = True) -> AbstractContextManager[None]:
        """Make several calls one transaction: all of them or, when an exception passes, none.

        Raises (on entry or exit):
            TimedOut: other processes kept the write lock.
            Exhausted: the disk is full; nothing was changed.
            Corrupt: the file is damaged.
        """
        return self._database.transaction(durable=durable)

    def check(self) -> None:
        """Verify the database file; reads all of it.

        Raises:
            Corrupt: with the first finding.
        """
        self._database.check()

    def checkpoint(self) -> None:
        """Move SQLite's log into the database file; for idle moments."""
        self._database.checkpoint()

    def close(self) -> None:
        """Close the connection; the next call opens a new one. Idempotent."""
        self._database.close()
