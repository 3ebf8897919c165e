"""``proa rename``: give a container another name."""

from __future__ import annotations

from proa.cli.invocation import Invocation
from proa.cli.parser import Command

COMMAND = Command(
    words="container rename",
    usage="CONTAINER NEW_NAME",
    summary="Rename a container",
    least=2,
    most=2,
)


def execute(call: Invocation) -> int:
    """Rename it; say nothing."""
    call.engine.containers.rename(*call.arguments)
    return 0
