"""SVG charts without a library: bars with ranges and every sample, stacked phases.

Colours come from the page's style sheet (``--t0`` to ``--t5``), so one drawing serves light and
dark. Each chart is drawn twice, for wide and for narrow screens; the style sheet shows one. Text is
escaped; nothing in a report can become markup.
"""

from __future__ import annotations

import math
from html import escape
from typing import NamedTuple

from proa.compare.model import Report, Row
from proa.compare.report.tables import format_figure, noise_of
from proa.compare.statistics import Summary, summarize

_BAR = 22
_DOTS = 60
"""Most samples that are drawn of one series."""

_DECADES_APART = 40
"""How many times the least median the largest is where bars are logarithmic."""

_COLOURS = {"host": 0, "process": 1, "vm": 2, "docker": 3, "podman": 4}
_OTHER_COLOUR = 5


class Layout(NamedTuple):
    """Where things are, in the drawing's units: pixels at the width that it is made for.

    Attributes:
        label: room left of the bars for names; 0: names stand above their bars.
        value: room right of the bars for figures.
    """

    name: str
    width: int
    label: int
    value: int

    @property
    def room(self) -> int:
        """Length of the longest bar."""
        return self.width - self.label - self.value

    @property
    def head(self) -> int:
        """Height of what is above a bar."""
        return 0 if self.label else 20

    def write_name(self, y: float, title: str) -> str:
        """The name of the bar whose place begins at ``y``."""
        if self.label:
            return _text("n", self.label - 12, y + _BAR / 2 + 5, title)
        return _text("a", 0, y + 14, title)


WIDE = Layout("wide", 760, 160, 130)
NARROW = Layout("narrow", 330, 0, 92)


class _Drawn(NamedTuple):
    colour: str
    title: str
    samples: list[float]
    summary: Summary
    noise: float


def bars(report: Report, row: Row, layout: Layout = WIDE) -> str:
    """Median bars, a line from minimum to p95, and each sample as a dot; empty without samples."""
    found = _find(report, row)
    if not found:
        return ""
    missing = [
        f"{title}: {series.absent}"
        for name, title in report.targets.items()
        if (series := report.find(row.key, name)) is not None and series.absent
    ]
    figures = [one.summary for one in found if not one.noise]
    top = max((summary.p95 for summary in figures), default=1.0)
    scale = _Scale([summary.p50 for summary in figures], max(top, 1e-9), layout.room)
    parts, y = [], 0.0
    for one in found:
        parts.append(layout.write_name(y, one.title))
        y += layout.head
        parts.append(_bar(row, one, scale, layout, y))
        y += _BAR + 12
    for words in missing:
        parts.append(_text("v", layout.label, y + 12, words))
        y += 28
    return _svg(layout, y - 12, parts, f"{row.title}: medians by target")


def _find(report: Report, row: Row) -> list[_Drawn]:
    found = []
    for name, title in report.targets.items():
        series = report.find(row.key, name)
        if series is not None and series.samples:
            summary, noise = summarize(series.samples), noise_of(series)
            found.append(_Drawn(colour_of(name), title, series.samples, summary, noise))
    return found


