"""When to ask again, and how long to wait before: bounded, and as the server asks.

RFC 9110 section 10.2.3 (``Retry-After``: seconds or a date) and section 15.5.1 onwards for which
answers may change by waiting.
"""

from __future__ import annotations

import random
import time
from email.utils import parsedate_to_datetime

ATTEMPTS = 6
# Longer than this nobody watches a terminal: the caller is told instead.
LONGEST_WAIT_S = 60.0
_FIRST_WAIT_S = 0.25
_LARGEST_BACKOFF_S = 8.0

_TRANSIENT = frozenset({408, 429, 500, 502, 503, 504})


def is_transient(status: int) -> bool:
    """Tell whether the same request may succeed later."""
    return status in _TRANSIENT


def backoff_s(attempt: int) -> float:
    """Return the wait before attempt ``attempt + 1`` (from 0): doubling, with half of it random.

    Randomness keeps clients that were cut at once from coming back at once.
    """
    ceiling: float = min(_LARGEST_BACKOFF_S, _FIRST_WAIT_S * 2**attempt)
    return ceiling * (0.5 + random.random() / 2)  # noqa: S311 (spreads load, guards nothing)


def parse_retry_after(value: str | None, now_s: float | None = None) -> float | None:
    """Return the seconds that a ``Retry-After`` asks for, or None where there is none to obey.

    Args:
        value: the header.
        now_s: seconds since the epoch, for dates; None for the clock.
    """
    if not value:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit() and len(value) < 10:
        return float(value)
    try:
        then_s = parsedate_to_datetime(value).timestamp()
    except (ValueError, OverflowError):
        return None
    return max(0.0, then_s - (time.time() if now_s is None else now_s))
