"""All endpoints, in the order of their modules."""

from __future__ import annotations

from proa.server.routes import (
    absent,
    attaching,
    containers,
    execs,
    files,
    images,
    live,
    networks,
    ping,
    registries,
    system,
    volumes,
    waiting,
)
from proa.server.routing import Route

ROUTES: tuple[Route, ...] = (
    *ping.ROUTES,
    *containers.ROUTES,
    *waiting.ROUTES,
    *attaching.ROUTES,
    *execs.ROUTES,
    *live.ROUTES,
    *files.ROUTES,
    *registries.ROUTES,
    *images.ROUTES,
    *networks.ROUTES,
    *volumes.ROUTES,
    *system.ROUTES,
    *absent.ROUTES,
)
