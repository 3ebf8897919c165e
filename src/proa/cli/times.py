"""Points in time as Docker's tables show them."""

from __future__ import annotations

import time

from proa import units


def since(then_ns: int, now_ns: int) -> str:
    """``3 minutes ago``; ``N/A`` when it never was.

    Args:
        then_ns, now_ns: nanoseconds since the epoch.
    """
    if then_ns <= 0:
        return "N/A"
    return f"{units.format_duration_human(max(now_ns - then_ns, 0) / units.NS_PER_S)} ago"


def created_at(then_ns: int) -> str:
    """``2026-11-24 08:06:00 +0000 UTC``, in the time zone of the process."""
    if then_ns <= 0:
        return "N/A"
    return time.strftime("%Y-%m-%d %H:%M:%S %z %Z", time.localtime(then_ns // units.NS_PER_S))
