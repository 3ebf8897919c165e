"""Failures as HTTP says them: one table from the kinds of :mod:`proa.errors` to a status."""

from __future__ import annotations

from typing import Final

from proa.errors import ProaError

STATUS_OF_KIND: Final[dict[str, int]] = {
    "not-found": 404,
    "conflict": 409,
    "invalid": 400,
    "forbidden": 403,
    "unauthorized": 401,
    "unavailable": 503,
    "unsupported": 501,
    "exhausted": 500,
    "timeout": 500,
    "corrupt": 500,
    "command-not-found": 400,
    "command-not-executable": 400,
    "internal": 500,
}
"""Docker's own mapping (moby, ``daemon/server/httpstatus``)."""


class HttpError(Exception):
    """An answer that is no success and comes from the server itself, not from the engine.

    Attributes:
        status: of the answer.
        message: for ``{"message": ...}``; empty for a status that has no body (304).
        close: the connection cannot be used any more.
    """

    def __init__(self, status: int, message: str = "", *, close: bool = False) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.close = close


class ClientGone(Exception):
    """The client hung up; nobody reads the answer."""


def bad_request(message: str) -> HttpError:
    """Return the refusal of a parameter or body that cannot be read."""
    return HttpError(400, message)


def status_of(error: ProaError) -> int:
    """Return the HTTP status of an engine's error."""
    return STATUS_OF_KIND.get(error.kind, 500)


def words_of(error: ProaError) -> str:
    """Return what an engine's error says, with the words that scripts look for as Docker has them.

    ``No such image: web`` is matched by many programs, letter for letter.
    """
    text = str(error)
    return f"N{text[1:]}" if text.startswith("no such ") else text
