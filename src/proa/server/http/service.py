"""What every exchange shares: the engine, the endpoints, and what is said in every answer."""

from __future__ import annotations

import msgspec

from proa.engine.facade import Engine
from proa.server.metrics import Metrics
from proa.server.routing import Router


class Service(msgspec.Struct):
    """The server as its connections see it.

    Attributes:
        stop_fd: readable once the server stops.
        headers: sent with every answer.
        local_names: further names of this server, for the check of Host.
        stopping: no connection is kept after its answer.
    """

    engine: Engine
    router: Router
    metrics: Metrics
    stop_fd: int
    headers: tuple[tuple[str, str], ...] = ()
    local_names: frozenset[str] = frozenset()
    stopping: bool = False
