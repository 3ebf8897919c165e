"""Method and path to handler, and the version of the API in between.

How to add endpoints: write ``routes/<resource>.py`` with a table and plain functions, and name the
module in :mod:`proa.server.routes.table`::

    def inspect(call: Call) -> Answer:
        return responses.document(call.engine.images.inspect(call["name"]))

    ROUTES = (
        Route("GET", "/images/{name...}/json", inspect),
        Route("POST", "/images/create", create),
    )

``{name}`` matches one segment of the path, ``{name...}`` any number of them (image references have
slashes). Paths are matched decoded and without ``/v1.xx``. The first matching row wins, rows
without variables first of all. ``GET`` rows answer ``HEAD`` too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Final
from urllib.parse import unquote_to_bytes

import msgspec

from proa.server.call import Call
from proa.server.errors import HttpError
from proa.server.responses import Answer

Version = tuple[int, int]
Handler = Callable[[Call], Answer]

NEWEST: Final[Version] = (1, 51)
OLDEST: Final[Version] = (1, 24)

_VERSIONED: Final = re.compile(r"/v([0-9]{1,4})\.([0-9]{1,4})(/.*)", re.DOTALL)
_VARIABLE: Final = re.compile(r"\{([a-z_]+)(\.\.\.)?\}")


class Route(msgspec.Struct, frozen=True):
    """One row of a table of endpoints.

    Attributes:
        method: upper case.
        template: path with ``{name}`` for one segment and ``{name...}`` for many.
        handler: called in a thread of its own for as long as the request lasts.
    """

    method: str
    template: str
    handler: Handler


class Match(msgspec.Struct, frozen=True):
    """What was found for a request."""

    route: Route
    variables: dict[str, str]
    version: Version
    path: str


class Router:
    """All endpoints."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._fixed: dict[str, dict[str, Route]] = {}
        self._variable: dict[str, list[tuple[re.Pattern[str], Route]]] = {}
        for route in routes:
            if "{" not in route.template:
                self._fixed.setdefault(route.template, {})[route.method] = route
                continue
            noun = route.template.split("/", 2)[1]
            pattern = re.compile(_to_pattern(route.template), re.DOTALL)
            self._variable.setdefault(noun, []).append((pattern, route))

    def find(self, method: str, raw_path: bytes) -> Match:
        """Return the endpoint of a request.

        Args:
            method: of the request.
            raw_path: as sent, percent-encoded, without the query.

        Raises:
            HttpError: 400 for a path that cannot be one or a version that is not spoken, 404 for
                an unknown path, 405 for a known one with another method.
        """
        version, path = split_version(decode_path(raw_path))
        asked = "GET" if method == "HEAD" else method
        known = self._fixed.get(path)
        if known is not None:
            route = known.get(method) or known.get(asked)
            if route is not None:
                return Match(route, {}, version, path)
        others = known is not None
        for pattern, route in self._variable.get(path.split("/", 2)[1], ()):
            found = pattern.fullmatch(path)
            if found is None:
                continue
            if route.method in (method, asked):
                return Match(route, found.groupdict(), version, path)
            others = True
        if others:
            raise HttpError(405, f"method {method} is not allowed for {path}")
        raise HttpError(404, "page not found")


def decode_path(raw: bytes) -> str:
    """Return the text of a path.

    Raises:
        HttpError: it is no absolute path in UTF-8, or has ``.``, ``..`` or NUL in it.
    """
    try:
        path = unquote_to_bytes(raw).decode("utf-8")
    except UnicodeDecodeError:
        raise HttpError(400, "the path is not UTF-8") from None
    if not path.startswith("/") or "\0" in path:
        raise HttpError(400, "the path is not absolute")
    if any(part in (".", "..") for part in path.split("/")):
        raise HttpError(400, "the path has '.' or '..' in it")
    return path


def split_version(path: str) -> tuple[Version, str]:
    """Return the version that a client wants, the newest if it does not say, and the rest.

    Raises:
        HttpError: it is too old or too new, in Docker's words.
    """
    found = _VERSIONED.fullmatch(path)
    if found is None:
        return NEWEST, path
    version = (int(found[1]), int(found[2]))
    if version < OLDEST:
        raise HttpError(
            400,
            f"client version {format_version(version)} is too old. Minimum supported API version "
            f"is {format_version(OLDEST)}, please upgrade your client to a newer version",
        )
    if version > NEWEST:
        raise HttpError(
            400,
            f"client version {format_version(version)} is too new. Maximum supported API version "
            f"is {format_version(NEWEST)}",
        )
    return version, found[3]


def format_version(version: Version) -> str:
    """Return ``1.51``."""
    return f"{version[0]}.{version[1]}"


def _to_pattern(template: str) -> str:
    parts, at = [], 0
    for found in _VARIABLE.finditer(template):
        parts.append(re.escape(template[at : found.start()]))
        parts.append(f"(?P<{found[1]}>{'.+' if found[2] else '[^/]+'})")
        at = found.end()
    return "".join(parts) + re.escape(template[at:])
