"""SVG charts without a library: bars with ranges and every sample, stacked phases.

Colours come from the page's style sheet (``--t0`` to ``--t5``), so one drawing serves light and
dark. Text is escaped; nothing in a report can become markup.
"""

from __future__ import annotations

import math
from html import escape

from proa.compare.model import Report, Row
from proa.compare.report.tables import format_figure
from proa.compare.statistics import summarize

_WIDTH = 720
_LABEL = 150
_VALUE = 110
_BAR = 26
_GAP = 12
_DOTS = 60
"""Most samples that are drawn of one series."""


def bars(report: Report, row: Row) -> str:
    """Median bars, a line from minimum to p95, and each sample as a dot; empty without samples."""
    found = []
    for number, (name, title) in enumerate(report.targets.items()):
        series = report.find(row.key, name)
        if series is not None and series.samples:
            found.append((number, title, series.samples, summarize(series.samples)))
    top = max((summary.p95 for *_, summary in found), default=0.0)
    if not top:
        return ""
    scale = _scale(row, [summary.p50 for *_, summary in found], top)
    parts, y = [], 0
    for number, title, samples, summary in found:
        middle = y + _BAR / 2
        width = max(scale(summary.p50), 1.5)
        parts.append(
            f'<text class="n" x="{_LABEL - 10}" y="{middle + 4:.1f}">{escape(title)}</text>'
            f'<rect x="{_LABEL}" y="{y}" width="{width:.1f}" height="{_BAR}" rx="4"'
            f' fill="var(--t{number})"/>'
            f'<path class="r" d="M{_LABEL + scale(summary.minimum):.1f} {middle:.1f}'
            f'H{_LABEL + scale(min(summary.p95, top)):.1f}"/>'
        )
        step = max(1, len(samples) // _DOTS)
        for place, sample in enumerate(samples[::step]):
            jitter = (place * 7919 % 13 - 6) / 13 * (_BAR - 8)
            x = _LABEL + scale(min(sample, top))
            parts.append(f'<circle class="d" cx="{x:.1f}" cy="{middle + jitter:.1f}" r="1.7"/>')
        end = _LABEL + max(width, scale(min(summary.p95, top)))
        parts.append(
            f'<text class="v" x="{end + 8:.1f}" y="{middle + 4:.1f}">'
            f"{format_figure(summary.p50)} {escape(_unit(row))}</text>"
        )
        y += _BAR + _GAP
    return _svg(y - _GAP, parts, f"{row.title}: medians by target")


def phases(report: Report, row: Row) -> str:
    """One stacked bar of median phases for each target; empty without samples."""
    found = []
    for name, title in report.targets.items():
        series = report.find(row.key, name)
        if series is not None and series.parts:
            medians = [summarize(series.parts.get(phase, [])).p50 for phase in row.phases]
            found.append((title, [0.0 if math.isnan(value) else value for value in medians]))
    top = max((sum(medians) for _, medians in found), default=0.0)
    if not top:
        return ""
    room = _WIDTH - _LABEL - _VALUE
    parts, y = [], 0
    for title, medians in found:
        x = float(_LABEL)
        label = f'<text class="n" x="{_LABEL - 10}" y="{y + _BAR / 2 + 4}">{escape(title)}</text>'
        parts.append(label)
        for number, (phase, value) in enumerate(zip(row.phases, medians, strict=True)):
            width = value / top * room
            parts.append(
                f'<rect x="{x:.1f}" y="{y}" width="{max(width, 0.5):.1f}" height="{_BAR}"'
                f' fill="var(--p{number % 4})"><title>{escape(phase)}: {format_figure(value)}'
                f" {escape(_unit(row))}</title></rect>"
            )
            x += width
        words = " + ".join(format_figure(value) for value in medians)
        parts.append(f'<text class="v" x="{x + 8:.1f}" y="{y + _BAR / 2 + 4}">{words}</text>')
        y += _BAR + _GAP
    legend = "".join(
        f'<rect x="{_LABEL + 150 * number}" y="{y}" width="11" height="11" rx="2"'
        f' fill="var(--p{number % 4})"/><text class="v" x="{_LABEL + 150 * number + 17}"'
        f' y="{y + 10}">{escape(phase)}</text>'
        for number, phase in enumerate(row.phases)
    )
    return _svg(y + 16, [*parts, legend], f"{row.title}: phases")


class _Scale:
    """Length of a figure on the axis; logarithmic where the targets are decades apart."""

    def __init__(self, low: float, top: float, *, logarithmic: bool) -> None:
        self._low, self._top, self.logarithmic = low, top, logarithmic

    def __call__(self, value: float) -> float:
        room = _WIDTH - _LABEL - _VALUE
        if not self.logarithmic:
            return value / self._top * room
        if value <= self._low:
            return 0.0
        return math.log(value / self._low) / math.log(self._top / self._low) * room


def is_logarithmic(report: Report, row: Row) -> bool:
    """Whether a row's chart is."""
    medians = [
        summarize(series.samples).p50
        for series in report.series
        if series.row == row.key and series.samples
    ]
    return _is_wide(medians)


def _is_wide(medians: list[float]) -> bool:
    positive = [value for value in medians if value > 0]
    return len(positive) > 1 and max(positive) / min(positive) > 40


def _scale(_row: Row, medians: list[float], top: float) -> _Scale:
    positive = [value for value in medians if value > 0]
    return _Scale(min(positive, default=1.0) / 3, top, logarithmic=_is_wide(medians))


def _unit(row: Row) -> str:
    return {"us": "µs", "1/s": "a second", "count": ""}.get(row.unit, row.unit)


def _svg(height: float, parts: list[str], label: str) -> str:
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height:.0f}" role="img" aria-label="{escape(label)}">'
        f"{''.join(parts)}</svg>"
    )
