"""All endpoints, in the order of their modules."""

from __future__ import annotations

from proa.server.routes import absent, images, networks, ping, registries, system, volumes
from proa.server.routing import Route

ROUTES: tuple[Route, ...] = (
    *ping.ROUTES,
    *registries.ROUTES,
    *images.ROUTES,
    *networks.ROUTES,
    *volumes.ROUTES,
    *system.ROUTES,
    *absent.ROUTES,
)
