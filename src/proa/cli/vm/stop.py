"""``proa vm stop``: shut virtual machines down."""

from __future__ import annotations

from proa.cli.invocation import Invocation
from proa.cli.kinds import INT
from proa.cli.parser import Command, Flag

TIME = Flag("time", INT, "Seconds to wait before it is switched off", short="t", default=90)

COMMAND = Command(
    words="vm stop",
    usage="[OPTIONS] VM [VM...]",
    summary="Press the power button of one or more virtual machines and wait",
    flags=(TIME,),
    least=1,
    most=None,
    details="A machine that has not shut down in time is switched off; with --time 0, at once.",
)


def execute(call: Invocation) -> int:
    """Stop each machine; print its name."""

    def stop(name: str) -> str:
        call.engine.vms.stop(name, timeout_s=float(max(call[TIME], 0)))
        return name

    return call.for_each(stop, side_by_side=True)
