"""``proa logout``: forget the credentials for a registry."""

from __future__ import annotations

from proa.cli.invocation import Invocation
from proa.cli.parser import Command

COMMAND = Command(
    words="logout",
    usage="[SERVER]",
    summary="Log out from a registry",
    most=1,
    details="Without SERVER: Docker Hub.",
)


def execute(call: Invocation) -> int:
    """Forget, and say whether there was anything to forget."""
    registry = call.arguments[0] if call.arguments else ""
    shown = registry or "https://index.docker.io/v1/"
    if call.engine.registries.log_out(registry):
        call.io.out(f"Removing login credentials for {shown}")
    else:
        call.io.out(f"Not logged in to {shown}")
    return 0
