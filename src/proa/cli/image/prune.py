"""``proa image prune``: remove the images that nobody uses."""

from __future__ import annotations

from proa import units
from proa.cli.invocation import Invocation
from proa.cli.kinds import BOOL, FILTER, filters
from proa.cli.parser import Command, Flag
from proa.cli.prompts import FORCE, confirm

ALL = Flag("all", BOOL, "Remove all unused images, not just dangling ones", short="a")
FILTERS = Flag("filter", FILTER, 'Provide filter values (e.g. "until=24h", "label=a=b")')

COMMAND = Command(
    words="image prune",
    usage="[OPTIONS]",
    summary="Remove unused images",
    flags=(ALL, FILTERS, FORCE),
    details=(
        "An image is dangling when it has no tag. With --all, every image without a container "
        "goes, and what interrupted pulls could have continued from."
    ),
)


def execute(call: Invocation) -> int:
    """Ask, remove, and say what that freed."""
    every = call[ALL]
    kind = (
        "images without at least one container associated to them" if every else "dangling images"
    )
    if not call[FORCE] and not confirm(call.io, f"This will remove all {kind}."):
        return 0
    pruned = call.engine.images.prune(every=every, filters=filters(call[FILTERS]))
    if pruned.removed:
        lines = [f"{one.action}: {one.target}" for one in pruned.removed]
        call.io.out("Deleted Images:\n" + "\n".join(lines) + "\n")
    call.io.out(f"Total reclaimed space: {units.format_size(pruned.freed_bytes)}")
    return 0
