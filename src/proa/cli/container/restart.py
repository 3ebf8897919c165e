"""``proa restart``: stop containers and start them again."""

from __future__ import annotations

from proa.cli.container.stop import TIME, TIMEOUT
from proa.cli.invocation import Invocation
from proa.cli.parser import Command
from proa.cli.signals import SIGNAL

COMMAND = Command(
    words="container restart",
    usage="[OPTIONS] CONTAINER [CONTAINER...]",
    summary="Restart one or more containers",
    flags=(SIGNAL, TIMEOUT, TIME),
    least=1,
    most=None,
)


def execute(call: Invocation) -> int:
    """Restart all containers side by side; print the name of each that runs again."""

    def restart(name: str) -> str:
        call.engine.containers.restart(name, timeout_s=call[TIMEOUT], signal=call[SIGNAL])
        return name

    return call.for_each(restart, side_by_side=True)
