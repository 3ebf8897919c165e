"""``report.md``: the tables and the reading as Markdown."""

from __future__ import annotations

from collections.abc import Iterable

from proa.compare.model import Report
from proa.compare.report.tables import cell, classic, failures, reading

BAR = "\\|"
"""A bar that does not end a cell."""


def render(report: Report) -> str:
    """Return the document."""
    titles = list(report.targets.values())
    failed = [line.replace("\n", " ") for line in failures(report)]
    lines = ["# What isolation costs on this machine", ""]
    if not report.complete:
        lines += ["**Not finished**: these are the samples so far.", ""]
    lines += [
        _machine(report),
        "",
        *(f"- {line}" for line in reading(report)),
        "",
        "## In short",
        "",
        *_table(("", *titles), ((name, *cells.values()) for name, cells in classic(report))),
        "",
        "## Figures",
        "",
        "Medians; p95 in parentheses.",
        "",
        *_table(
            ("", "unit", *titles),
            (
                (row.title, row.unit, *(cell(report, row, name) for name in report.targets))
                for row in report.rows
            ),
        ),
        "",
        *(["## What failed", "", *(f"- {line}" for line in failed), ""] if failed else []),
        "## What the rows mean",
        "",
        *(f"- **{row.title}** ({row.unit}): {row.definition}" for row in report.rows),
        "",
    ]
    return "\n".join(lines)


def _machine(report: Report) -> str:
    machine = report.machine
    return (
        f"{machine.processor or machine.architecture}, {machine.processors} processors,"
        f" {machine.memory_mb} MB, Linux {machine.kernel}, {machine.filesystem};"
        f" {report.started_at}"
    )


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    words = list(head)
    return [_line(words), "|" + " --- |" * len(words), *(_line(row) for row in rows)]


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(text.replace('|', BAR) for text in cells)} |"
