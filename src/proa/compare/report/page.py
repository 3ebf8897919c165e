"""``report.html``: one file that needs no network, for screens in light and dark and for paper."""

from __future__ import annotations

import math
from collections.abc import Callable
from html import escape

from proa.compare.model import Machine, Report, Row
from proa.compare.report import charts
from proa.compare.report.style import STYLE
from proa.compare.report.tables import (
    cell,
    classic,
    failures,
    format_figure,
    known,
    ratio,
    reading,
)

_GROUPS = (
    ("start.", "Starting"),
    ("life.", "An instance's life"),
    ("parallel.", "Many at once"),
    ("memory.", "Memory"),
    ("cpu.", "Computing"),
    ("files.", "Files on the root"),
    ("volume.", "Files on a volume"),
    ("bind.", "Files in a directory of the host"),
    ("disk.", "Disk"),
    ("network.", "Network"),
    ("tools.", "What known benchmarks say"),
)


_KEY = (
    "In the charts, bars are medians, lines go from the fastest sample to the 95th percentile, and"
    " each dot is a sample."
)


def render(report: Report) -> str:
    """Return the page."""
    words = "".join(f"<li>{escape(line)}</li>" for line in reading(report))
    note = (
        ""
        if report.complete
        else '<p class="note">This comparison is not finished: these are the samples so far.</p>'
    )
    body = "".join(_group(report, prefix, title) for prefix, title in _GROUPS)
    return (
        "<!doctype html><html lang=en><head><meta charset=utf-8>"
        "<meta name=viewport content='width=device-width,initial-scale=1'>"
        f"<title>What isolation costs on this machine</title><style>{STYLE}</style></head><body>"
        f"<main><h1>What isolation costs on this machine</h1>{_machine(report)}{note}"
        f"{_tiles(report)}<ul class=words>{words}</ul><h2>In short</h2>{_classic(report)}"
        f"<p class=key style='margin-top:28px'>{_KEY}</p>{body}"
        f"<h2>What holds an instance</h2>{_facts(report)}"
        f"<h2>All figures</h2>{_figures(report)}{_failed(report)}{_conditions(report.machine)}"
        "</main></body></html>"
    )


def _tiles(report: Report) -> str:
    """The start of each target in large, and what else decides, small."""
    tiles = []
    for name, title in report.targets.items():
        start = known(report, "start.whole", name)
        if math.isnan(start):
            continue
        large = (start / 1e3, "s") if start >= 1e3 else (start, "ms")
        lines = [
            ("memory", known(report, "memory.available", name), " MB"),
            ("system call", ratio(report, "cpu.syscall", name), " × host"),
            ("SHA-256", ratio(report, "cpu.hash", name) * 100, " % of host"),
        ]
        pairs = "".join(
            f"<dt>{label}</dt><dd>{format_figure(value)}{unit}</dd>"
            for label, value, unit in lines
            if not math.isnan(value) and (name != "host" or "host" not in unit)
        )
        tiles.append(
            f'<div class=tile style="border-top-color:{charts.colour_of(name)}">'
            f"<h3>{escape(title)}</h3><b>{format_figure(large[0])} <small>{large[1]} to start"
            f"</small></b><dl>{pairs}</dl></div>"
        )
    return f"<div class=tiles>{''.join(tiles)}</div>" if tiles else ""


def _machine(report: Report) -> str:
    machine = report.machine
    words = [
        machine.processor or machine.architecture,
        f"{machine.processors} processors",
        f"{machine.memory_mb / 1000:.1f} GB",
        f"Linux {machine.kernel}",
        machine.filesystem,
        report.started_at,
    ]
    return f'<p class="soft">{escape(" · ".join(word for word in words if word))}</p>'


def _group(report: Report, prefix: str, title: str) -> str:
    figures = "".join(_figure(report, row) for row in report.rows if row.key.startswith(prefix))
    return f"<h2>{escape(title)}</h2>{figures}" if figures else ""


def _figure(report: Report, row: Row) -> str:
    drawn = _both(charts.bars, report, row)
    if not drawn:
        return ""
    better = "shorter is better" if row.lower_is_better else "longer is better"
    scale = ", logarithmic" if charts.is_logarithmic(report, row) else ""
    stacked = _both(charts.phases, report, row) if row.phases else ""
    if stacked:
        words = "What it consists of: medians of its phases, to scale within each bar"
        stacked = f"<p class='soft sub'>{words}</p>{stacked}"
    return (
        f"<figure><span class=tag>{better}{scale}</span><h3>{escape(row.title)}</h3>"
        f"<figcaption>{escape(row.definition)}</figcaption>{drawn}{stacked}</figure>"
    )


def _both(draw: Callable[[Report, Row, charts.Layout], str], report: Report, row: Row) -> str:
    return draw(report, row, charts.WIDE) + draw(report, row, charts.NARROW)


def _classic(report: Report) -> str:
    return _table(
        ["", *report.targets.values()],
        [[name, *cells.values()] for name, cells in classic(report)],
    )


def _facts(report: Report) -> str:
    titles: dict[str, str] = {fact.key: fact.title for fact in report.facts}
    values = {(fact.key, fact.target): fact.value for fact in report.facts}
    rows = [
        [title, *(values.get((key, target), "—") for target in report.targets)]
        for key, title in titles.items()
    ]
    return _table(["", *report.targets.values()], rows)


def _figures(report: Report) -> str:
    rows = [
        [
            f"{row.title}, {charts.unit_of(row)}".rstrip(", "),
            *(cell(report, row, name) for name in report.targets),
        ]
        for row in report.rows
    ]
    return _table(["", *report.targets.values()], rows)


def _failed(report: Report) -> str:
    lines = failures(report)
    if not lines:
        return ""
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f"<h2>What failed</h2><ul class=words>{items}</ul>"


def _conditions(machine: Machine) -> str:
    pairs = [
        ("Virtualization of this machine", machine.virtualization),
        ("Accelerator of virtual machines", machine.accelerator),
        ("Governor", machine.governor),
        ("cgroups", machine.cgroups),
        *((f"Version of {name}", text) for name, text in machine.versions.items()),
        *((f"Mitigation: {name}", text) for name, text in machine.mitigations.items()),
    ]
    table = _table(["", ""], [[name, text or "unknown"] for name, text in pairs])
    return f"<details><summary>Conditions of the measurement</summary>{table}</details>"


def _table(head: list[str], rows: list[list[str]]) -> str:
    top = "".join(f"<th scope=col>{escape(text)}</th>" for text in head)
    body = "".join(
        f"<tr><th scope=row>{escape(row[0])}</th>"
        + "".join(f"<td>{escape(text)}</td>" for text in row[1:])
        + "</tr>"
        for row in rows
    )
    return (
        f"<div class=scroll><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>"
    )
