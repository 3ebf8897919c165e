"""``proa kill``: send a signal to containers."""

from __future__ import annotations

from proa.cli.invocation import Invocation
from proa.cli.parser import Command
from proa.cli.signals import SIGNAL

COMMAND = Command(
    words="container kill",
    usage="[OPTIONS] CONTAINER [CONTAINER...]",
    summary="Kill one or more running containers",
    flags=(SIGNAL,),
    least=1,
    most=None,
)


def execute(call: Invocation) -> int:
    """Send the signal, KILL unless said otherwise; print each name."""

    def kill(name: str) -> str:
        call.engine.containers.kill(name, call[SIGNAL] or "KILL")
        return name

    return call.for_each(kill)
