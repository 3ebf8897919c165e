"""Kinds of flag values that several commands share.

A kind reads the text of one occurrence; scalars keep the last one, lists collect. The reason in a
``ValueError`` ends the sentence ``invalid argument "zz" for "-m, --memory" flag: ...``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from proa import units
from proa.cli.parser import Kind
from proa.errors import Invalid

T = TypeVar("T")

_TRUE = frozenset(("1", "t", "T", "true", "TRUE", "True"))
_FALSE = frozenset(("0", "f", "F", "false", "FALSE", "False"))


def scalar(word: str, read: Callable[[str], T], zero: T) -> Kind[T]:
    """A kind whose last occurrence counts."""
    return Kind(word, lambda text, _before: read(text), zero)


def repeated(word: str, read: Callable[[str], T]) -> Kind[tuple[T, ...]]:
    """A kind that collects every occurrence in order."""
    return Kind(word, lambda text, before: (*before, read(text)), ())


def read_bool(text: str) -> bool:
    """Read a boolean as Go does.

    Raises:
        ValueError: it is none.
    """
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ValueError(f"{text!r} is neither true nor false")


def read_int(text: str) -> int:
    """Read a decimal integer; no spaces, no underscores.

    Raises:
        ValueError: it is none.
    """
    digits = text[1:] if text[:1] in ("-", "+") else text
    if not (digits.isascii() and digits.isdigit() and len(digits) < 20):
        raise ValueError(f"{text!r} is not an integer")
    return int(text)


def read_unsigned(text: str) -> int:
    """Read an integer of at least 0.

    Raises:
        ValueError: it is none.
    """
    number = read_int(text)
    if number < 0:
        raise ValueError(f"{text!r} is negative")
    return number


def reading(parse: Callable[[str], T], text: str) -> T:
    """Let a parser of :mod:`proa.units` read a flag's text.

    Raises:
        ValueError: with the parser's sentence.
    """
    try:
        return parse(text)
    except Invalid as error:
        raise ValueError(str(error)) from None


def read_size(text: str) -> int:
    """Read a size with an optional binary unit (``512m``).

    Raises:
        ValueError: it is none.
    """
    return reading(units.parse_size, text)


def _read_filter(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError("bad format of filter (expected name=value)")
    return name.strip().lower(), value.strip()


BOOL = Kind(word="", read=lambda text, _before: read_bool(text), zero=False, implied="true")
STRING = scalar("string", str, "")
INT = scalar("int", read_int, 0)
OPTIONAL_INT: Kind[int | None] = scalar("int", read_int, None)
UNSIGNED = scalar("uint", read_unsigned, 0)
BYTES = scalar("bytes", read_size, 0)
LIST = repeated("list", str)
FILTER = repeated("filter", _read_filter)


def filters(pairs: tuple[tuple[str, str], ...]) -> dict[str, list[str]]:
    """Group ``--filter`` values by their name."""
    grouped: dict[str, list[str]] = {}
    for name, value in pairs:
        grouped.setdefault(name, []).append(value)
    return grouped
