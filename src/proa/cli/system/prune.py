"""``proa system prune``: remove all that nobody uses."""

from __future__ import annotations

from collections.abc import Iterable

from proa import units
from proa.cli.invocation import Invocation
from proa.cli.io import IO
from proa.cli.kinds import BOOL, FILTER, filters
from proa.cli.parser import Command, Flag
from proa.cli.prompts import FORCE, confirm

ALL = Flag("all", BOOL, "Remove all unused images not just dangling ones", short="a")
FILTERS = Flag("filter", FILTER, 'Provide filter values (e.g. "label=<key>=<value>")')
VOLUMES = Flag("volumes", BOOL, "Prune anonymous volumes")

COMMAND = Command(
    words="system prune",
    usage="[OPTIONS]",
    summary="Remove unused data",
    flags=(ALL, FILTERS, FORCE, VOLUMES),
)


def execute(call: Invocation) -> int:
    """Say what will go, ask, remove, and say what that freed."""
    every, volumes, pairs = call[ALL], call[VOLUMES], call[FILTERS]
    if not call[FORCE] and not confirm(call.io, _warning(pairs, every=every, volumes=volumes)):
        return 0
    pruned = call.engine.system.prune(every=every, volumes=volumes, filters=filters(pairs))
    _show(call.io, "Containers", pruned.containers)
    _show(call.io, "Networks", pruned.networks)
    _show(call.io, "Volumes", pruned.volumes)
    _show(call.io, "Images", (f"{one.action}: {one.target}" for one in pruned.images))
    call.io.out(f"Total reclaimed space: {units.format_size(pruned.freed_bytes)}")
    return 0


def _warning(pairs: tuple[tuple[str, str], ...], *, every: bool, volumes: bool) -> str:
    items = [
        "all stopped containers",
        "all networks not used by at least one container",
        *(["all anonymous volumes not used by at least one container"] if volumes else []),
        "all images without at least one container associated to them"
        if every
        else "all dangling images",
    ]
    text = "This will remove:\n" + "".join(f"  - {item}\n" for item in items)
    if pairs:
        text += "\n  Items to be pruned will be filtered with:\n"
        text += "".join(f"  - {name}={value}\n" for name, value in pairs)
    return text


def _show(io: IO, what: str, lines: Iterable[str]) -> None:
    text = "\n".join(lines)
    if text:
        io.out(f"Deleted {what}:\n{text}\n")
