"""Columns as Docker's tables have them (Go's tabwriter with a width of 10 and a gap of 3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

_MIN_WIDTH: Final = 10
_GAP: Final = 3


def align(lines: Sequence[str]) -> str:
    """Return lines whose tab-separated cells begin at the same columns.

    Args:
        lines: the first is the header; the last cell of a line is not padded.
    """
    rows = [line.split("\t") for line in lines]
    columns = max((len(row) for row in rows), default=0)
    widths = [
        max(max(len(row[i]) for row in rows if len(row) > i + 1) + _GAP, _MIN_WIDTH)
        for i in range(columns - 1)
    ]
    return "".join(
        "".join(cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=False))
        + row[-1]
        + "\n"
        for row in rows
    )
