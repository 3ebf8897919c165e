"""What a handler gets: the engine, the words of the request, its body, and whether it still counts.

The words are read with Docker's leniency (moby, ``daemon/server/httputils/form.go``): a flag is
true unless it is empty, ``0``, ``no``, ``false`` or ``none``; filters come as a JSON object of
lists or, from old clients, of objects.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar
from urllib.parse import parse_qsl

import msgspec

from proa.engine.facade import Engine
from proa.server.errors import HttpError, bad_request
from proa.server.memory import Memory

T = TypeVar("T")

JSON_BODY_BYTES = 4 * 1024 * 1024
_FALSE = frozenset(("", "0", "no", "false", "none"))


class Body(Protocol):
    """The body of a request, read as far as the handler wants."""

    def read_all(self, limit_bytes: int) -> bytes:
        """Return all of it.

        Raises:
            HttpError: 413, it is longer.
        """

    def pieces(self) -> Iterator[bytes]:
        """Yield it as it comes, however long it is."""


class Client(Protocol):
    """Who asked."""

    def watch(self) -> AbstractContextManager[int]:
        """Give a descriptor that is readable once the client hung up or the server stops."""

    @property
    def wants_upgrade(self) -> bool:
        """It said ``Connection: Upgrade``."""


class Query:
    """The parameters behind ``?``."""

    def __init__(self, raw: str) -> None:
        self._pairs = parse_qsl(raw, keep_blank_values=True)
        self._first: dict[str, str] = {}
        for name, value in self._pairs:
            self._first.setdefault(name, value)

    def __contains__(self, name: str) -> bool:
        return name in self._first

    def text(self, name: str, default: str = "") -> str:
        """Return a parameter, the first of several."""
        return self._first.get(name, default)

    def texts(self, name: str) -> list[str]:
        """Return all values of a parameter that may be given several times."""
        return [value for key, value in self._pairs if key == name]

    def flag(self, name: str, *, default: bool = False) -> bool:
        """Return a truth value by Docker's rule."""
        if name not in self._first:
            return default
        return self._first[name].strip().lower() not in _FALSE

    def integer(self, name: str, default: int = 0) -> int:
        """Return a whole number.

        Raises:
            HttpError: 400, it is none.
        """
        value = self._first.get(name, "")
        if not value:
            return default
        try:
            return int(value)
        except ValueError:
            raise bad_request(f"invalid value for {name}: '{value}' is no number") from None

    def filters(self) -> dict[str, list[str]]:
        """Return ``filters``: ``{"label": ["a"]}`` or the older ``{"label": {"a": true}}``.

        Raises:
            HttpError: 400, it is neither.
        """
        value = self._first.get("filters", "")
        if not value:
            return {}
        try:
            return msgspec.json.decode(value, type=dict[str, list[str]])
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            pass
        try:
            older = msgspec.json.decode(value, type=dict[str, dict[str, bool]])
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            raise bad_request("invalid filter: it is no JSON object of lists") from None
        return {name: [text for text, on in values.items() if on] for name, values in older.items()}

    def json(self, name: str, shape: type[T], default: T) -> T:
        """Return a parameter that is JSON.

        Raises:
            HttpError: 400, it is not what was expected.
        """
        value = self._first.get(name, "")
        if not value:
            return default
        try:
            return msgspec.json.decode(value, type=shape)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise bad_request(f"invalid value for {name}: {error}") from None


class Call:
    """One request.

    Attributes:
        engine: what it is about.
        method: ``GET``; ``HEAD`` requests come with that method to the handler of ``GET``.
        path: decoded, without the version.
        version: that the client speaks, ``(1, 51)``; older clients get older shapes where the
            handler says so.
        variables: parts of the path; ``call["id"]`` is short for one.
        query: parameters behind ``?``.
        headers: lower-case names; the last of several.
        body: of the request.
        client: who asked.
        memory: what the server remembers between requests.
    """

    __slots__ = (
        "body", "client", "engine", "headers", "memory", "method", "path", "query", "variables",
        "version",
    )  # fmt: skip

    def __init__(
        self,
        engine: Engine,
        *,
        method: str,
        path: str,
        version: tuple[int, int],
        variables: Mapping[str, str],
        query: Query,
        headers: Mapping[str, str],
        body: Body,
        client: Client,
        memory: Memory,
    ) -> None:
        self.engine = engine
        self.method = method
        self.path = path
        self.version = version
        self.variables = variables
        self.query = query
        self.headers = headers
        self.body = body
        self.client = client
        self.memory = memory

    def __getitem__(self, name: str) -> str:
        """Return a variable of the path."""
        return self.variables[name]

    def json(self, shape: type[T] | Any = dict[str, Any], *, optional: bool = False) -> T | Any:
        """Return the body, decoded and checked.

        Args:
            shape: a type that msgspec knows; unknown fields are ignored.
            optional: an empty body is an empty object.

        Raises:
            HttpError: 400 for anything else, 413 above 4 MiB.
        """
        raw = self.body.read_all(JSON_BODY_BYTES)
        if not raw.strip():
            if optional:
                return msgspec.convert({}, shape)
            raise HttpError(400, "invalid JSON: got EOF while reading request body")
        content_type = self.headers.get("content-type", "")
        if content_type.partition(";")[0].strip().lower() not in ("application/json", ""):
            raise bad_request(
                f"unsupported Content-Type header ({content_type}): must be 'application/json'"
            )
        try:
            return msgspec.json.decode(raw, type=shape)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise bad_request(f"invalid JSON: {error}") from None
