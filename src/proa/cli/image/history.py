"""``proa history``: how an image came to be."""

from __future__ import annotations

import time

from proa import units
from proa.cli.image.platforms import PLATFORM
from proa.cli.invocation import Invocation
from proa.cli.kinds import BOOL
from proa.cli.parser import Command, Flag
from proa.cli.render import FORMAT, NO_TRUNC, Listing, Row, short_id, show_listing, truncate
from proa.cli.times import created_at, since
from proa.image.model import HistoryEntry

HUMAN = Flag(
    "human", BOOL, "Print sizes and dates in human readable format", short="H", default=True
)
QUIET = Flag("quiet", BOOL, "Only show image IDs", short="q")

COMMAND = Command(
    words="image history",
    usage="[OPTIONS] IMAGE",
    summary="Show the history of an image",
    flags=(FORMAT, HUMAN, NO_TRUNC, QUIET, PLATFORM),
    least=1,
    most=1,
)

_HEADINGS = {
    "ID": "IMAGE",
    "CreatedSince": "CREATED",
    "CreatedAt": "CREATED AT",
    "CreatedBy": "CREATED BY",
    "Size": "SIZE",
    "Comment": "COMMENT",
}
_MISSING = "<missing>"
_CREATED_BY_LENGTH = 45


def execute(call: Invocation) -> int:
    """List the steps, newest first."""
    now_ns = time.time_ns()
    human = call[HUMAN]
    rows = [
        _row(entry, now_ns, full=call[NO_TRUNC], human=human)
        for entry in call.engine.images.history(call.arguments[0])
    ]
    created = "CreatedSince" if human else "CreatedAt"
    listing = Listing(
        headings=_HEADINGS, shown=("ID", created, "CreatedBy", "Size", "Comment"), rows=rows
    )
    show_listing(call.io, listing, call[FORMAT], quiet=call[QUIET])
    return 0


def _row(entry: HistoryEntry, now_ns: int, *, full: bool, human: bool) -> Row:
    identity = entry.id if full else short_id(entry.id)
    by = " ".join(entry.created_by.split())
    return {
        "ID": identity or _MISSING,
        "CreatedSince": since(entry.created_at_ns, now_ns),
        "CreatedAt": created_at(entry.created_at_ns),
        "CreatedBy": by if full else truncate(by, _CREATED_BY_LENGTH),
        "Size": units.format_size(entry.size_bytes) if human else str(entry.size_bytes),
        "Comment": entry.comment,
    }
