"""What every workload offers, and the sample that it takes."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple, Protocol

from proa.compare.model import Row
from proa.compare.targets.base import Target


class Sample(NamedTuple):
    """One figure of a row, and those of its phases."""

    row: str
    value: float
    parts: Mapping[str, float] = MappingProxyType({})


class Workload(Protocol):
    """Something that is done on each target in turn.

    Attributes:
        name: for the progress line.
        rows: what one turn gives a sample of.
    """

    name: str
    rows: tuple[Row, ...]

    def repeats(self, *, quick: bool) -> int:
        """How many turns each target takes."""

    def seconds(self, target: Target) -> float:
        """Estimate of one turn, for the time that is left."""

    def instances(self, target: Target) -> int:
        """How many instances there are at once at most, for the memory that is announced."""

    def measure(self, target: Target) -> list[Sample]:
        """Take one sample of each row.

        Raises:
            CompareError: something else than what is expected happened; nothing is left.
        """
