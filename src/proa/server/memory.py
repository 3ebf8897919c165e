"""What the server remembers between requests; nothing that a restart would lose for good."""

from __future__ import annotations

from proa.engine.facade import Engine
from proa.server.execs import Execs
from proa.server.metrics import Metrics
from proa.server.streams.exits import ContainerEvents
from proa.server.streams.session import WaitingRoom


class Memory:
    """Shared by all requests; every part is safe for threads.

    Attributes:
        stop_fd: readable once the server stops.
        metrics: counters.
        events: what happens to containers.
        waiting: attachments to containers that do not run yet.
        execs: commands in containers.
    """

    def __init__(self, engine: Engine, stop_fd: int) -> None:
        self.stop_fd = stop_fd
        self.metrics = Metrics()
        self.events = ContainerEvents(engine, stop_fd)
        self.waiting = WaitingRoom()
        self.execs = Execs()
