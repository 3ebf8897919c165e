"""The functions of Docker's templates: Go's built-in ones and those that Docker adds."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from proa.engine.template.values import MISSING, is_equal, is_less, to_text
from proa.errors import Invalid

_VERB = re.compile(r"%([-+ 0#]*)(\d*)(?:\.(\d+))?([a-zA-Z%])")
_MAX_WIDTH: Final = 10_000


def _json(value: Any) -> str:
    if value is MISSING:
        value = None
    if isinstance(value, dict):
        value = {key: item for key, item in value.items() if not callable(item)}
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)


def _join(values: Any, separator: Any) -> str:
    if isinstance(values, str) and isinstance(separator, list | tuple):
        values, separator = separator, values
    if values is None or values is MISSING:
        return ""
    if not isinstance(values, list | tuple):
        raise Invalid(f"template: join needs a list, not '{to_text(values)[:40]}'")
    return str(separator).join(map(to_text, values))


def _split(text: Any, separator: Any) -> list[str]:
    return to_text(text).split(str(separator)) if separator else list(to_text(text))


def _truncate(text: Any, length: Any) -> str:
    if isinstance(text, int):
        text, length = length, text
    return to_text(text)[: _index_number(length)]


def _pad(text: Any, before: Any, after: Any) -> str:
    # Docker: nothing is added to nothing.
    if not text:
        return ""
    return " " * _width(before) + to_text(text) + " " * _width(after)


def _title(text: Any) -> str:
    return re.sub(r"(^|\s)(\S)", lambda match: match[1] + match[2].upper(), to_text(text))


def _len(value: Any) -> int:
    if isinstance(value, str):
        return len(value.encode())
    if isinstance(value, dict | list | tuple):
        return len(value)
    raise Invalid(f"template: len of {to_text(value)[:40]}")


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        if isinstance(value, dict):
            value = value.get(key, _zero(value))
        elif isinstance(value, list | tuple | str):
            position = _index_number(key)
            if position >= len(value):
                raise Invalid(f"template: index {position} is out of range")
            value = ord(value[position]) if isinstance(value, str) else value[position]
        else:
            raise Invalid(f"template: cannot index {to_text(value)[:40]} with '{to_text(key)}'")
    return value


def _slice(value: Any, *bounds: Any) -> Any:
    if not isinstance(value, str | list | tuple) or len(bounds) > 2:
        raise Invalid(f"template: cannot slice {to_text(value)[:40]}")
    numbers = [_index_number(bound) for bound in bounds]
    start = numbers[0] if numbers else 0
    end = numbers[1] if len(numbers) == 2 else len(value)
    if not start <= end <= len(value):
        raise Invalid(f"template: slice {start}:{end} is out of range")
    return value[start:end]


def _eq(first: Any, *others: Any) -> bool:
    if not others:
        raise Invalid("template: eq needs two values")
    return any(is_equal(first, other) for other in others)


def _println(*values: Any) -> str:
    return " ".join(map(to_text, values)) + "\n"


def _print(*values: Any) -> str:
    text = ""
    for position, value in enumerate(values):
        # fmt.Print puts a space between two operands when neither is a string.
        if position and not isinstance(value, str) and not isinstance(values[position - 1], str):
            text += " "
        text += to_text(value)
    return text


def _printf(pattern: Any, *values: Any) -> str:
    rest = list(values)

    def fill(match: re.Match[str]) -> str:
        flags, width, precision, verb = match.groups()
        if verb == "%":
            return "%"
        if not rest:
            return f"%!{verb}(MISSING)"
        return _format_verb(rest.pop(0), flags, width, precision, verb)

    return _VERB.sub(fill, to_text(pattern))


def _format_verb(value: Any, flags: str, width: str, precision: str | None, verb: str) -> str:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if verb in "sv":
        text = to_text(value)[: int(precision) if precision else None]
    elif verb == "q":
        text = json.dumps(to_text(value), ensure_ascii=False)
    elif verb == "t" and isinstance(value, bool):
        text = to_text(value)
    elif verb in "dxXo" and number:
        text = f"%{'+' if '+' in flags else ''}{verb}" % int(value)
    elif verb in "feg" and number:
        text = f"%.{min(int(precision or 6), 100)}{verb}" % value
    elif verb in "xX":
        text = to_text(value).encode().hex()
    else:
        return f"%!{verb}({to_text(value)})"
    columns = _width(int(width or 0))
    if "-" in flags:
        return text.ljust(columns)
    return text.zfill(columns) if "0" in flags and number else text.rjust(columns)


def _zero(mapping: dict[Any, Any]) -> Any:
    """Return what a missing key of a Go map gives: the zero of its type, as far as one can tell."""
    return "" if all(isinstance(value, str) for value in mapping.values()) else MISSING


def _index_number(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise Invalid(f"template: '{to_text(value)}' is not an index")
    return value


def _width(value: Any) -> int:
    return min(_index_number(value), _MAX_WIDTH)


FUNCTIONS: Final[Mapping[str, Callable[..., Any]]] = {
    "eq": _eq,
    "ge": lambda a, b: not is_less(a, b),
    "gt": lambda a, b: is_less(b, a),
    "index": _index,
    "join": _join,
    "json": _json,
    "le": lambda a, b: not is_less(b, a),
    "len": _len,
    "lower": lambda text: to_text(text).lower(),
    "lt": is_less,
    "ne": lambda a, b: not is_equal(a, b),
    "not": lambda value: not value,
    "pad": _pad,
    "print": _print,
    "printf": _printf,
    "println": _println,
    "slice": _slice,
    "split": _split,
    "title": _title,
    "truncate": _truncate,
    "upper": lambda text: to_text(text).upper(),
}

# "and" and "or" do not evaluate more than they need; the evaluator has them.
NAMES: Final = frozenset((*FUNCTIONS, "and", "or"))
