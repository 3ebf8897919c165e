"""``proa stop``: ask containers to end, kill those that do not."""

from __future__ import annotations

from proa.cli.invocation import Invocation
from proa.cli.kinds import OPTIONAL_INT
from proa.cli.parser import Command, Flag
from proa.cli.signals import SIGNAL

TIMEOUT = Flag(
    "timeout", OPTIONAL_INT, "Seconds to wait before killing the container (-1: forever)", short="t"
)
TIME = Flag(
    "time", OPTIONAL_INT, "Seconds to wait before killing the container", replaced_by="timeout"
)

COMMAND = Command(
    words="container stop",
    usage="[OPTIONS] CONTAINER [CONTAINER...]",
    summary="Stop one or more running containers",
    flags=(SIGNAL, TIMEOUT, TIME),
    least=1,
    most=None,
)


def execute(call: Invocation) -> int:
    """Stop all containers side by side; print the name of each that ended."""

    def stop(name: str) -> str:
        call.engine.containers.stop(name, timeout_s=call[TIMEOUT], signal=call[SIGNAL])
        return name

    return call.for_each(stop, side_by_side=True)
