"""``proa rm``: remove containers."""

from __future__ import annotations

from proa.cli.invocation import Invocation
from proa.cli.kinds import BOOL
from proa.cli.parser import Command, Flag
from proa.errors import Invalid, NotFound

FORCE = Flag("force", BOOL, "Force the removal of a running container (uses SIGKILL)", short="f")
VOLUMES = Flag("volumes", BOOL, "Remove anonymous volumes associated with the container", short="v")
LINK = Flag("link", BOOL, "Not available", "l", refusal="Proa has no links between containers")

COMMAND = Command(
    words="container rm",
    usage="[OPTIONS] CONTAINER [CONTAINER...]",
    summary="Remove one or more containers",
    flags=(FORCE, LINK, VOLUMES),
    least=1,
    most=None,
)


def execute(call: Invocation) -> int:
    """Remove each container; with ``--force`` one that is not there is said and no failure."""
    force = call[FORCE]

    def remove(argument: str) -> str | None:
        name = argument.strip("/")
        if not name:
            raise Invalid("container name cannot be empty")
        try:
            call.engine.containers.remove(name, force=force, volumes=call[VOLUMES])
        except NotFound as error:
            if not force:
                raise
            call.complain(error)
            return None
        return name

    return call.for_each(remove, side_by_side=True)
