"""``proa network prune``: remove the networks that nobody uses."""

from __future__ import annotations

from proa.cli.invocation import Invocation
from proa.cli.kinds import FILTER, filters
from proa.cli.parser import Command, Flag
from proa.cli.prompts import FORCE, confirm

FILTERS = Flag("filter", FILTER, 'Provide filter values (e.g. "until=<timestamp>")')

COMMAND = Command(
    words="network prune",
    usage="[OPTIONS]",
    summary="Remove all unused networks",
    flags=(FILTERS, FORCE),
    details=(
        "The bridge of the default network and the engine's firewall table go too while no "
        "container uses them; the next container brings them back."
    ),
)


def execute(call: Invocation) -> int:
    """Ask, remove, say what was removed."""
    question = "This will remove all custom networks not used by at least one container."
    if not call[FORCE] and not confirm(call.io, question):
        return 0
    names = call.engine.networks.prune(filters=filters(call[FILTERS]))
    if names:
        call.io.out("Deleted Networks:\n" + "\n".join(names) + "\n")
    return 0
