"""Percentiles, spreads and slopes of samples.

Percentiles are by linear interpolation between closest ranks (Hyndman and Fan's type 7, what
spreadsheets and numpy give), so that a p99 of thirty samples is not simply the worst of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple


class Summary(NamedTuple):
    """What tables show of samples; NaN without any."""

    size: int
    minimum: float
    p50: float
    p95: float
    p99: float
    maximum: float


def summarize(samples: Sequence[float]) -> Summary:
    """Return count, extremes and percentiles."""
    if not samples:
        return Summary(0, *(math.nan,) * 5)
    ordered = sorted(samples)
    return Summary(
        len(ordered),
        ordered[0],
        percentile(ordered, 0.5),
        percentile(ordered, 0.95),
        percentile(ordered, 0.99),
        ordered[-1],
    )


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the value below which ``share`` (0 to 1) of ascending samples lie."""
    place = (len(ordered) - 1) * share
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


class Slope(NamedTuple):
    """A slope and its standard error; NaN where it cannot be known."""

    value: float
    error: float


def slope(points: Sequence[tuple[float, float]]) -> Slope:
    """Return the least-squares slope of y over x; NaN where x does not vary.

    A slope does not count what is there before the first instance, and what they share only once.
    Its error is known from three points on.
    """
    count = len(points)
    mean_x = sum(x for x, _ in points) / count if count else math.nan
    mean_y = sum(y for _, y in points) / count if count else math.nan
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    if not spread:
        return Slope(math.nan, math.nan)
    value = sum((x - mean_x) * (y - mean_y) for x, y in points) / spread
    if count < 3:
        return Slope(value, math.nan)
    residual = sum((y - mean_y - value * (x - mean_x)) ** 2 for x, y in points)
    return Slope(value, math.sqrt(residual / (count - 2) / spread))
