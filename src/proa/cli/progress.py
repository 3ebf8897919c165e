"""How far a long operation is: bars on a terminal, a line per step elsewhere.

``rich`` is imported for the bars only. The engine may report from several threads.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, cast, get_args

from proa.cli.kinds import STRING
from proa.cli.parser import EXIT_FAILURE, Flag, UsageError
from proa.image.model import Progress, silent

if TYPE_CHECKING:
    from proa.cli.io import IO

_REPORT_NS = 100_000_000


Style = Literal["auto", "plain", "json"]

PROGRESS = Flag(
    "progress", STRING, 'How to show progress ("auto", "plain", "json")', default="auto"
)


def progress_style(word: str) -> Style:
    """Read the value of ``--progress``.

    Raises:
        UsageError: it is none.
    """
    for style in get_args(Style):
        if word == style:
            return cast("Style", style)
    raise UsageError(
        f'invalid progress: \'{word}\': must be one of "auto", "plain" or "json"',
        exit_code=EXIT_FAILURE,
    )


@contextmanager
def progress_to(io: IO, *, quiet: bool = False, style: Style = "auto") -> Iterator[Progress]:
    """Give a function that shows progress on standard error for as long as the block runs.

    Args:
        io: the user's streams.
        quiet: show nothing.
        style: ``auto`` shows bars on a terminal and a line per step elsewhere, ``plain`` always
            lines, ``json`` an object per report.
    """
    if quiet:
        yield silent
    elif style == "json":
        yield JsonProgress(io)
    elif style == "plain":
        yield LineProgress(io)
    elif io.is_terminal(io.stderr_fd) and io.env.get("TERM", "dumb") != "dumb":
        with _bars(io) as progress:
            yield progress
    else:
        yield LineProgress(io)


class LineProgress:
    """Writes every step once, when it begins."""

    def __init__(self, io: IO) -> None:
        self._io = io
        self._seen: set[str] = set()

    def __call__(
        self,
        step: str,
        done_bytes: int = 0,  # noqa: ARG002 - a line says nothing about sizes
        total_bytes: int = 0,  # noqa: ARG002
    ) -> None:
        """Write ``step`` if it is new; how far it is does not matter here."""
        if step not in self._seen:
            self._seen.add(step)
            self._io.err(step)


class JsonProgress:
    """Writes an object per line: ``step``, and ``done_bytes`` and ``total_bytes`` when known.

    A step that goes on is reported ten times a second at most; its end always is.
    """

    def __init__(self, io: IO) -> None:
        self._io = io
        self._last_ns: dict[str, int] = {}

    def __call__(self, step: str, done_bytes: int = 0, total_bytes: int = 0) -> None:
        """Write one report as a line of its own, also when several threads report."""
        import json
        import time

        now_ns = time.monotonic_ns()
        is_end = 0 < total_bytes <= done_bytes
        if not is_end and now_ns - self._last_ns.get(step, -_REPORT_NS) < _REPORT_NS:
            return
        self._last_ns[step] = now_ns
        document: dict[str, object] = {"step": step}
        if total_bytes or done_bytes:
            document.update(done_bytes=done_bytes, total_bytes=total_bytes)
        self._io.err(json.dumps(document))


@contextmanager
def _bars(io: IO) -> Iterator[Progress]:
    import re
    from os import dup, fdopen

    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        SpinnerColumn,
        TaskID,
        TextColumn,
        TimeElapsedColumn,
    )
    from rich.progress import Progress as Bars

    tasks: dict[str, TaskID] = {}
    with fdopen(dup(io.stderr_fd), "w", encoding="utf-8") as stream:
        console = Console(file=stream, force_terminal=True, width=io.columns())
        columns = (
            SpinnerColumn(finished_text="✓"),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            DownloadColumn(),
            TimeElapsedColumn(),
        )
        with Bars(*columns, console=console) as bars:

            def show(step: str, done_bytes: int = 0, total_bytes: int = 0) -> None:
                # A step without a size is done when the next one begins.
                if step not in tasks:
                    for task in bars.tasks:
                        if task.total is None:
                            bars.update(task.id, total=1, completed=1)
                    # A whole digest would leave no room for the bar.
                    words = re.sub(r"sha256:([0-9a-f]{12})[0-9a-f]{52}", r"\1", step)
                    tasks[step] = bars.add_task(words, total=total_bytes or None)
                if total_bytes:
                    bars.update(tasks[step], completed=done_bytes, total=total_bytes)

            yield show
            for task in bars.tasks:
                if not task.finished:
                    bars.update(task.id, total=task.total or 1, completed=task.total or 1)
