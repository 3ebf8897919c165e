"""Measuring side by side: cases interleaved in one run, medians and ratios, failures counted.

A machine's speed drifts by a quarter within minutes, so figures of different runs must never be
compared: every case of a table is measured in the same rounds, and what counts is the ratio.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec


class MeasurementError(Exception):
    """A measured command gave a wrong exit code or a wrong output."""


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to measure.

    Attributes:
        name: row of the table.
        once: does it once; the time of the call is the figure, unless it returns one itself in ms.
            Raises :class:`MeasurementError` when the result is wrong.
        repeats: how often; slow cases take fewer and are spread evenly over the rounds.
        before: untimed preparation of every repetition.
    """

    name: str
    once: Callable[[], float | None]
    repeats: int
    before: Callable[[], None] | None = None


class Sample(msgspec.Struct, kw_only=True):
    """What was measured of one case; times in ms."""

    name: str
    times_ms: list[float]
    failures: list[str]

    @property
    def median_ms(self) -> float:
        """Median, NaN if nothing succeeded."""
        return statistics.median(self.times_ms) if self.times_ms else float("nan")

    @property
    def min_ms(self) -> float:
        """Fastest, NaN if nothing succeeded."""
        return min(self.times_ms, default=float("nan"))

    @property
    def p95_ms(self) -> float:
        """95th percentile by nearest rank, NaN if nothing succeeded."""
        ordered = sorted(self.times_ms)
        return (
            ordered[min(len(ordered) - 1, round(0.95 * len(ordered)))] if ordered else float("nan")
        )


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """A promise of SPECIFICATION.md against what was measured.

    Attributes:
        promise: the promise's name there.
        measured: the figure, in the promise's unit.
        limit: the promised bound.
        at_most: whether the bound is an upper one.
    """

    promise: str
    measured: float
    limit: float
    at_most: bool = True
    unit: str = ""

    @property
    def kept(self) -> bool:
        """Whether the promise holds; never for NaN."""
        return self.measured <= self.limit if self.at_most else self.measured >= self.limit

    def line(self) -> str:
        """Say it in one line."""
        relation = "at most" if self.at_most else "at least"
        kept = "kept" if self.kept else "NOT KEPT"
        return (
            f"{kept:9}{self.promise}: {self.measured:.4g}{self.unit}, {relation} {self.limit:.4g}"
        )


class Report(msgspec.Struct, kw_only=True):
    """One benchmark's outcome.

    Attributes:
        sections: title to samples.
        facts: figures that are not times (memory, counts), by name.
    """

    machine: dict[str, Any]
    sections: dict[str, list[Sample]] = {}
    facts: dict[str, float] = {}
    verdicts: list[Verdict] = []


def interleave(cases: Sequence[Case], warmup: int = 2) -> list[Sample]:
    """Measure ``cases`` in turns: each round runs every case whose share has come."""
    samples = [Sample(name=case.name, times_ms=[], failures=[]) for case in cases]
    for case in cases:
        for _ in range(min(warmup, case.repeats)):
            _measure(case, Sample(name=case.name, times_ms=[], failures=[]))
    rounds = max((case.repeats for case in cases), default=0)
    for number in range(rounds):
        for case, sample in zip(cases, samples, strict=True):
            # A case with fewer repetitions is due whenever its even share passes a whole number.
            if (number + 1) * case.repeats // rounds > number * case.repeats // rounds:
                _measure(case, sample)
    return samples


def _measure(case: Case, sample: Sample) -> None:
    if case.before is not None:
        case.before()
    begin = time.perf_counter()
    try:
        own = case.once()
    except MeasurementError as failure:
        sample.failures.append(str(failure))
    else:
        spent_ms = (time.perf_counter() - begin) * 1e3
        sample.times_ms.append(spent_ms if own is None else own)


class Command:
    """A whole process as a case: spawned, waited for, its exit code checked.

    posix_spawn(3) keeps the measuring process' own size out of the figure (fork(2) copies page
    tables).
    """

    def __init__(
        self, argv: Sequence[str], env: dict[str, str] | None = None, code: int = 0
    ) -> None:
        self._argv = list(argv)
        self._env = dict(os.environ) if env is None else env
        self._code = code

    def __call__(self) -> None:
        """Run it once.

        Raises:
            MeasurementError: the exit code is not the expected one.
        """
        self.finish(self.start())

    def start(self) -> int:
        """Spawn it and return its pid; stdin is /dev/null, output is dropped."""
        null = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (0, 1, 2)]
        return os.posix_spawnp(self._argv[0], self._argv, self._env, file_actions=null)

    def finish(self, pid: int) -> None:
        """Reap ``pid`` and check its exit code."""
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if code != self._code:
            raise MeasurementError(f"{self._argv[0]} gave {code}: {self.complaint()}")

    def complaint(self) -> str:
        """Run it once more to see what it says; only after a failure."""
        done = subprocess.run(
            self._argv, env=self._env, capture_output=True, text=True, check=False
        )
        return (done.stderr or done.stdout).strip()[-300:]


