"""What Proa does not have: answered as Docker does where it is off, never 404 by chance.

Swarm: as a Docker host that is part of none. Plugins: as a host that has none installed. Builder:
501 with the way out, until there is one.
"""

from __future__ import annotations

from typing import Final

from proa.server import responses
from proa.server.call import Call
from proa.server.errors import HttpError
from proa.server.responses import Answer
from proa.server.routing import Handler, Route

NOT_A_MANAGER: Final = (
    'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect '
    "this node to swarm and try again."
)
NO_SWARM: Final = "swarm mode is not supported by Proa: run containers, or use Compose"
NO_PLUGINS: Final = "plugins are not supported by Proa"
NO_BUILDER: Final = (
    "this server builds no images yet: make them with 'proa image bootstrap', 'docker commit' or "
    "'docker import', or pull them"
)


def refuse(status: int, message: str) -> Handler:
    """Return a handler that always says no."""

    def handler(_call: Call) -> Answer:
        raise HttpError(status, message)

    return handler


def no_plugin(call: Call) -> Answer:
    """Answer that there is no plugin of that name."""
    raise HttpError(404, f'plugin "{call["name"]}" not found')


def list_plugins(call: Call) -> Answer:
    """Answer ``GET /plugins``."""
    call.query.filters()
    return responses.document([])


def prune_cache(call: Call) -> Answer:
    """Answer ``POST /build/prune``, which ``docker system prune`` asks for: there is no cache."""
    call.query.filters()
    return responses.document({"CachesDeleted": [], "SpaceReclaimed": 0})


_MANAGER = refuse(503, NOT_A_MANAGER)
_SWARM = refuse(501, NO_SWARM)
_PLUGINS = refuse(501, NO_PLUGINS)
_BUILDER = refuse(501, NO_BUILDER)

ROUTES = (
    Route("GET", "/swarm", _MANAGER),
    Route("POST", "/swarm/init", _SWARM),
    Route("POST", "/swarm/join", _SWARM),
    Route("POST", "/swarm/leave", refuse(503, "This node is not part of a swarm")),
    Route("POST", "/swarm/update", _MANAGER),
    Route("GET", "/swarm/unlockkey", _MANAGER),
    Route("POST", "/swarm/unlock", refuse(503, "This node is not part of a swarm")),
    Route("GET", "/nodes", _MANAGER),
    Route("GET", "/nodes/{id}", _MANAGER),
    Route("DELETE", "/nodes/{id}", _MANAGER),
    Route("POST", "/nodes/{id}/update", _MANAGER),
    Route("GET", "/services", _MANAGER),
    Route("POST", "/services/create", _MANAGER),
    Route("GET", "/services/{id}", _MANAGER),
    Route("DELETE", "/services/{id}", _MANAGER),
    Route("POST", "/services/{id}/update", _MANAGER),
    Route("GET", "/services/{id}/logs", _MANAGER),
    Route("GET", "/tasks", _MANAGER),
    Route("GET", "/tasks/{id}", _MANAGER),
    Route("GET", "/tasks/{id}/logs", _MANAGER),
    Route("GET", "/secrets", _MANAGER),
    Route("POST", "/secrets/create", _MANAGER),
    Route("GET", "/secrets/{id}", _MANAGER),
    Route("DELETE", "/secrets/{id}", _MANAGER),
    Route("POST", "/secrets/{id}/update", _MANAGER),
    Route("GET", "/configs", _MANAGER),
    Route("POST", "/configs/create", _MANAGER),
    Route("GET", "/configs/{id}", _MANAGER),
    Route("DELETE", "/configs/{id}", _MANAGER),
    Route("POST", "/configs/{id}/update", _MANAGER),
    Route("GET", "/plugins", list_plugins),
    Route("GET", "/plugins/privileges", _PLUGINS),
    Route("POST", "/plugins/pull", _PLUGINS),
    Route("POST", "/plugins/create", _PLUGINS),
    Route("GET", "/plugins/{name...}/json", no_plugin),
    Route("POST", "/plugins/{name...}/enable", no_plugin),
    Route("POST", "/plugins/{name...}/disable", no_plugin),
    Route("POST", "/plugins/{name...}/upgrade", no_plugin),
    Route("POST", "/plugins/{name...}/push", no_plugin),
    Route("POST", "/plugins/{name...}/set", no_plugin),
    Route("DELETE", "/plugins/{name...}", no_plugin),
    Route("POST", "/build", _BUILDER),
    Route("POST", "/build/cancel", _BUILDER),
    Route("POST", "/build/prune", prune_cache),
    Route("POST", "/session", _BUILDER),
    Route("POST", "/grpc", _BUILDER),
)
