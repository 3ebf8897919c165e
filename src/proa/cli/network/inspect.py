"""``proa network inspect``: everything about networks as JSON."""

from __future__ import annotations

from proa.cli.inspecting import FORMAT, show
from proa.cli.invocation import Invocation
from proa.cli.kinds import BOOL
from proa.cli.parser import Command, Flag

VERBOSE = Flag("verbose", BOOL, "Accepted: there is no more to say", "v", hidden=True)

COMMAND = Command(
    words="network inspect",
    usage="[OPTIONS] NETWORK [NETWORK...]",
    summary="Display detailed information on one or more networks",
    flags=(FORMAT, VERBOSE),
    least=1,
    most=None,
)


def execute(call: Invocation) -> int:
    """Show each network that is there; complain about the others."""
    return show(call, call.engine.networks.inspect)
