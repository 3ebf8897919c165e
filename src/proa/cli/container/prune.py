"""``proa container prune``: remove all containers that do not run."""

from __future__ import annotations

from proa import units
from proa.cli.invocation import Invocation
from proa.cli.kinds import FILTER, filters
from proa.cli.parser import Command, Flag
from proa.cli.prompts import FORCE, confirm

FILTERS = Flag("filter", FILTER, 'Provide filter values (e.g. "until=24h", "label=a=b")')

COMMAND = Command(
    words="container prune",
    usage="[OPTIONS]",
    summary="Remove all stopped containers",
    flags=(FILTERS, FORCE),
)


def execute(call: Invocation) -> int:
    """Ask, remove, say what that freed."""
    if not call[FORCE] and not confirm(call.io, "This will remove all stopped containers."):
        return 0
    pruned = call.engine.containers.prune(filters(call[FILTERS]))
    if pruned.ids:
        call.io.out("Deleted Containers:\n" + "\n".join(pruned.ids) + "\n")
    call.io.out(f"Total reclaimed space: {units.format_size(pruned.freed_bytes)}")
    return 0
