"""``proa pause``: freeze the processes of containers."""

from __future__ import annotations

from proa.cli.invocation import Invocation
from proa.cli.parser import Command

COMMAND = Command(
    words="container pause",
    usage="CONTAINER [CONTAINER...]",
    summary="Pause all processes within one or more containers",
    least=1,
    most=None,
)


def execute(call: Invocation) -> int:
    """Pause each container; print its name."""

    def pause(name: str) -> str:
        call.engine.containers.pause(name)
        return name

    return call.for_each(pause)
