"""Docker's ``--format``: Go's template language, as far as people use it, and tables.

:func:`parse_format` understands what the flag takes: ``json``, ``table``, ``table TEMPLATE`` and
``TEMPLATE``. Values are JSON-like: dicts, lists, strings, numbers, booleans, None, and functions
where Docker has methods (``{{.Label "name"}}``). No attribute of a Python object can be reached.

Differences from Go: a field that does not exist is nil in the condition of ``if`` and ``with``
(Docker's types have the optional fields, its JSON leaves them out); ``define``, ``template`` and
``block`` do not exist.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from proa.engine.template.evaluate import Evaluator
from proa.engine.template.functions import FUNCTIONS, NAMES
from proa.engine.template.nodes import Node
from proa.engine.template.parser import parse
from proa.engine.template.tables import align

__all__ = ["Format", "Template", "align", "parse_format"]


class Template:
    """A parsed template; may be rendered any number of times."""

    def __init__(self, text: str) -> None:
        """Parse a template.

        Raises:
            Invalid: with the place and what is wrong there.
        """
        self._nodes: tuple[Node, ...] = parse(text, NAMES)

    def render(self, value: Any) -> str:
        """Return the template's text for one value.

        Raises:
            Invalid: the value does not have what the template asks for.
        """
        return Evaluator(value).run(self._nodes, value)

    def render_header(self, headers: Mapping[str, Any]) -> str:
        """Return a table's header: fields give their titles, functions leave them alone."""
        titles = dict(headers)
        return Evaluator(titles, _HEADER_FUNCTIONS).run(self._nodes, titles)


class Format(msgspec.Struct, frozen=True):
    """What ``--format`` asked for.

    Attributes:
        template: for one row; None for the command's own table.
        table: rows are aligned under a header.
    """

    template: Template | None
    table: bool

    def render(self, rows: Iterable[Mapping[str, Any]], headers: Mapping[str, Any]) -> str:
        """Return the whole listing, a line a row.

        Args:
            rows: documents as templates see them.
            headers: titles of the fields (functions for methods).

        Raises:
            Invalid: a row does not have what the template asks for.
            ValueError: the command's own table was asked for, which only the command knows.
        """
        if self.template is None:
            raise ValueError("no template")
        lines: list[str] = [self.template.render(row) for row in rows]
        if self.table:
            return align([self.template.render_header(headers), *lines])
        return "".join(f"{line}\n" for line in lines)


def parse_format(text: str) -> Format:
    r"""Understand the value of ``--format``; ``\t`` and ``\n`` written as such are taken as such.

    Raises:
        Invalid: with the place and what is wrong there.
    """
    text = text.strip().replace("\\t", "\t").replace("\\n", "\n")
    if text in ("", "table"):
        return Format(None, table=True)
    if text == "json":
        return Format(Template("{{json .}}"), table=False)
    if text.startswith("table") and text[5:6] in (" ", "\t"):
        return Format(Template(text[6:].lstrip()), table=True)
    return Format(Template(text), table=False)


def _first(*values: Any) -> Any:
    """Return the one operand that is a title."""
    return next((value for value in values if isinstance(value, str)), "")


_HEADER_FUNCTIONS = dict.fromkeys(FUNCTIONS, _first)
