"""``proa search``: find repositories."""

from __future__ import annotations

from proa.cli.invocation import Invocation
from proa.cli.kinds import UNSIGNED
from proa.cli.parser import Command, Flag
from proa.cli.render import FORMAT, NO_TRUNC, Listing, show_listing

LIMIT = Flag("limit", UNSIGNED, "Max number of search results", default=25)

COMMAND = Command(
    words="search",
    usage="[OPTIONS] TERM",
    summary="Search a registry for images",
    flags=(FORMAT, LIMIT, NO_TRUNC),
    least=1,
    most=1,
    details=(
        "Asks Docker Hub. With a registry in front ('proa search registry.lan:5000/tools') its "
        "catalog is looked through, if it shows one."
    ),
)

_DESCRIPTION_WIDTH = 45
_HEADINGS = {
    "Name": "NAME",
    "Description": "DESCRIPTION",
    "StarCount": "STARS",
    "IsOfficial": "OFFICIAL",
}


def execute(call: Invocation) -> int:
    """List what was found."""
    found = call.engine.registries.search(call.arguments[0], limit=call[LIMIT])
    rows = [
        {
            "Name": one.name,
            "Description": one.description if call[NO_TRUNC] else _short(one.description),
            "StarCount": one.stars,
            "IsOfficial": "[OK]" if one.is_official else "",
        }
        for one in found
    ]
    listing = Listing(headings=_HEADINGS, shown=tuple(_HEADINGS), rows=rows, identity="Name")
    show_listing(call.io, listing, call[FORMAT])
    return 0


def _short(text: str) -> str:
    return text if len(text) <= _DESCRIPTION_WIDTH else f"{text[: _DESCRIPTION_WIDTH - 1]}…"
