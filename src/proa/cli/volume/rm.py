"""``proa volume rm``: remove volumes and what is in them."""

from __future__ import annotations

from proa.cli.invocation import Invocation
from proa.cli.kinds import BOOL
from proa.cli.parser import Command, Flag

FORCE = Flag("force", BOOL, "A volume that does not exist is no failure", short="f")

COMMAND = Command(
    words="volume rm",
    usage="[OPTIONS] VOLUME [VOLUME...]",
    summary="Remove one or more volumes",
    flags=(FORCE,),
    least=1,
    most=None,
    details="A volume that a container uses cannot be removed.",
)


def execute(call: Invocation) -> int:
    """Remove each volume; print its name."""

    def remove(name: str) -> str:
        call.engine.volumes.remove(name, force=call[FORCE])
        return name

    return call.for_each(remove)