def _bar(row: Row, one: _Drawn, scale: _Scale, layout: Layout, y: float) -> str:
    left, middle = layout.label, y + _BAR / 2
    if one.noise:
        words = f"within noise (± {format_figure(one.noise)} {unit_of(row)})"
        return _text("v", left, middle + 5, words)
    width = max(scale(one.summary.p50), 2.0)
    low, high = scale(one.summary.minimum), scale(one.summary.p95)
    parts = [
        (
            f'<rect x="{left}" y="{y:.0f}" width="{width:.1f}" height="{_BAR}" rx="3"'
            f' fill="{one.colour}"/>'
        )
    ]
    if len(one.samples) > 1:
        parts.append(f'<path class="r" d="M{left + low:.1f} {middle}H{left + high:.1f}"/>')
        step = max(1, -(-len(one.samples) // _DOTS))
        for place, sample in enumerate(one.samples[::step]):
            aside = (place * 7919 % 13 - 6) / 13 * (_BAR - 8)
            x = left + scale(sample)
            parts.append(f'<circle class="d" cx="{x:.1f}" cy="{middle + aside:.1f}" r="2"/>')
    figure = f"{format_figure(one.summary.p50)} {unit_of(row)}"
    parts.append(_text("f", left + max(width, high) + 8, middle + 5, figure))
    return "".join(parts)


def phases(report: Report, row: Row, layout: Layout = WIDE) -> str:
    """One stacked bar of median phases for each target; empty without samples.

    Each bar is stretched to the whole width: it shows what a start consists of, the bars above show
    how long it is.
    """
    parts, y = [], 0.0
    for name, title in report.targets.items():
        series = report.find(row.key, name)
        if series is None or not series.parts:
            continue
        medians = [summarize(series.parts.get(phase, [])).p50 for phase in row.phases]
        known = [0.0 if math.isnan(value) else value for value in medians]
        total = sum(known)
        if total <= 0:
            continue
        parts.append(layout.write_name(y, title))
        y += layout.head
        x, room = float(layout.label), layout.width - layout.label
        for number, (phase, value) in enumerate(zip(row.phases, known, strict=True)):
            width = value / total * room
            parts.append(
                f'<rect x="{x:.1f}" y="{y:.0f}" width="{width:.1f}" height="{_BAR}"'
                f' fill="var(--p{number % 4})"><title>{escape(phase)}: {format_figure(value)}'
                f" {escape(unit_of(row))}</title></rect>"
            )
            x += width
        words = " + ".join(format_figure(value) for value in known)
        parts.append(_text("v", layout.label, y + _BAR + 16, f"{words} {unit_of(row)}"))
        y += _BAR + 30
    if not parts:
        return ""
    legend = _legend(row, layout, y)
    height = y + (20 if layout.label else 20 * len(row.phases))
    return _svg(layout, height, [*parts, *legend], f"{row.title}: phases")


def _legend(row: Row, layout: Layout, y: float) -> list[str]:
    """Colours of phases: in a line, or below each other where there is no room for a line."""
    parts, x = [], float(layout.label)
    for number, phase in enumerate(row.phases):
        parts.append(
            f'<rect x="{x:.0f}" y="{y + 4:.0f}" width="12" height="12" rx="2"'
            f' fill="var(--p{number % 4})"/>{_text("v", x + 18, y + 15, phase)}'
        )
        if layout.label:
            x += 44 + 7.5 * len(phase)
        else:
            y += 20
    return parts


class _Scale:
    """Length of a figure on the axis; logarithmic where the targets are decades apart."""

    def __init__(self, medians: list[float], top: float, room: int) -> None:
        positive = [value for value in medians if value > 0]
        self._low, self._top, self._room = min(positive, default=1.0) / 3, top, room
        self._logarithmic = _are_decades_apart(medians)

    def __call__(self, value: float) -> float:
        value = min(max(value, 0.0), self._top)
        if not self._logarithmic:
            return value / self._top * self._room
        if value <= self._low:
            return 0.0
        return math.log(value / self._low) / math.log(self._top / self._low) * self._room


def is_logarithmic(report: Report, row: Row) -> bool:
    """Whether a row's chart is."""
    return _are_decades_apart([one.summary.p50 for one in _find(report, row) if not one.noise])


def _are_decades_apart(medians: list[float]) -> bool:
    positive = [value for value in medians if value > 0]
    return len(positive) > 1 and max(positive) / min(positive) > _DECADES_APART


def colour_of(target: str) -> str:
    """A target has the same colour in every report."""
    return f"var(--t{_COLOURS.get(target, _OTHER_COLOUR)})"


def unit_of(row: Row) -> str:
    """A row's unit as people write it."""
    return {"us": "µs", "1/s": "/s", "count": ""}.get(row.unit, row.unit)


def _text(kind: str, x: float, y: float, words: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{escape(words)}</text>'


def _svg(layout: Layout, height: float, parts: list[str], label: str) -> str:
    return (
        f'<svg class="{layout.name}" viewBox="0 0 {layout.width} {height:.0f}" role="img"'
        f' aria-label="{escape(label)}">{"".join(parts)}</svg>'
    )
