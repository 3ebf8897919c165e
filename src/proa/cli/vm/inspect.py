"""``proa vm inspect``: everything about virtual machines as JSON."""

from __future__ import annotations

from proa.cli.inspecting import FORMAT, show
from proa.cli.invocation import Invocation
from proa.cli.parser import Command

COMMAND = Command(
    words="vm inspect",
    usage="[OPTIONS] VM [VM...]",
    summary="Display detailed information on one or more virtual machines",
    flags=(FORMAT,),
    least=1,
    most=None,
)


def execute(call: Invocation) -> int:
    """Show each machine that is there; complain about the others."""
    return show(call, call.engine.vms.inspect)
