"""Go's view of JSON values: how they print, when they are true, how they compare."""

from __future__ import annotations

from typing import Any, Final

from proa.errors import Invalid


class _Missing:
    """A field or key that is not there; prints as Go prints it, is false, has no fields."""

    def __repr__(self) -> str:
        return "<no value>"

    def __bool__(self) -> bool:
        return False


MISSING: Final = _Missing()


def to_text(value: Any) -> str:
    """Return ``fmt.Print``'s text: ``[a b]``, ``map[k:v]``, ``true``, ``<nil>``."""
    if isinstance(value, str):
        return value
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _float_text(value)
    if isinstance(value, dict):
        items = (f"{key}:{to_text(value[key])}" for key in sorted(value))
        return f"map[{' '.join(items)}]"
    if isinstance(value, list | tuple):
        return f"[{' '.join(map(to_text, value))}]"
    return str(value)


def is_true(value: Any) -> bool:
    """Tell whether ``if`` takes the value: not empty, not zero, not nil."""
    return bool(value)


def is_equal(left: Any, right: Any) -> bool:
    """Compare as ``eq`` does.

    Raises:
        Invalid: values of different kinds.
    """
    if left is None or right is None or MISSING in (left, right):
        return left is right
    if _kind(left) != _kind(right):
        raise Invalid(
            f"template: incompatible types for comparison: {_kind(left)} and {_kind(right)}"
        )
    return bool(left == right)


def is_less(left: Any, right: Any) -> bool:
    """Compare numbers or strings as ``lt`` does.

    Raises:
        Invalid: values of different kinds, or without an order.
    """
    if _kind(left) != _kind(right) or _kind(left) not in ("number", "string"):
        raise Invalid(f"template: cannot order {_kind(left)} and {_kind(right)}")
    return bool(left < right)


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "string"
    if isinstance(value, dict):
        return "map"
    return "list" if isinstance(value, list | tuple) else "nil"


def _float_text(value: float) -> str:
    text = repr(value)
    return text.removesuffix(".0")