def in_flight(command: Command, total: int, width: int) -> float:
    """Run ``command`` ``total`` times with ``width`` at once; return runs a second."""
    running: set[int] = set()
    started = 0
    begin = time.perf_counter()
    while started < total or running:
        while started < total and len(running) < width:
            running.add(command.start())
            started += 1
        pid, status = os.wait()
        running.discard(pid)
        if os.waitstatus_to_exitcode(status):
            for left in running:
                os.waitpid(left, 0)
            raise MeasurementError(command.complaint())
    return total / (time.perf_counter() - begin)


def private_kb(pids: Sequence[int]) -> int:
    """Return the private memory of ``pids`` together, kB (smaps_rollup, Private_*)."""
    total = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/smaps_rollup") as file:
                total += sum(int(line.split()[1]) for line in file if line.startswith("Private_"))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return total


def machine() -> dict[str, Any]:
    """Describe this machine as a reader needs it to judge the figures."""
    with open("/proc/cpuinfo") as file:
        models = [line.split(":")[1].strip() for line in file if line.startswith("model name")]
    with open("/proc/meminfo") as file:
        memory_kb = int(file.readline().split()[1])
    with open("/etc/os-release") as file:
        names = dict(line.rstrip().split("=", 1) for line in file if "=" in line)
    return {
        "kernel": platform.release(),
        "system": names.get("PRETTY_NAME", "").strip('"'),
        "cpu": models[0] if models else platform.machine(),
        "cpus": os.cpu_count(),
        "memory_mb": memory_kb // 1024,
        "cgroups": cgroup_mode(),
        "python": f"{platform.python_version()} ({os.path.realpath(sys.executable)})",
        "commit": _commit(),
        "load": list(os.getloadavg()),
        "utc": time.strftime("%Y-%m-%d %H:%M", time.gmtime()),
    }


def cgroup_mode() -> str:
    """Return ``v1``, ``v2``, ``hybrid`` or ``none``, by what is mounted."""
    with open("/proc/self/mountinfo") as file:
        kinds = {line.split(" - ")[1].split()[0] for line in file}
    if "cgroup" in kinds:
        return "hybrid" if "cgroup2" in kinds else "v1"
    return "v2" if "cgroup2" in kinds else "none"


def _commit() -> str:
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    return done.stdout.strip()


def table(samples: Sequence[Sample], baseline: str) -> str:
    """Lay out samples with ratios to the row named ``baseline``."""
    base = next((s.median_ms for s in samples if s.name == baseline), float("nan"))
    width = max((len(sample.name) for sample in samples), default=4)
    lines = [f"{'':{width}}  {'min':>8} {'median':>8} {'p95':>8}  {'ratio':>6}  n"]
    for s in samples:
        ratio = s.median_ms / base
        failed = f"  {len(s.failures)} FAILED: {s.failures[0]}" if s.failures else ""
        lines.append(
            f"{s.name:{width}}  {s.min_ms:8.2f} {s.median_ms:8.2f} {s.p95_ms:8.2f}"
            f"  {ratio:6.2f}  {len(s.times_ms)}{failed}"
        )
    return "\n".join(lines)


def option_parser(
    name: str, description: str | None, sections: Iterable[str], quick: str
) -> argparse.ArgumentParser:
    """Return the options that benchmarks of several sections share.

    Args:
        name: of the module.
        description: its docstring.
        sections: what ``--only`` chooses from.
        quick: what ``--quick`` does.
    """
    parser = argparse.ArgumentParser(prog=name, description=description)
    parser.add_argument("--quick", action="store_true", help=quick)
    parser.add_argument("--only", nargs="+", choices=sections, help="sections to measure")
    parser.add_argument("--json", metavar="FILE", help="write every figure to FILE")
    return parser


def conclude(report: Report, path: str | None) -> int:
    """Keep every figure in ``path``, if there is one; judge the promises; return the exit code."""
    if path:
        with open(path, "w") as file:
            file.write(to_json(report))
    print("\n" + "\n".join(verdict.line() for verdict in report.verdicts))
    return 0 if all(verdict.kept for verdict in report.verdicts) else 1


def to_json(report: Report) -> str:
    """Encode a report, with every single time, for later comparison."""
    return json.dumps(msgspec.to_builtins(report), indent=1)
