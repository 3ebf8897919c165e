"""Cutting a template into text and actions, and actions into tokens (Go text/template syntax)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import msgspec

from proa.errors import Invalid

_TOKEN = re.compile(
    r"""
      (?P<space>\s+)
    | (?P<string>"(?:[^"\\]|\\.)*")
    | (?P<raw>`[^`]*`)
    | (?P<number>[+-]?\d+(?:\.\d+)?)
    | (?P<field>\.[^\W\d]\w*)
    | (?P<dot>\.)
    | (?P<variable>\$\w*)
    | (?P<word>[^\W\d]\w*)
    | (?P<mark>:=|[=|(),])
    """,
    re.VERBOSE | re.DOTALL,
)
_OPEN, _CLOSE = "{{", "}}"
_TRIMMED = " \t\r\n"


class Token(msgspec.Struct, frozen=True):
    """A word of an action.

    Attributes:
        kind: ``string``, ``number``, ``field``, ``dot``, ``variable``, ``word`` or ``mark``.
        text: as written; a string without its quotes, a field without its dot.
        position: index in the template, from 0.
        attached: no space before it.
    """

    kind: str
    text: str
    position: int
    attached: bool


class Action(msgspec.Struct, frozen=True):
    """What is between ``{{`` and ``}}``."""

    tokens: tuple[Token, ...]
    position: int


def syntax_error(template: str, position: int, problem: str) -> Invalid:
    """Return the error for a place in a template."""
    return Invalid(
        f"template parsing error at character {position + 1} of '{template[:200]}': {problem}",
        "the language is that of docker's --format: {{.Name}}, {{json .}}, {{range .Mounts}}...",
    )


def split_template(template: str) -> Iterator[str | Action]:
    """Yield text and actions in order.

    Raises:
        Invalid: an action is not closed or contains what the language does not have.
    """
    position, trim = 0, False
    while position < len(template):
        start = template.find(_OPEN, position)
        text = template[position : start if start >= 0 else len(template)]
        if trim:
            text = text.lstrip(_TRIMMED)
        if start < 0:
            yield text
            return
        inner = start + len(_OPEN)
        # "{{- " eats space before it, " -}}" after it; "{{-3}}" is a number.
        if template[inner : inner + 1] == "-" and template[inner + 1 : inner + 2] in tuple(
            _TRIMMED
        ):
            text = text.rstrip(_TRIMMED)
            inner += 2
        if text:
            yield text
        tokens, position, trim = _read_action(template, start, inner)
        if tokens is not None:
            yield Action(tokens, start)


def _read_action(
    template: str, start: int, position: int
) -> tuple[tuple[Token, ...] | None, int, bool]:
    """Return the tokens (None for a comment), the index behind ``}}`` and whether to trim."""
    comment = re.compile(r"\s*/\*.*?\*/(\s+-)?\}\}", re.DOTALL).match(template, position)
    if comment:
        return None, comment.end(), comment[1] is not None
    tokens: list[Token] = []
    attached = False
    while position < len(template):
        if template.startswith(_CLOSE, position):
            return tuple(tokens), position + len(_CLOSE), False
        if not attached and template.startswith("-" + _CLOSE, position):
            return tuple(tokens), position + 1 + len(_CLOSE), True
        match = _TOKEN.match(template, position)
        if match is None:
            raise syntax_error(template, position, f"unexpected {template[position]!r}")
        kind, text = match.lastgroup or "", match[0]
        if kind != "space":
            tokens.append(_token(template, kind, text, position, attached=attached))
        attached = kind != "space"
        position = match.end()
    raise syntax_error(template, start, "'{{' without '}}'")


def _token(template: str, kind: str, text: str, position: int, *, attached: bool) -> Token:
    if kind == "string":
        try:
            return Token(kind, json.loads(text, strict=False), position, attached)
        except ValueError as error:
            raise syntax_error(template, position, f"bad string {text}") from error
    if kind == "raw":
        return Token("string", text[1:-1], position, attached)
    return Token(kind, text[1:] if kind == "field" else text, position, attached)
