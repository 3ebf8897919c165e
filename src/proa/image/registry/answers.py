"""What a registry says when it says no: the error document, made into one of our errors.

OCI distribution spec 1.1, "Error Codes": ``{"errors": [{"code", "message", "detail"}]}``. The text
is the server's and goes to a terminal, so it is cut short and stripped of control characters.
"""

from __future__ import annotations

import msgspec

from proa.errors import (
    Conflict,
    Corrupt,
    Exhausted,
    Forbidden,
    Invalid,
    NotFound,
    ProaError,
    Unauthorized,
    Unavailable,
    Unsupported,
)
from proa.image.registry.transport import Answer, read_some

_ERROR_SIZE_LIMIT = 64 << 10
_WORDS_LIMIT = 200

_KINDS: dict[int, type[ProaError]] = {
    400: Invalid,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    405: Unsupported,
    409: Conflict,
    410: NotFound,
    413: Exhausted,
    416: Invalid,
    429: Unavailable,
    507: Exhausted,
}

_MEANINGS = {
    401: "authentication is required",
    403: "access is denied",
    404: "there is no such thing",
    429: "too many requests",
}
"""Said where the registry has no words of its own."""


class _Error(msgspec.Struct, frozen=True):
    code: str = ""
    message: str = ""


class _ErrorDocument(msgspec.Struct, frozen=True):
    errors: list[_Error] | None = None


def printable(text: str) -> str:
    """Return foreign text fit for one line of a terminal."""
    return "".join(c if c.isprintable() else " " for c in text)[:_WORDS_LIMIT].strip()


def read_limited(answer: Answer, limit_bytes: int, what: str) -> bytes:
    """Read a whole body that must not be larger than ``limit_bytes``; the answer is closed.

    Raises:
        Corrupt: it is larger; ``what`` names it.
        Unavailable: the connection broke.
    """
    try:
        pieces, length = [], 0
        while piece := read_some(answer, 256 << 10):
            length += len(piece)
            if length > limit_bytes:
                raise Corrupt(f"{what} is larger than {limit_bytes} bytes, which is refused")
            pieces.append(piece)
        return b"".join(pieces)
    finally:
        answer.close()


def error_of(answer: Answer, doing: str, registry: str) -> ProaError:
    """Make the error for an answer that is not a success; the answer is consumed.

    Args:
        answer: any answer of status 300 or more.
        doing: lower-case words with the object's name: ``cannot read the manifest of web:1``.
        registry: for the hint.
    """
    status = answer.status
    try:
        text = read_some(answer, _ERROR_SIZE_LIMIT)
        errors = msgspec.json.decode(text, type=_ErrorDocument).errors or []
    except (ProaError, ValueError):
        errors = []
    finally:
        answer.close()
    words = ""
    if errors:
        words = printable(errors[0].message or errors[0].code.replace("_", " ").lower()).lower()
    kind = _KINDS.get(status, Unavailable if status >= 500 else Invalid)
    hint = ""
    if status == 401:
        hint = f"log in: proa login {registry}"
    elif status == 403:
        hint = "this user may not do that there; check the repository's name and rights"
    elif status == 404:
        hint = "check the name and the tag; a private repository needs proa login first"
    elif status == 429:
        hint = "the registry limits requests: wait, or log in for a higher limit"
    said = words or _MEANINGS.get(status, "the registry gave no reason")
    return kind(f"{doing}: {said} (status {status})", hint)
