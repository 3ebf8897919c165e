"""Percentiles and slopes, against values worked out by hand and against the standard library."""

from __future__ import annotations

import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proa.compare.statistics import percentile, slope, summarize

SAMPLES = st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=60)


def test_summary_of_one_to_five() -> None:
    summary = summarize([5.0, 1.0, 4.0, 2.0, 3.0])
    assert list(summary) == pytest.approx([5, 1.0, 3.0, 4.8, 4.96, 5.0])


def test_one_sample_is_all_its_percentiles() -> None:
    assert summarize([7.0]) == (1, 7.0, 7.0, 7.0, 7.0, 7.0)


def test_nothing_is_not_a_number() -> None:
    summary = summarize([])
    assert summary.size == 0
    assert all(math.isnan(value) for value in summary[1:])


@given(SAMPLES)
def test_percentiles_are_those_of_the_standard_library(samples: list[float]) -> None:
    """``statistics.quantiles(method="inclusive")`` is type 7 too."""
    ordered = sorted(samples)
    cuts = statistics.quantiles(ordered, n=100, method="inclusive")
    for share in (50, 95, 99):
        assert percentile(ordered, share / 100) == pytest.approx(cuts[share - 1], abs=1e-6)


def test_slope_of_a_line_has_no_error() -> None:
    found = slope([(0.0, 5.0), (1.0, 7.0), (2.0, 9.0), (5.0, 15.0)])
    assert list(found) == pytest.approx([2.0, 0.0], abs=1e-9)


def test_slope_leaves_out_what_is_there_once() -> None:
    """The first instance's step is a constant, unless there is no point without instances."""
    assert slope([(1.0, 108.0), (2.0, 116.0), (3.0, 124.0)]).value == pytest.approx(8.0)


def test_error_of_a_scattered_slope() -> None:
    """By hand: residuals 1/6, -1/3, 1/6; sqrt(1/6 / 1 / 2)."""
    found = slope([(0.0, 0.0), (1.0, 0.0), (2.0, 1.0)])
    assert list(found) == pytest.approx([0.5, math.sqrt(1 / 12)])


def test_slopes_that_cannot_be_known() -> None:
    assert math.isnan(slope([]).value)
    assert math.isnan(slope([(1.0, 2.0), (1.0, 3.0)]).value)
    two = slope([(0.0, 1.0), (1.0, 3.0)])
    assert two.value == pytest.approx(2.0)
    assert math.isnan(two.error)
