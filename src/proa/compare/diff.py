"""Two reports side by side: what changed between machines, kernels or versions."""

from __future__ import annotations

import math
from typing import NamedTuple

from proa.compare.model import Report, Row
from proa.compare.statistics import summarize


class Change(NamedTuple):
    """One row of one target in two reports.

    Attributes:
        before, after: medians in the row's unit.
        apart: whether the middle halves of the samples do not touch: more than noise.
    """

    row: Row
    target: str
    before: float
    after: float
    apart: bool

    @property
    def ratio(self) -> float:
        """After over before."""
        return self.after / self.before if self.before else math.nan


def compare_reports(before: Report, after: Report) -> list[Change]:
    """Return the rows that both have, in the order of the second."""
    changes = []
    for row in after.rows:
        for target in after.targets:
            old, new = before.find(row.key, target), after.find(row.key, target)
            if old is None or new is None or not old.samples or not new.samples:
                continue
            changes.append(
                Change(
                    row,
                    target,
                    summarize(old.samples).p50,
                    summarize(new.samples).p50,
                    _are_apart(old.samples, new.samples),
                )
            )
    return changes


def _are_apart(first: list[float], second: list[float]) -> bool:
    from proa.compare.statistics import percentile

    one, other = sorted(first), sorted(second)
    return percentile(one, 0.75) < percentile(other, 0.25) or percentile(other, 0.75) < percentile(
        one, 0.25
    )
