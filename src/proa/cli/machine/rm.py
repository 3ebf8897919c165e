"""``proa machine rm``: remove the machine and everything in it."""

from __future__ import annotations

from proa.cli.invocation import Invocation
from proa.cli.kinds import BOOL
from proa.cli.parser import Command, Flag

FORCE = Flag("force", BOOL, "Switch a running machine off", short="f")

COMMAND = Command(
    words="machine rm",
    usage="[OPTIONS]",
    summary="Remove the machine with the images and containers in it",
    flags=(FORCE,),
    most=0,
)


def execute(call: Invocation) -> int:
    """Remove it."""
    call.engine.machine.remove(force=call[FORCE])
    return 0
