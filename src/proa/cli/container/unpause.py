"""``proa unpause``: let the processes of paused containers go on."""

from __future__ import annotations

from proa.cli.invocation import Invocation
from proa.cli.parser import Command

COMMAND = Command(
    words="container unpause",
    usage="CONTAINER [CONTAINER...]",
    summary="Unpause all processes within one or more containers",
    least=1,
    most=None,
)


def execute(call: Invocation) -> int:
    """Unpause each container; print its name."""

    def unpause(name: str) -> str:
        call.engine.containers.unpause(name)
        return name

    return call.for_each(unpause)
