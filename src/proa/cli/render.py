"""Listings as Docker shows them: tables, ``--format`` templates, JSON lines, ids only.

A listing is a table of named fields; what ``--format`` may say about it is understood by
:mod:`proa.engine.template`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from proa.cli.kinds import BOOL, STRING
from proa.cli.parser import Flag
from proa.engine.template import align, parse_format

if TYPE_CHECKING:
    from proa.cli.io import IO

FORMAT = Flag(
    "format",
    STRING,
    "Format output: 'table' (default), 'table TEMPLATE', 'json', or a Go template",
)
NO_TRUNC = Flag("no-trunc", BOOL, "Don't truncate output")

Row = Mapping[str, object]


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """What a command lists.

    Attributes:
        headings: field -> its heading, all fields that templates may use; a function stands for a
            function of the rows.
        shown: the fields of the default table, in order.
        rows: field -> value, or a function that templates may call (``{{.Label "name"}}``).
        identity: the field that ``--quiet`` shows.
    """

    headings: Mapping[str, object]
    shown: tuple[str, ...]
    rows: Sequence[Row]
    identity: str = "ID"


def show_listing(io: IO, listing: Listing, format_text: str = "", *, quiet: bool = False) -> None:
    """Print a listing in the form that the user asked for.

    Raises:
        Invalid: the template is malformed or names an unknown field.
    """
    if quiet:
        if format_text:
            io.err("WARNING: Ignoring custom format, because both --format and --quiet are set.")
        text = "".join(f"{row[listing.identity]}\n" for row in listing.rows)
    else:
        wanted = parse_format(format_text)
        if wanted.template is None:
            text = align(
                [
                    "\t".join(str(row[field]) for field in listing.shown)
                    for row in (listing.headings, *listing.rows)
                ]
            )
        else:
            text = wanted.render(listing.rows, listing.headings)
    io.write(io.stdout_fd, text.encode(errors="surrogateescape"))


def truncate(text: str, length: int) -> str:
    """Shorten to ``length`` characters, the last one an ellipsis."""
    return text if len(text) <= length else text[: length - 1] + "…"


def short_id(identity: str) -> str:
    """The first 12 digits of an id, without its algorithm."""
    return identity.removeprefix("sha256:")[:12]


def familiar(reference: str) -> str:
    """A normalized name as people write it: ``debian:bookworm``."""
    from proa.oci.reference import parse_reference

    return parse_reference(reference).familiar


def quote(text: str) -> str:
    """Put text in double quotes and escape what is not printable, as Go's ``strconv.Quote``."""
    import json

    return json.dumps(text, ensure_ascii=False)


def to_json(value: object, *, indent: int | None = None) -> str:
    """JSON as Docker prints it: no escapes for letters beyond ASCII."""
    import json

    separators = None if indent else (",", ":")
    return json.dumps(value, ensure_ascii=False, indent=indent, separators=separators)
