"""Moments and durations in the parameters of requests."""

from __future__ import annotations

import re
from typing import Final

from proa.errors import Invalid
from proa.server.call import Query
from proa.server.errors import bad_request
from proa.units import NS_PER_S, parse_rfc3339_ns

_UNIX: Final = re.compile(r"(-?[0-9]{1,12})(?:\.([0-9]{1,9})[0-9]*)?")


def parse_moment(query: Query, name: str) -> int:
    """Return nanoseconds since the epoch; 0 when the parameter is not there.

    Args:
        query: of the request.
        name: of a parameter: seconds since the epoch with a fraction, or RFC 3339.

    Raises:
        HttpError: 400, neither of them.
    """
    text = query.text(name)
    if not text:
        return 0
    found = _UNIX.fullmatch(text)
    if found is not None:
        fraction = (found[2] or "").ljust(9, "0")
        return max(int(found[1]) * NS_PER_S + int(fraction), 0)
    try:
        return parse_rfc3339_ns(text)
    except (Invalid, ValueError):
        raise bad_request(f"invalid value for {name}: '{text}' is no time") from None


def parse_timeout(query: Query) -> float | None:
    """Return ``t``, seconds before SIGKILL; None: the container's own; negative: for ever."""
    return float(query.integer("t")) if query.text("t") else None


def parse_tail(query: Query) -> int:
    """Return ``tail``: how many lines from the end; -1: all.

    Docker takes what is no number for "all".
    """
    text = query.text("tail", "all")
    return int(text) if text.isascii() and text.isdigit() else -1
