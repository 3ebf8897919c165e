"""``proa volume inspect``: everything about volumes as JSON."""

from __future__ import annotations

from proa.cli.inspecting import FORMAT, show
from proa.cli.invocation import Invocation
from proa.cli.parser import Command

COMMAND = Command(
    words="volume inspect",
    usage="[OPTIONS] VOLUME [VOLUME...]",
    summary="Display detailed information on one or more volumes",
    flags=(FORMAT,),
    least=1,
    most=None,
)


def execute(call: Invocation) -> int:
    """Show each volume that is there; complain about the others."""
    return show(call, call.engine.volumes.inspect)
