"""Reading JSON objects as Docker's daemon reads them: null is the same as absent, types count.

A body is not described as a struct: clients send null for every field that they leave alone, and
fields that this version does not know.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proa.server.errors import HttpError, bad_request


class Fields:
    """One JSON object and where it stands in the body, for messages."""

    def __init__(self, content: Mapping[str, Any], where: str = "") -> None:
        self._content = content
        self._where = where

    def __contains__(self, name: str) -> bool:
        """Whether a field is there and not null."""
        return self._content.get(name) is not None

    def __bool__(self) -> bool:
        """Whether there is any field at all."""
        return bool(self._content)

    def text(self, name: str, default: str = "") -> str:
        """Return a string."""
        value = self._content.get(name)
        if value is None:
            return default
        if not isinstance(value, str):
            raise self.wrong(name, "a string")
        return value

    def integer(self, name: str, default: int = 0) -> int:
        """Return a whole number."""
        value = self._content.get(name)
        if value is None:
            return default
        if isinstance(value, float) and value.is_integer():
            return int(value)
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.wrong(name, "a whole number")
        return value

    def flag(self, name: str) -> bool:
        """Return a truth value."""
        value = self._content.get(name)
        if value is None:
            return False
        if not isinstance(value, bool):
            raise self.wrong(name, "true or false")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        """Return strings; one alone counts as a list (Docker's ``strslice``)."""
        value = self._content.get(name)
        if value is None:
            return ()
        if isinstance(value, str):
            return (value,)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.wrong(name, "a list of strings")
        return tuple(value)

    def numbers(self, name: str) -> tuple[int, ...]:
        """Return whole numbers."""
        value = self._content.get(name)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(item, int) for item in value):
            raise self.wrong(name, "a list of whole numbers")
        return tuple(value)

    def mapping(self, name: str) -> dict[str, str]:
        """Return an object whose values are strings."""
        value = self._object(name)
        if not all(isinstance(item, str) for item in value.values()):
            raise self.wrong(name, "an object of strings")
        return dict(value)

    def keys(self, name: str) -> tuple[str, ...]:
        """Return the names in an object that stands for a set."""
        return tuple(self._object(name))

    def fields(self, name: str) -> Fields:
        """Return an object; absent: an empty one."""
        return Fields(self._object(name), self._path(name))

    def items(self, name: str) -> list[tuple[str, Fields]]:
        """Return the objects in an object, by their names."""
        found = []
        for key, value in self._object(name).items():
            if value is not None and not isinstance(value, dict):
                raise self.wrong(f"{name}.{key}", "an object")
            found.append((key, Fields(value or {}, f"{self._path(name)}.{key}")))
        return found

    def objects(self, name: str) -> list[Fields]:
        """Return a list of objects."""
        value = self._content.get(name)
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise self.wrong(name, "a list of objects")
        return [Fields(item, f"{self._path(name)}[{at}]") for at, item in enumerate(value)]

    def lists(self, name: str) -> list[tuple[str, list[Fields]]]:
        """Return an object of lists of objects."""
        inner = Fields(self._object(name), self._path(name))
        return [(key, inner.objects(key)) for key in inner._content]

    def wrong(self, name: str, expected: str) -> HttpError:
        """Return the refusal of a field."""
        return bad_request(f"invalid JSON: {self._path(name)} must be {expected}")

    def _object(self, name: str) -> dict[str, Any]:
        value = self._content.get(name)
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise self.wrong(name, "an object")
        return value

    def _path(self, name: str) -> str:
        return f"{self._where}.{name}" if self._where else name
