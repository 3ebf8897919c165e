"""Listings as Docker shows them: tables, ``--format`` templates, JSON lines, ids only.

A listing is a table of named fields. ``--format`` may be ``table`` (the default),
``table TEMPLATE`` (with a header of the fields' headings), ``json`` (one object a line) or a Go
template.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from proa.cli.kinds import BOOL, STRING
from proa.cli.parser import EXIT_FAILURE, Flag, UsageError
from proa.errors import Invalid

if TYPE_CHECKING:
    from proa.cli.io import IO

# Docker prints through Go's text/tabwriter with a minimum cell of 10 and a padding of 3.
_CELL_MIN = 10
_PADDING = 3

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
        headings: field -> its heading, all fields that templates may use.
        shown: the fields of the default table, in order.
        rows: field -> value (a string, or a callable that templates may call with words).
        identity: the field that ``--quiet`` shows.
    """

    headings: Mapping[str, str]
    shown: tuple[str, ...]
    rows: Sequence[Row]
    identity: str = "ID"


def show_listing(io: IO, listing: Listing, format_text: str = "", *, quiet: bool = False) -> None:
    """Print a listing in the form that the user asked for.

    Raises:
        UsageError: the template is malformed or names an unknown field.
    """
    if quiet:
        if format_text:
            io.err("WARNING: Ignoring custom format, because both --format and --quiet are set.")
        _print(io, [str(row[listing.identity]) for row in listing.rows])
        return
    kind, _, template = format_text.partition(" ")
    if format_text in ("", "table"):
        cells = [[listing.headings[field] for field in listing.shown]]
        cells += [[str(row[field]) for field in listing.shown] for row in listing.rows]
        _print(io, align(cells))
    elif format_text == "json":
        _print(io, [_json_line(row) for row in listing.rows])
    elif kind == "table":
        render = compile_format(template.strip())
        lines = [render(listing.headings), *(render(row) for row in listing.rows)]
        _print(io, align([line.split("\t") for line in lines]))
    else:
        render = compile_format(format_text)
        _print(io, [render(row) for row in listing.rows])


def align(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lay cells out in columns; the last cell of a row is not padded."""
    widths: list[int] = []
    for row in rows:
        for index, cell in enumerate(row[:-1]):
            if index == len(widths):
                widths.append(_CELL_MIN)
            widths[index] = max(widths[index], len(cell) + _PADDING)
    return [
        "".join(f"{cell:<{widths[index]}}" for index, cell in enumerate(row[:-1])) + row[-1]
        for row in rows
    ]


def compile_format(text: str) -> Callable[[object], str]:
    """Compile a ``--format`` template once; returns what renders one value.

    ``\\t`` and ``\\n`` in the text are a tab and a line end, as in Docker's client.

    Raises:
        UsageError: it is malformed; the returned function raises it for unknown fields.
    """
    from proa.engine import template

    try:
        compiled = template.parse_template(text.replace("\\t", "\t").replace("\\n", "\n"))
    except Invalid as error:
        raise _template_error(error) from None

    def render(value: object) -> str:
        try:
            return compiled.render(value)
        except Invalid as error:
            raise _template_error(error) from None

    return render


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


def _json_line(row: Row) -> str:
    return to_json({field: row[field] for field in sorted(row) if not callable(row[field])})


def _print(io: IO, lines: list[str]) -> None:
    if lines:
        io.out("\n".join(lines))


def _template_error(error: Invalid) -> UsageError:
    return UsageError(str(error), exit_code=EXIT_FAILURE)
