"""proa.units: what Docker's users write."""

from __future__ import annotations

import datetime
import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proa import units
from proa.errors import Invalid

EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("1024", 1024),
        ("1b", 1),
        ("512m", 512 << 20),
        ("512M", 512 << 20),
        ("1kb", 1 << 10),
        ("1KiB", 1 << 10),
        ("1.5g", 3 << 29),
        (".5k", 512),
        ("2t", 2 << 40),
        ("1p", 1 << 50),
        ("10 mb", 10 << 20),
        ("0.1k", 102),
        ("9223372036854775807", 2**63 - 1),
        ("1.00000000000000000000000001g", 1 << 30),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert units.parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    [
        "",
        "m",
        "-1",
        "-5m",
        "1x",
        "1mm",
        "1..5g",
        "0x10",
        "1e3",
        " 1",
        "1\n",
        "٣m",
        "1 \u212a",
        "nan",
    ],
)
def test_bad_sizes_name_the_value_and_the_flag(text: str) -> None:
    with pytest.raises(Invalid, match=r"invalid size .* for --memory") as caught:
        units.parse_size(text, "--memory")
    assert repr(text) in caught.value.message


@pytest.mark.parametrize("text", ["9223372036854775808", "8192p", "9" * 5000, "9" * 400 + "k"])
def test_sizes_beyond_64_bits_are_refused(text: str) -> None:
    with pytest.raises(Invalid, match="64 bits"):
        units.parse_size(text)


def test_minus_one_is_a_size_only_where_it_means_unlimited() -> None:
    assert units.parse_size("-1", unlimited=True) == -1
    with pytest.raises(Invalid):
        units.parse_size("-2", unlimited=True)


@given(st.integers(0, 2**63 - 1))
def test_every_number_of_bytes_is_a_size(size: int) -> None:
    assert units.parse_size(str(size)) == size


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("90", 90 * 10**9),
        ("0", 0),
        ("0.5", 500_000_000),
        ("1m30s", 90 * 10**9),
        ("1h", 3600 * 10**9),
        ("1.5h", 5400 * 10**9),
        ("100ms", 10**8),
        ("3us", 3000),
        ("3µs", 3000),
        ("7ns", 7),
        (".5s", 5 * 10**8),
        ("1h1m1s1ms", 3661_001_000_000),
    ],
)
def test_durations(text: str, ns: int) -> None:
    assert units.parse_duration_ns(text) == ns
    assert units.parse_duration_s(text) == ns / 1e9


@pytest.mark.parametrize(
    "text", ["", "s", "1x", "-1s", "1s2", "1m 30s", "ten", "1" * 30, "1" * 30 + "h"]
)
def test_bad_durations(text: str) -> None:
    with pytest.raises(Invalid, match=r"invalid duration .* for --interval"):
        units.parse_duration_ns(text, "--interval")


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("2026-11-05T10:30:00Z", 1793874600 * 10**9),
        ("2026-11-05T10:30:00.5Z", 1793874600_500_000_000),
        ("2026-11-05T10:30:00.123456789Z", 1793874600_123_456_789),
        ("2026-11-05T10:30:00.1234567891Z", 1793874600_123_456_789),
        ("2026-11-05T11:30:00+01:00", 1793874600 * 10**9),
        ("2026-11-05T05:30:00-0500", 1793874600 * 10**9),
        ("2026-11-05T10:30Z", 1793874600 * 10**9),
        ("2026-11-05Z", 1793836800 * 10**9),
        ("1793874600", 1793874600 * 10**9),
        ("1793874600.000000001", 1793874600_000_000_001),
        ("2024-02-29Z", 1709164800 * 10**9),
    ],
)
def test_timestamps(text: str, ns: int) -> None:
    assert units.parse_timestamp(text) == ns


