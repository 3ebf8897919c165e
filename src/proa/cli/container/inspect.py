"""``proa container inspect``: everything about containers as JSON."""

from __future__ import annotations

from proa.cli.inspecting import FORMAT, show
from proa.cli.invocation import Invocation
from proa.cli.kinds import BOOL
from proa.cli.parser import Command, Flag

SIZE = Flag("size", BOOL, "Display total file sizes", short="s")

COMMAND = Command(
    words="container inspect",
    usage="[OPTIONS] CONTAINER [CONTAINER...]",
    summary="Display detailed information on one or more containers",
    flags=(FORMAT, SIZE),
    least=1,
    most=None,
)


def execute(call: Invocation) -> int:
    """Show each container that is there; complain about the others."""
    return show(call, lambda name: call.engine.containers.inspect(name, size=call[SIZE]))
