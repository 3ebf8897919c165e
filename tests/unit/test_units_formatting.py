"""proa.units: what Docker's users read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proa import units


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0B"),
        (999, "999B"),
        (1000, "1kB"),
        (1236, "1.24kB"),
        (75_123_456, "75.1MB"),
        (116_500_000, "116MB"),
        (999_999, "1MB"),
        (123_456_789_012, "123GB"),
        (5 * 10**18, "5EB"),
    ],
)
def test_decimal_sizes(size: int, text: str) -> None:
    assert units.format_size(size) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0B"), (1023, "1023B"), (1024, "1KiB"), (7_926_000, "7.559MiB"), (3 << 29, "1.5GiB")],
)
def test_binary_sizes(size: int, text: str) -> None:
    assert units.format_size_binary(size) == text


@given(st.integers(0, 2**63 - 1))
def test_sizes_never_show_an_exponent_or_a_thousand(size: int) -> None:
    text = units.format_size(size)
    assert "e+" not in text
    assert float(text.rstrip("kMGTPEB")) < 1000
    assert float(units.format_size_binary(size).rstrip("KMGTPEiB")) < 1024


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3, "Less than a second"),
        (0.9, "Less than a second"),
        (1, "1 second"),
        (59.9, "59 seconds"),
        (60, "About a minute"),
        (120, "2 minutes"),
        (59 * 60 + 59, "59 minutes"),
        (3600, "About an hour"),
        (1.6 * 3600, "2 hours"),
        (47 * 3600, "47 hours"),
        (48 * 3600, "2 days"),
        (3 * 86400, "3 days"),
        (14 * 86400, "2 weeks"),
        (59 * 86400, "8 weeks"),
        (60 * 86400, "2 months"),
        (729 * 86400, "24 months"),
        (730 * 86400, "2 years"),
    ],
)
def test_durations_in_dockers_words(seconds: float, text: str) -> None:
    assert units.format_duration_human(seconds) == text
