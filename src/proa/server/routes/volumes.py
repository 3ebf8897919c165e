"""Volumes."""

from __future__ import annotations

import msgspec

from proa.server import responses
from proa.server.call import Call
from proa.server.encode import volumes as encode
from proa.server.errors import HttpError
from proa.server.responses import Answer
from proa.server.routes.absent import NOT_A_MANAGER
from proa.server.routing import Route

_ALL_BEFORE = (1, 42)
"""Older clients mean named volumes too when they prune."""


class _Create(msgspec.Struct, rename="pascal"):
    name: str | None = None
    driver: str | None = None
    driver_opts: dict[str, str] | None = None
    labels: dict[str, str] | None = None
    cluster_volume_spec: dict[str, object] | None = None


def list_volumes(call: Call) -> Answer:
    """Answer ``GET /volumes``."""
    volumes = call.engine.volumes
    found = [volumes.inspect(one.name) for one in volumes.list(call.query.filters())]
    return responses.document(encode.volume_list(found))


def create(call: Call) -> Answer:
    """Answer ``POST /volumes/create``."""
    wanted: _Create = call.json(_Create, optional=True)
    if wanted.cluster_volume_spec:
        raise HttpError(503, NOT_A_MANAGER)
    made = call.engine.volumes.create(
        wanted.name or "",
        driver=wanted.driver or "local",
        labels=wanted.labels,
        options=wanted.driver_opts,
    )
    return responses.document(encode.volume(call.engine.volumes.inspect(made.name)), 201)


def inspect(call: Call) -> Answer:
    """Answer ``GET /volumes/{name}``."""
    return responses.document(encode.volume(call.engine.volumes.inspect(call["name"])))


def update(call: Call) -> Answer:
    """Answer ``PUT /volumes/{name}``, which is for volumes of a Swarm only."""
    call.engine.volumes.get(call["name"])
    raise HttpError(503, NOT_A_MANAGER)


def remove(call: Call) -> Answer:
    """Answer ``DELETE /volumes/{name}``."""
    call.engine.volumes.remove(call["name"], force=call.query.flag("force"))
    return responses.empty()


def prune(call: Call) -> Answer:
    """Answer ``POST /volumes/prune``."""
    filters = call.query.filters()
    every = filters.pop("all", ["false"])[-1].lower() in ("1", "true")
    names, freed_bytes = call.engine.volumes.prune(
        every=every or call.version < _ALL_BEFORE, filters=filters
    )
    return responses.document(encode.pruned(names, freed_bytes))


ROUTES = (
    Route("GET", "/volumes", list_volumes),
    Route("POST", "/volumes/create", create),
    Route("POST", "/volumes/prune", prune),
    Route("GET", "/volumes/{name}", inspect),
    Route("PUT", "/volumes/{name}", update),
    Route("DELETE", "/volumes/{name}", remove),
)
