"""Sizes, durations, points in time, signals and CPU counts as Docker's users write and read them.

Parsers raise :class:`proa.errors.Invalid` that names the value and the flag it came from, if given.
Sizes that are parsed are binary (``1k`` is 1024 bytes, as ``docker run --memory``); sizes that are
shown are decimal (``75.1MB``) or, where Docker does so, binary (``7.5MiB``).
"""

from __future__ import annotations

import re
import time
from typing import Final

from proa.errors import Invalid

NS_PER_S: Final = 1_000_000_000
_INT64_MAX: Final = 2**63 - 1

_SIZE = re.compile(r"(\d+(?:\.\d+)?|\.\d+) ?([kmgtp]?)(?:i?b)?", re.IGNORECASE | re.ASCII)
_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
_NUMBER = re.compile(r"(\d+)(?:\.(\d+))?", re.ASCII)
_DATE = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)"
    r"(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d+))?)?)?"
    r"(Z|[+-]\d\d:?\d\d)?",
    re.IGNORECASE | re.ASCII,
)
_DURATION_UNIT_NS: Final = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "μs": 1_000,
    "ms": 1_000_000,
    "s": NS_PER_S,
    "m": 60 * NS_PER_S,
    "h": 3600 * NS_PER_S,
}

# signal(7), x86 and ARM numbering; position is number - 1.
_SIGNALS = (
    "HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP "
    "TSTP TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS"
)
_SIGNAL_ALIASES: Final = {"IOT": 6, "CLD": 17, "POLL": 29, "UNUSED": 31}
_RTMIN: Final = 34
_RTMAX: Final = 64


def parse_size(text: str, flag: str = "", *, unlimited: bool = False) -> int:
    """Return bytes: ``1024``, ``512m``, ``1.5g``, ``64KiB``; units b, k, m, g, t, p, binary.

    Args:
        flag: where the value came from, for the message: ``--memory``.
        unlimited: accept ``-1`` and return it.

    Raises:
        Invalid: not a size, negative, or beyond 2**63 - 1.
    """
    if unlimited and text == "-1":
        return -1
    match = _SIZE.fullmatch(text)
    if match is None:
        raise _invalid("size", text, flag, "give a number with a unit b, k, m, g or t, like 512m")
    exponent = " kmgtp".index(match[2].lower() or " ")
    whole, _, fraction = match[1].partition(".")
    size_bytes = _scale(whole, fraction, 1024**exponent)
    if size_bytes > _INT64_MAX:
        raise _invalid("size", text, flag, "it does not fit 64 bits")
    return size_bytes


def format_size(size_bytes: float, digits: int = 3) -> str:
    """Return a decimal size with at most ``digits`` digits: ``0B``, ``1.24kB``, ``75.1MB``."""
    return _format_scaled(size_bytes, 1000, ("B", "kB", "MB", "GB", "TB", "PB", "EB"), digits)


