"""Starting, entering, stopping and removing instances."""

from __future__ import annotations

import threading
import time
from itertools import pairwise

from proa.compare.model import Row
from proa.compare.targets.base import CompareError, Target, expect
from proa.compare.workloads.base import Sample

_WORD = "ready\n"


class Start:
    """A whole cold command, from its start to its first output and to its end."""

    name = "start"
    rows: tuple[Row, ...] = (
        Row(
            key="start.whole",
            title="Start, whole",
            definition="From starting the command line (run --rm, no network, echo) to its exit, a"
            " cold process each time; the instance is removed within. Phases by the engine's events"
            " create (command line, image) and start (snapshot, network, cgroup or machine, kernel,"
            " agent).",
            unit="ms",
            phases=("to created", "to started", "to first output", "to exit"),
        ),
    )

    def repeats(self, *, quick: bool) -> int:
        """30, or 10."""
        return 10 if quick else 30

    def seconds(self, target: Target) -> float:
        """One start."""
        return target.startup_s

    def instances(self, target: Target) -> int:  # noqa: ARG002 - the same for all
        """One."""
        return 1

    def measure(self, target: Target) -> list[Sample]:
        """Time one run."""
        timed = target.time_run(("echo", "ready"))
        if timed.output != _WORD:
            raise CompareError(f"gave {timed.output[:100]!r} instead of {_WORD!r}")
        first_ms, whole_ms = (timed.first - timed.begin) * 1e3, (timed.end - timed.begin) * 1e3
        created_ms = min(max(timed.events.get("create", 0.0) * 1e3, 0.0), first_ms)
        started_ms = min(max(timed.events.get("start", 0.0) * 1e3, created_ms), first_ms)
        moments = (0.0, created_ms, started_ms, first_ms, whole_ms)
        spans = [after - before for before, after in pairwise(moments)]
        parts = dict(zip(self.rows[0].phases, spans, strict=True))
        return [Sample("start.whole", whole_ms, parts)]


class Life:
    """The commands of an instance that stays: start, exec, stop, remove."""

    name = "life"
    rows: tuple[Row, ...] = (
        Row(
            key="life.start",
            title="Start in the background",
            definition="run -d, no network, sleep: to the exit of the command.",
            unit="ms",
        ),
        Row(
            key="life.exec",
            title="Exec",
            definition="exec of true in a running instance, a whole cold command.",
            unit="ms",
        ),
        Row(
            key="life.stop",
            title="Stop",
            definition="kill, then wait: two cold commands, to the end of the second.",
            unit="ms",
        ),
        Row(
            key="life.remove",
            title="Remove",
            definition="rm of the stopped instance, a whole cold command.",
            unit="ms",
        ),
    )

    def repeats(self, *, quick: bool) -> int:
        """30, or 10."""
        return 10 if quick else 30

    def seconds(self, target: Target) -> float:
        """Four commands."""
        return target.startup_s * 3

    def instances(self, target: Target) -> int:  # noqa: ARG002 - the same for all
        """One."""
        return 1

    def measure(self, target: Target) -> list[Sample]:
        """Live one life."""
        times = [time.perf_counter()]
        handle = target.start()
        times.append(time.perf_counter())
        try:
            expect(target.exec(handle, ("true",)), "")
            times.append(time.perf_counter())
        finally:
            target.stop(handle)
            times.append(time.perf_counter())
            target.remove(handle)
        times.append(time.perf_counter())
        spans = [(after - before) * 1e3 for before, after in pairwise(times)]
        return [Sample(row.key, span) for row, span in zip(self.rows, spans, strict=True)]


class Parallel:
    """Several starts at once."""

    def __init__(self, width: int) -> None:
        """Choose how many."""
        self.name = f"parallel.{width}"
        self._width = width
        self.rows: tuple[Row, ...] = (
            Row(
                key=f"parallel.{width}",
                title=f"{width} starts at once" if width > 1 else "One start after the other",
                definition=f"{width} cold commands (run --rm, true) begun together, to the end of"
                " the last; instances a second.",
                unit="1/s",
                lower_is_better=False,
            ),
        )

    def repeats(self, *, quick: bool) -> int:
        """Three, or one: each is many starts."""
        return 1 if quick else 3

    def seconds(self, target: Target) -> float:
        """All of them, two at a time."""
        return target.startup_s * self._width / 2

    def instances(self, target: Target) -> int:  # noqa: ARG002 - the same for all
        """All of them."""
        return self._width

    def measure(self, target: Target) -> list[Sample]:
        """Start them all."""
        failures: list[Exception] = []

        def work() -> None:
            try:
                expect(target.run(("true",)), "")
            except CompareError as error:
                failures.append(error)

        threads = [threading.Thread(target=work) for _ in range(self._width)]
        begin = time.perf_counter()
        try:
            for thread in threads:
                thread.start()
        finally:
            for thread in threads:
                if thread.ident is not None:
                    thread.join()
        spent_s = time.perf_counter() - begin
        if failures:
            raise CompareError(f"{len(failures)} of {self._width} failed: {failures[0]}")
        return [Sample(self.rows[0].key, self._width / spent_s)]
