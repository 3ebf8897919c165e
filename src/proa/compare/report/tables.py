"""What all forms of a report show: figures as text, the classic table, the reading in words."""

from __future__ import annotations

import math

from proa.compare.model import ERROR, Report, Row, Series
from proa.compare.statistics import Summary, summarize


def format_figure(value: float) -> str:
    """Three significant digits, no exponent; an em dash for what is not known."""
    if math.isnan(value):
        return "—"
    if value >= 100 or value == 0:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def summary_of(report: Report, row: str, target: str) -> Summary:
    """Summary of a series; NaN where nothing was measured."""
    series = report.find(row, target)
    return summarize(series.samples if series else [])


def noise_of(series: Series) -> float:
    """Twice a slope's standard error where the slope is not larger than that, 0 for all others."""
    noise = 2 * summarize([error for error in series.parts.get(ERROR, []) if error == error]).p50
    return noise if summarize(series.samples).p50 < noise else 0.0


def known(report: Report, row: str, target: str) -> float:
    """Median of a series; NaN where nothing was measured or all is within noise."""
    series = report.find(row, target)
    return math.nan if series is None or noise_of(series) else summarize(series.samples).p50


def cell(report: Report, row: Row, target: str) -> str:
    """Median and 95th percentile of a row on a target, and how many attempts failed."""
    series = report.find(row.key, target)
    if series is None:
        return "—"
    if series.absent:
        return series.absent
    summary = summarize(series.samples)
    noise = noise_of(series)
    if noise:
        return f"within noise (± {format_figure(noise)})"
    text = format_figure(summary.p50)
    if summary.size > 1:
        text += f" (p95 {format_figure(summary.p95)})"
    if series.failures:
        text += f", {len(series.failures)} failed"
    return text


def failures(report: Report) -> list[str]:
    """One line for each different failure of a row on a target, with its number."""
    lines = []
    for series in report.series:
        for message in dict.fromkeys(series.failures):
            times = series.failures.count(message)
            title = report.targets.get(series.target, series.target)
            lines.append(f"{series.row}, {title}, {times} times: {message}")
    return lines


def ratio(report: Report, row: str, target: str, base: str = "host") -> float:
    """How many times the base's median a target's is; NaN where either is missing."""
    mine, other = known(report, row, target), known(report, row, base)
    return mine / other if other else math.nan


def reading(report: Report) -> list[str]:
    """Sentences computed from the figures; none where the figures are missing."""
    lines = []
    for target, title in report.targets.items():
        if target == "host":
            continue
        start = summary_of(report, "start.whole", target).p50
        floor = summary_of(report, "start.whole", "host").p50
        memory = known(report, "memory.available", target)
        call, work = ratio(report, "cpu.syscall", target), ratio(report, "cpu.hash", target)
        parts = []
        if not math.isnan(start):
            added = (
                f", {format_figure(start - floor)} ms more than a bare process"
                if not math.isnan(floor)
                else ""
            )
            parts.append(f"starts in {format_figure(start)} ms{added}")
        if not math.isnan(memory):
            parts.append(f"takes {format_figure(memory)} MB an idle instance")
        if not math.isnan(call):
            parts.append(f"a system call takes {format_figure(call)} times the host's time")
        if not math.isnan(work):
            parts.append(
                f"plain computing runs at {format_figure(work * 100)} % of the host's speed"
            )
        if parts:
            lines.append(f"On this machine {title} " + "; ".join(parts) + ".")
    lines += _between(report)
    return lines


def _between(report: Report) -> list[str]:
    """The two isolations against each other."""
    times = ratio(report, "start.whole", "vm", "process")
    memory = ratio(report, "memory.available", "vm", "process")
    if math.isnan(times):
        return []
    text = f"A kernel of its own costs {format_figure(times)} times the start"
    if not math.isnan(memory) and memory > 0:
        text += f" and {format_figure(memory)} times the memory"
    return [f"{text} of process isolation."]


def classic(report: Report) -> list[tuple[str, dict[str, str]]]:
    """The table that every introduction has, filled with what was measured and read here.

    Rows of which nothing is known are left out.
    """
    facts = {(fact.key, fact.target): fact.value for fact in report.facts}

    def figures(row: str, unit: str) -> dict[str, str]:
        found = {}
        for target in report.targets:
            series = report.find(row, target)
            noise = noise_of(series) if series else 0.0
            value = known(report, row, target)
            found[target] = "—" if math.isnan(value) else f"{format_figure(value)} {unit}"
            if noise:
                found[target] = f"under {format_figure(noise)} {unit}"
            elif series is not None and not series.samples:
                found[target] = series.absent or "failed"
        return found

    def density() -> dict[str, str]:
        found = {}
        for target in report.targets:
            memory_mb = known(report, "memory.available", target)
            if math.isnan(memory_mb):
                memory_mb = known(report, "memory.pss", target)
            found[target] = "—"
            if memory_mb > 0:
                found[target] = format_figure(1000 / memory_mb)
        return found

    def read(key: str) -> dict[str, str]:
        return {target: facts.get((key, target), "—") for target in report.targets}

    rows = [
        ("Kernel", read("isolation.kernel")),
        ("Start", figures("start.whole", "ms")),
        ("Start to the first HTTP 200", figures("start.http", "ms")),
        ("Disk of the image", read("isolation.image")),
        ("Disk of an instance", figures("disk.second", "MB")),
        ("Memory of an instance", figures("memory.available", "MB")),
        ("Instances a GB, computed from it", density()),
        ("System call", figures("cpu.syscall", "µs")),
        ("Computing", figures("cpu.hash", "MB/s of SHA-256")),
        ("File writing", figures("files.write", "MB/s")),
        ("Ten starts at once", figures("parallel.10", "a second")),
        ("Small files on the root", figures("files.small", "a second")),
        ("What can run in it", read("isolation.systems")),
        ("System call filter", read("isolation.seccomp")),
        ("Root is root on the host", read("isolation.userns")),
    ]
    return [(name, cells) for name, cells in rows if set(cells.values()) != {"—"}]
