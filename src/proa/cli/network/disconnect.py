"""``proa network disconnect``: take a container off a network."""

from __future__ import annotations

from proa.cli.invocation import Invocation
from proa.cli.kinds import BOOL
from proa.cli.parser import Command, Flag

FORCE = Flag("force", BOOL, "A container that is not on the network is no failure", short="f")

COMMAND = Command(
    words="network disconnect",
    usage="[OPTIONS] NETWORK CONTAINER",
    summary="Disconnect a container from a network",
    flags=(FORCE,),
    least=2,
    most=2,
)


def execute(call: Invocation) -> int:
    """Disconnect it, at once if it runs."""
    name, container = call.arguments
    call.engine.networks.disconnect(name, container, force=call[FORCE])
    return 0