def format_size_binary(size_bytes: float, digits: int = 4) -> str:
    """Return a binary size with at most ``digits`` digits: ``7.559MiB``."""
    return _format_scaled(size_bytes, 1024, ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"), digits)


def parse_duration_ns(text: str, flag: str = "") -> int:
    """Return nanoseconds: a Go duration (``1m30s``, ``1.5h``, ``100ms``) or plain seconds.

    Raises:
        Invalid: neither of them, negative, or beyond 292 years.
    """
    number = _NUMBER.fullmatch(text)
    if number:
        total_ns = _scale(number[1], number[2] or "", NS_PER_S)
    else:
        total_ns, position = 0, 0
        while match := _DURATION.match(text, position):
            whole, _, fraction = match[1].partition(".")
            total_ns += _scale(whole, fraction, _DURATION_UNIT_NS[match[2]])
            position = match.end()
        if position == 0 or position != len(text):
            raise _invalid("duration", text, flag, "write it like 90s, 1m30s or 1h")
    if total_ns > _INT64_MAX:
        raise _invalid("duration", text, flag, "it is too long")
    return total_ns


def parse_duration_s(text: str, flag: str = "") -> float:
    """Return seconds; see :func:`parse_duration_ns`."""
    return parse_duration_ns(text, flag) / NS_PER_S


def format_duration_human(seconds: float) -> str:
    """Return a rough duration in Docker's words: ``About a minute``, ``3 days``."""
    whole = int(seconds)
    if whole < 60:
        return _short_duration(whole)
    minutes = whole // 60
    if minutes < 60:
        return "About a minute" if minutes == 1 else f"{minutes} minutes"
    hours = int(seconds / 3600 + 0.5)
    if hours < 48:
        return "About an hour" if hours == 1 else f"{hours} hours"
    for limit_days, unit_days, unit in ((14, 1, "days"), (60, 7, "weeks"), (730, 30, "months")):
        if hours < limit_days * 24:
            return f"{hours // 24 // unit_days} {unit}"
    return f"{int(seconds / 3600) // 24 // 365} years"


def parse_timestamp(text: str, flag: str = "", *, now_ns: int | None = None) -> int:
    """Return nanoseconds since the epoch, for ``--since`` and ``--until``.

    Args:
        text: RFC 3339 or its beginnings (``2026-11-05``, ``2026-11-05T10:30``; local time without
            a zone), Unix seconds with a fraction (``1762338600.5``), or a Go duration before now
            (``10m``).
        flag: where the value came from, for the message.
        now_ns: the time that durations count from; None for now.

    Raises:
        Invalid: none of these.
    """
    number = _NUMBER.fullmatch(text)
    if number:
        return _scale(number[1], number[2] or "", NS_PER_S)
    date = _DATE.fullmatch(text)
    if date:
        return _parse_date(date, text, flag)
    if _DURATION.match(text):
        now = time.time_ns() if now_ns is None else now_ns
        return max(now - parse_duration_ns(text, flag), 0)
    raise _invalid("time", text, flag, "write it like 2026-11-05T10:30:00Z, 1762338600 or 10m")


_second_text: tuple[int, str] = (-1, "")


def format_rfc3339_ns(time_ns: int) -> str:
    """Return UTC with nine digits, ``2026-11-05T10:30:00.000000000Z``: text order is time order."""
    global _second_text
    second, fraction = divmod(time_ns, NS_PER_S)
    known, text = _second_text
    if known != second:
        text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        _second_text = (second, text)
    return f"{text}.{fraction:09d}Z"


_second_value: tuple[str, int] = ("", 0)


def parse_rfc3339_ns(text: str) -> int:
    """Return nanoseconds of what :func:`format_rfc3339_ns` wrote (or any RFC 3339 with a zone).

    Many times in a row are mostly of one second: then this costs a fraction of a microsecond.

    Raises:
        Invalid: not such a time.
    """
    global _second_value
    known, second_ns = _second_value
    if text[:19] == known and len(text) == 30 and text[29] == "Z" and text[20:29].isdecimal():
        return second_ns + int(text[20:29])
    time_ns = parse_timestamp(text)
    if text[29:] == "Z":
        _second_value = (text[:19], time_ns - time_ns % NS_PER_S)
    return time_ns


def parse_signal(text: str, flag: str = "") -> int:
    """Return a signal's number: ``9``, ``KILL``, ``SIGKILL``, ``RTMIN+3``, any case.

    Raises:
        Invalid: Linux has no such signal.
    """
    name = text.upper().removeprefix("SIG")
    number = _signal_number(name)
    if not 1 <= number <= _RTMAX:
        raise _invalid("signal", text, flag, "give a name like TERM or a number from 1 to 64")
    return number


def format_signal(number: int) -> str:
    """Return a signal's name (``SIGTERM``, ``SIGRTMIN+3``), or its number if it has none."""
    names = _SIGNALS.split()
    if 1 <= number <= len(names):
        return "SIG" + names[number - 1]
    if _RTMIN <= number <= _RTMAX:
        return f"SIGRTMIN+{number - _RTMIN}" if number > _RTMIN else "SIGRTMIN"
    return str(number)


def parse_cpus(text: str, flag: str = "--cpus") -> int:
    """Return billionths of a CPU: ``1.5`` is 1500000000.

    Raises:
        Invalid: not a number, negative, or finer than a billionth.
    """
    match = re.fullmatch(r"(\d*)(?:\.(\d*))?", text, re.ASCII)
    if match is None or not (match[1] or match[2]):
        raise _invalid("number of CPUs", text, flag, "give a number like 1.5")
    fraction = (match[2] or "").rstrip("0")
    if len(fraction) > 9:
        raise _invalid("number of CPUs", text, flag, "at most nine decimals count")
    nano_cpus = _scale(match[1] or "0", fraction, NS_PER_S)
    if nano_cpus > _INT64_MAX:
        raise _invalid("number of CPUs", text, flag, "it does not fit 64 bits")
    return nano_cpus


def _invalid(what: str, text: str, flag: str, hint: str) -> Invalid:
    return Invalid(f"invalid {what} {text[:80]!r}" + (f" for {flag}" if flag else ""), hint)


def _scale(whole: str, fraction: str, factor: int) -> int:
    """Return ``whole.fraction * factor`` rounded down, exactly (a float has only 53 bits)."""
    # More digits than any 64-bit value has are out of range or dust; int() of many is slow.
    whole, fraction = whole.lstrip("0")[:25], fraction[:25]
    return int((whole + fraction) or "0") * factor // int(10 ** len(fraction))


def _format_scaled(value: float, base: int, units: tuple[str, ...], digits: int) -> str:
    index = 0
    while index + 1 < len(units) and (
        value >= base or float(f"{value:.{max(digits, 4 if base == 1024 else 3)}g}") >= base
    ):
        value /= base
        index += 1
    # "%.3g" would show 1023 as 1.02e+03.
    return f"{value:.{max(digits, len(str(int(value))))}g}{units[index]}"


def _short_duration(seconds: int) -> str:
    if seconds < 1:
        return "Less than a second"
    return "1 second" if seconds == 1 else f"{seconds} seconds"


def _parse_date(match: re.Match[str], text: str, flag: str) -> int:
    year, month, day = int(match[1]), int(match[2]), int(match[3])
    hour, minute, second = (int(match[i] or 0) for i in (4, 5, 6))
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    month_days = (31, 29 if leap else 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
    if not (1 <= month <= 12 and 1 <= day <= month_days[month - 1]) or not (
        hour < 24 and minute < 60 and second < 61
    ):
        raise _invalid("time", text, flag, "there is no such day or hour")
    zone = match[8]
    if zone is None:
        try:
            epoch_s = int(time.mktime((year, month, day, hour, minute, second, 0, 0, -1)))
        except OverflowError:
            raise _invalid("time", text, flag, "the year is out of range") from None
    else:
        days = _days_before(year, month) + day - 1
        epoch_s = days * 86400 + hour * 3600 + minute * 60 + second - _zone_offset_s(zone)
    return epoch_s * NS_PER_S + int(f"{match[7] or '0':0<9.9}")


def _days_before(year: int, month: int) -> int:
    """Return days from 1970-01-01 to the first of a month (proleptic Gregorian)."""
    # Years begin in March here, so that the leap day is a year's last.
    if month < 3:
        year, month = year - 1, month + 12
    return (
        365 * year + year // 4 - year // 100 + year // 400 + (153 * month - 457) // 5 - 719469 + 1
    )


def _zone_offset_s(zone: str) -> int:
    if zone in ("Z", "z"):
        return 0
    offset_s = int(zone[1:3]) * 3600 + int(zone[-2:]) * 60
    return -offset_s if zone[0] == "-" else offset_s


def _signal_number(name: str) -> int:
    if name.isdecimal() and name.isascii():
        return int(name[:3])
    if name in _SIGNAL_ALIASES:
        return _SIGNAL_ALIASES[name]
    names = _SIGNALS.split()
    if name in names:
        return names.index(name) + 1
    match = re.fullmatch(r"RTMIN(?:\+(\d{1,2}))?|RTMAX(?:-(\d{1,2}))?", name, re.ASCII)
    if match is None:
        return 0
    number = _RTMIN + int(match[1] or 0) if "MIN" in name else _RTMAX - int(match[2] or 0)
    return number if number >= _RTMIN else 0
