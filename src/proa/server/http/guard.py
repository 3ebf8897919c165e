"""Requests that are refused before anybody looks at what they want.

Host and Origin keep web pages out: a page can make a browser send requests to an address that its
own name resolves to (DNS rebinding), but not choose the Host that goes with them. Clients of the
engine name it by words without a dot (``docker``, ``localhost``), by ``*.localhost``, by the path
of the socket, or by address.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

from proa.server.errors import HttpError
from proa.server.http import limits

_BARE_LINE_FEED = re.compile(rb"(?<!\r)\n")
_REQUEST_LINE = re.compile(rb"[!-~]+ [!-~]+ HTTP/1\.[01]\r\n")
_LENGTH = re.compile(rb"\r\ncontent-length[ \t]*:([^\r]*)", re.IGNORECASE)
_WORD = re.compile(r"[A-Za-z0-9_%-]*")
_HTTP_TOKEN_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"))


def check_head(head: bytes) -> None:
    """Refuse a head whose lines two parsers could read differently.

    This looks at the bytes themselves: h11 makes one header of several equal lengths.

    Raises:
        HttpError: 400, or 431 for one that is too large.
    """
    if len(head) > limits.HEAD_BYTES:
        raise HttpError(431, "the head of the request is too large", close=True)
    if _BARE_LINE_FEED.search(head):
        raise HttpError(400, "a line of the head does not end with CR LF", close=True)
    if not _REQUEST_LINE.match(head):
        raise HttpError(400, "the first line is no request of HTTP/1.1", close=True)
    lengths = _LENGTH.findall(head)
    if len(lengths) > 1 or not all(value.strip(b" \t").isdigit() for value in lengths):
        raise HttpError(400, "content-length is not one number", close=True)


def check_request(
    method: str, headers: Iterable[tuple[bytes, bytes]], local_names: frozenset[str]
) -> None:
    """Refuse ambiguous framing, unknown methods, and requests that a web page made.

    Args:
        method: of the request.
        headers: lower-case names.
        local_names: further names of this server.

    Raises:
        HttpError: 400, 403 or 405.
    """
    if method not in _HTTP_TOKEN_METHODS:
        raise HttpError(405, f"method {method} is not allowed", close=True)
    seen: dict[bytes, bytes] = {}
    for name, value in headers:
        if name in (b"content-length", b"transfer-encoding", b"host", b"origin") and name in seen:
            raise HttpError(400, f"several {name.decode()} headers", close=True)
        seen[name] = value
    if b"content-length" in seen and b"transfer-encoding" in seen:
        raise HttpError(400, "both content-length and transfer-encoding", close=True)
    check_origin(
        {name.decode("latin-1"): value.decode("latin-1") for name, value in seen.items()},
        local_names,
    )


def check_origin(headers: Mapping[str, str], local_names: frozenset[str]) -> None:
    """Refuse a foreign Host or Origin.

    Raises:
        HttpError: 403.
    """
    host = headers.get("host", "")
    if not is_local(host, local_names):
        raise HttpError(403, f"the host '{host}' is not this server", close=True)
    origin = headers.get("origin")
    if origin is not None and not _is_local_origin(origin, local_names):
        raise HttpError(403, f"the origin '{origin}' may not use this server", close=True)
    if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        raise HttpError(403, "a web page of another site may not use this server", close=True)


def is_local(host: str, local_names: frozenset[str]) -> bool:
    """Whether a Host header can only mean this server.

    Args:
        host: with or without a port.
        local_names: further names, lower case.
    """
    name = _without_port(host).lower().rstrip(".")
    if _WORD.fullmatch(name) or name.endswith(".localhost") or name in local_names:
        return True
    if "%2f" in name:
        # The socket's path, percent-encoded, as several clients write it.
        return True
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def _is_local_origin(origin: str, local_names: frozenset[str]) -> bool:
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    name = parts.hostname or ""
    if parts.scheme not in ("http", "https", "ws", "wss") or not name:
        return False
    if name in local_names or name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.rpartition(":")[0] if host.count(":") == 1 else host
