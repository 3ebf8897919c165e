"""``proa wait``: wait until containers stop."""

from __future__ import annotations

from proa.cli.invocation import Invocation
from proa.cli.parser import Command

COMMAND = Command(
    words="container wait",
    usage="CONTAINER [CONTAINER...]",
    summary="Block until one or more containers stop, then print their exit codes",
    least=1,
    most=None,
)


def execute(call: Invocation) -> int:
    """Print the exit code of each container."""
    return call.for_each(lambda name: str(call.engine.containers.wait(name)))
