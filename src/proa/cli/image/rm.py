"""``proa rmi``: remove names of images, and images with their last name."""

from __future__ import annotations

from proa.cli.image.platforms import PLATFORM
from proa.cli.invocation import Invocation
from proa.cli.kinds import BOOL
from proa.cli.parser import Command, Flag
from proa.errors import NotFound

FORCE = Flag("force", BOOL, "Force removal of the image", short="f")
NO_PRUNE = Flag("no-prune", BOOL, "Accepted: images have no untagged parents", hidden=True)

COMMAND = Command(
    words="image rm",
    usage="[OPTIONS] IMAGE [IMAGE...]",
    summary="Remove one or more images",
    flags=(FORCE, NO_PRUNE, PLATFORM),
    least=1,
    most=None,
)


def execute(call: Invocation) -> int:
    """Say what became untagged and what was deleted."""
    force = call[FORCE]

    def remove(name: str) -> str | None:
        try:
            removals = call.engine.images.remove(name, force=force)
        except NotFound as error:
            if not force:
                raise
            call.complain(error)
            return None
        return "\n".join(f"{item.action.capitalize()}: {item.target}" for item in removals)

    return call.for_each(remove)
