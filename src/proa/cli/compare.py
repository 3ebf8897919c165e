"""``proa compare``: what isolation costs on this machine; ``proa compare diff``: two reports."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from proa.cli.invocation import Invocation
from proa.cli.io import IO
from proa.cli.kinds import BOOL, STRING
from proa.cli.parser import Command, Flag, UsageError
from proa.errors import Invalid, from_os_error

if TYPE_CHECKING:
    from proa.compare.model import Report
    from proa.compare.session import Progress

TARGETS = Flag("targets", STRING, "What to compare, of host,process,vm,docker,podman (default all)")
QUICK = Flag("quick", BOOL, "Take a third of the samples")
FULL = Flag(
    "full", BOOL, "Also run sysbench, fio, iperf3 and redis, in an image of Debian packages"
)
OUT = Flag("out", STRING, "Directory of the reports", default="proa-compare")
ONLY = Flag("only", STRING, "Workloads to measure, such as start,memory,http (default all)")

COMMAND = Command(
    words="compare",
    usage="[OPTIONS] | diff A.json B.json",
    summary="Measure what isolation costs on this machine",
    flags=(TARGETS, QUICK, FULL, OUT, ONLY),
    most=3,
    details=(
        "Runs the same image on the bare host, with process isolation, with vm isolation and, "
        "where they are installed, with Docker and Podman; in turns, so that a machine that drifts "
        "drifts for all. Writes report.html, report.md and report.json with every sample. An "
        "interrupted comparison goes on when it is started again with the same options. 'compare "
        "diff' shows two reports side by side; an asterisk marks what is more than noise."
    ),
)

_MINUTES_FROM_S = 90


def execute(call: Invocation) -> int:
    """Measure, show the table and say where the reports are; or compare two reports."""
    words = call.arguments
    if words[:1] == ("diff",) and len(words) == 3:
        return _diff(call.io, words[1], words[2])
    if words:
        raise UsageError("use `proa compare [OPTIONS]` or `proa compare diff A.json B.json`")
    from proa.compare.session import Options, Session

    out = call.io.path(call[OUT])
    options = Options(
        targets=_split(call[TARGETS]),
        quick=call[QUICK],
        full=call[FULL],
        out=out,
        only=_split(call[ONLY]),
    )
    shown = _Shown(call.io)
    try:
        report = Session(call.engine, options, shown.show).run()
    finally:
        shown.clear()
    _show(call.io, report)
    call.io.out(f"\n{out}/report.html")
    return 0


def _split(text: str) -> tuple[str, ...]:
    return tuple([word.strip() for word in text.split(",") if word.strip()])


class _Shown:
    """One line of progress on a terminal, a line for each change of the text elsewhere."""

    def __init__(self, io: IO) -> None:
        self._io = io
        self._last = ""

    def show(self, progress: Progress) -> None:
        """Show where the comparison is."""
        if self._io.is_terminal(self._io.stderr_fd):
            left = progress.left_s
            words = f"{left / 60:.0f} min" if left >= _MINUTES_FROM_S else f"{left:.0f} s"
            line = f"{progress.share * 100:3.0f} %  {progress.text}  ({words} left)"
            self._io.write(self._io.stderr_fd, f"\r\x1b[K{line[: self._io.columns() - 1]}".encode())
        elif progress.text != self._last:
            self._io.err(progress.text)
        self._last = progress.text

    def clear(self) -> None:
        """Leave an empty line for what follows."""
        if self._io.is_terminal(self._io.stderr_fd):
            self._io.write(self._io.stderr_fd, b"\r\x1b[K")


def _show(io: IO, report: Report) -> None:
    from proa.compare.report.tables import cell, reading

    rows = [
        [row.title, row.unit, *(cell(report, row, name) for name in report.targets)]
        for row in report.rows
    ]
    _show_table(io, [["", "UNIT", *(title.upper() for title in report.targets.values())], *rows])
    io.out("")
    for sentence in reading(report):
        io.out(sentence)


def _show_table(io: IO, lines: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        text = "   ".join([word.ljust(width) for word, width in zip(line, widths, strict=True)])
        io.out(text.rstrip())


def _diff(io: IO, first: str, second: str) -> int:
    from proa.compare.diff import compare_reports
    from proa.compare.report.tables import format_figure

    before, after = _load(io.path(first)), _load(io.path(second))
    changes = compare_reports(before, after)
    if not changes:
        raise Invalid("the two reports have no row of a target in common")
    rows = [
        [
            change.row.title,
            change.row.unit,
            after.targets.get(change.target, change.target),
            format_figure(change.before),
            format_figure(change.after),
            f"{change.ratio:.2f}{' *' if change.apart else ''}",
        ]
        for change in changes
    ]
    _show_table(io, [["", "UNIT", "TARGET", "BEFORE", "AFTER", "RATIO"], *rows])
    return 0


def _load(path: str) -> Report:
    import msgspec

    from proa.compare.model import decode

    try:
        with open(path, "rb") as stream:
            return decode(stream.read())
    except OSError as error:
        raise from_os_error(error, f"cannot read {path}") from error
    except msgspec.DecodeError as error:
        raise Invalid(f"{path} is no report of proa compare: {error}") from error
