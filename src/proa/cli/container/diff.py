"""``proa diff``: what a container changed of its image's files."""

from __future__ import annotations

from proa.cli.invocation import Invocation
from proa.cli.parser import Command

COMMAND = Command(
    words="container diff",
    usage="CONTAINER",
    summary="Inspect changes to files or directories on a container's filesystem",
    least=1,
    most=1,
    details="A is what was added, C what was changed, D what was deleted.",
)


def execute(call: Invocation) -> int:
    """Print a line for each change."""
    for change in call.engine.containers.diff(call.arguments[0]):
        call.io.out(f"{change.kind} {change.path}")
    return 0
