"""``proa volume prune``: remove the volumes that nobody uses."""

from __future__ import annotations

from proa import units
from proa.cli.invocation import Invocation
from proa.cli.kinds import BOOL, FILTER, filters
from proa.cli.parser import Command, Flag
from proa.cli.prompts import FORCE, confirm

ALL = Flag("all", BOOL, "Remove all unused volumes, not just anonymous ones", short="a")
FILTERS = Flag("filter", FILTER, 'Provide filter values (e.g. "label=<label>")')

COMMAND = Command(
    words="volume prune",
    usage="[OPTIONS]",
    summary="Remove unused local volumes",
    flags=(ALL, FILTERS, FORCE),
)


def execute(call: Invocation) -> int:
    """Ask, remove, and say what that freed."""
    every = call[ALL]
    kind = "all" if every else "anonymous"
    question = f"This will remove {kind} local volumes not used by at least one container."
    if not call[FORCE] and not confirm(call.io, question):
        return 0
    names, freed_bytes = call.engine.volumes.prune(every=every, filters=filters(call[FILTERS]))
    if names:
        call.io.out("Deleted Volumes:\n" + "\n".join(names) + "\n")
    call.io.out(f"Total reclaimed space: {units.format_size(freed_bytes)}")
    return 0