def test_timestamps_without_a_zone_are_local(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setenv("TZ", "UTC-2")
    time.tzset()
    try:
        assert units.parse_timestamp("2026-11-05T12:30:00") == 1793874600 * 10**9
        assert units.parse_timestamp("2026-11-05") == (1793836800 - 7200) * 10**9
    finally:
        monkeypatch.undo()
        time.tzset()


def test_durations_count_back_from_now() -> None:
    assert units.parse_timestamp("1m30s", now_ns=100 * 10**9) == 10 * 10**9
    assert units.parse_timestamp("10h", now_ns=5) == 0


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2026-13-01",
        "2026-02-30",
        "2025-02-29",
        "2026-11-05T25:00:00Z",
        "-5",
        "10x",
    ],
)
def test_bad_timestamps(text: str) -> None:
    with pytest.raises(Invalid, match="for --since"):
        units.parse_timestamp(text, "--since")


@given(
    st.integers(0, 7_258_118_400_000_000).map(
        lambda us: EPOCH + datetime.timedelta(microseconds=us)
    )
)
def test_formatted_times_are_read_back(moment: datetime.datetime) -> None:
    delta = moment - EPOCH
    ns = (delta.days * 86400 + delta.seconds) * 10**9 + delta.microseconds * 1000 + 7
    text = units.format_rfc3339_ns(ns)
    assert text == moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{delta.microseconds:06d}007Z"
    assert units.parse_timestamp(text) == ns
    assert units.parse_rfc3339_ns(text) == ns
    assert units.parse_rfc3339_ns(text[:20] + "000000009Z") == ns - ns % 10**9 + 9
    assert units.parse_rfc3339_ns(text[:19] + "Z") == ns - ns % 10**9
    with pytest.raises(Invalid):
        units.parse_rfc3339_ns(text[:28] + "xZ")


@given(st.integers(0, 4 * 10**18), st.integers(0, 4 * 10**18))
def test_the_order_of_formatted_times_is_that_of_time(left: int, right: int) -> None:
    texts = units.format_rfc3339_ns(left), units.format_rfc3339_ns(right)
    assert (texts[0] < texts[1]) == (left < right)


@pytest.mark.parametrize("number", [n for n in range(1, 32) if n != 16])
def test_signals_agree_with_the_system(number: int) -> None:
    name = signal.Signals(number).name
    assert units.parse_signal(name) == number
    assert units.parse_signal(name.removeprefix("SIG").lower()) == number
    assert units.parse_signal(str(number)) == number
    assert units.format_signal(number) == name.replace("SIGPOLL", "SIGIO")


@pytest.mark.parametrize(
    ("text", "number"),
    [("RTMIN", 34), ("SIGRTMIN+3", 37), ("RTMAX-14", 50), ("rtmax", 64), ("CLD", 17), ("64", 64)],
)
def test_real_time_signals_and_aliases(text: str, number: int) -> None:
    assert units.parse_signal(text) == number


@pytest.mark.parametrize(
    "text", ["", "SIG", "0", "65", "-9", "FOO", "RTMIN+31", "RTMAX-31", "RTMIN-1", "9" * 5000, "٩"]
)
def test_bad_signals(text: str) -> None:
    with pytest.raises(Invalid, match="invalid signal"):
        units.parse_signal(text)


@pytest.mark.parametrize("number", range(34, 65))
def test_signal_names_are_read_back(number: int) -> None:
    assert units.parse_signal(units.format_signal(number)) == number


@pytest.mark.parametrize(
    ("text", "nano"),
    [("1.5", 1_500_000_000), ("0", 0), (".25", 250_000_000), ("2.", 2 * 10**9),
     ("0.000000001", 1), ("1.1000000000000", 1_100_000_000)],
)  # fmt: skip
def test_cpus(text: str, nano: int) -> None:
    assert units.parse_cpus(text) == nano


@pytest.mark.parametrize("text", ["", ".", "-1", "one", "1,5", "0.0000000001", "9" * 30, "1e2"])
def test_bad_cpus(text: str) -> None:
    with pytest.raises(Invalid, match="for --cpus"):
        units.parse_cpus(text)


@given(st.text(max_size=20))
def test_no_text_breaks_a_parser(text: str) -> None:
    for parser in (
        units.parse_size,
        units.parse_duration_ns,
        units.parse_timestamp,
        units.parse_signal,
        units.parse_cpus,
    ):
        try:
            assert isinstance(parser(text), int)
        except Invalid:
            pass
