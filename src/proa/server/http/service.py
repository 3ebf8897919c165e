"""What every exchange shares: the engine, the endpoints, and what is said in every answer."""

from __future__ import annotations

import msgspec

from proa.engine.facade import Engine
from proa.server.memory import Memory
from proa.server.routing import Router


class Service(msgspec.Struct):
    """The server as its connections see it.

    Attributes:
        memory: what is shared by all requests.
        headers: sent with every answer.
        local_names: further names of this server, for the check of Host.
        stopping: no connection is kept after its answer.
    """

    engine: Engine
    router: Router
    memory: Memory
    headers: tuple[tuple[str, str], ...] = ()
    local_names: frozenset[str] = frozenset()
    stopping: bool = False
