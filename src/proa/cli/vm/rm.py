"""``proa vm rm``: remove virtual machines and their disks."""

from __future__ import annotations

from proa.cli.invocation import Invocation
from proa.cli.kinds import BOOL
from proa.cli.parser import Command, Flag

FORCE = Flag("force", BOOL, "Switch a running machine off", short="f")

COMMAND = Command(
    words="vm rm",
    usage="[OPTIONS] VM [VM...]",
    summary="Remove one or more virtual machines and what they wrote",
    flags=(FORCE,),
    least=1,
    most=None,
    details="The images that their disks were made of stay.",
)


def execute(call: Invocation) -> int:
    """Remove each machine; print its name."""

    def remove(name: str) -> str:
        call.engine.vms.remove(name, force=call[FORCE])
        return name

    return call.for_each(remove)
