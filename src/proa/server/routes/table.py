"""All endpoints, in the order of their modules."""

from __future__ import annotations

from proa.server.routes import ping
from proa.server.routing import Route

ROUTES: tuple[Route, ...] = (*ping.ROUTES,)
