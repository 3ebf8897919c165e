"""``proa network rm``: remove networks."""

from __future__ import annotations

from proa.cli.invocation import Invocation
from proa.cli.kinds import BOOL
from proa.cli.parser import Command, Flag
from proa.errors import NotFound

FORCE = Flag("force", BOOL, "A network that does not exist is no failure", short="f")

COMMAND = Command(
    words="network rm",
    usage="NETWORK [NETWORK...]",
    summary="Remove one or more networks",
    flags=(FORCE,),
    least=1,
    most=None,
)


def execute(call: Invocation) -> int:
    """Remove each network; print its name."""

    def remove(name: str) -> str | None:
        try:
            return call.engine.networks.remove(name)
        except NotFound as error:
            if not call[FORCE]:
                raise
            call.complain(error)
            return None

    return call.for_each(remove)
