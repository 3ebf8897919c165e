"""``proa machine stop``: shut the machine down."""

from __future__ import annotations

from proa.cli.invocation import Invocation
from proa.cli.parser import Command

COMMAND = Command(
    words="machine stop",
    usage="[OPTIONS]",
    summary="Shut the machine down; what is in it stays",
    most=0,
)


def execute(call: Invocation) -> int:
    """Stop it."""
    call.engine.machine.stop()
    return 0
