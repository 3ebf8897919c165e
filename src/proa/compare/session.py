"""One comparison from its plan to its report: announced, interleaved, interruptible, resumable.

Every round takes one turn of a workload on each target that still owes one, so that a machine whose
speed drifts drifts for all. After each turn the report is saved: an interrupted comparison has what
it measured, and goes on where it was when it is started again with the same directory.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Sequence

import msgspec

from proa.compare import machine, model
from proa.compare.image import write_rootfs
from proa.compare.model import Report, Row, Series
from proa.compare.targets import ORDER, make
from proa.compare.targets.base import IMAGE, CompareError, Inapplicable, Target
from proa.compare.workloads import Workload, gather, plan, tools
from proa.engine.facade import Engine
from proa.errors import Conflict, Invalid, ProaError, from_os_error
from proa.fs.atomicfile import save_file

_WARMUP = 1
_MOST_FAILURES = 3
"""In a row, after which a target is asked no more for a workload."""

_LONGEST_TURN_S = 120.0
"""What takes longer is left out, and the report says so."""

_FULL_DISK_MB = 2000
_TOOLS_IMAGE_S = 120.0
"""Downloading and unpacking the packages of the second image."""

_DISK_MB = 400
_SPARE_MEMORY_MB = 256

Notify = Callable[["Progress"], None]


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What is compared and how thoroughly.

    Attributes:
        targets: names; empty: all that are here.
        quick: a third of the samples.
        full: sysbench, fio, iperf3 and redis too, in an image of Debian packages.
        out: directory of the reports, made if missing.
        only: workloads to measure, empty for all.
    """

    targets: tuple[str, ...] = ()
    quick: bool = False
    full: bool = False
    out: str = "proa-compare"
    only: tuple[str, ...] = ()


class Progress(msgspec.Struct, frozen=True):
    """Where a comparison is.

    Attributes:
        text: what is being done, or was learned.
        share: of all turns that are done, 0 to 1.
        left_s: estimate of the time that is left.
    """

    text: str
    share: float = 0.0
    left_s: float = 0.0


class Needs(msgspec.Struct, frozen=True):
    """What a comparison will take at most, announced before it starts."""

    seconds: float
    memory_mb: int
    disk_mb: int


def compare(
    targets: Sequence[str] = (),
    *,
    quick: bool = False,
    full: bool = False,
    out: str = "proa-compare",
    root: str = "",
    run: str = "",
    only: Sequence[str] = (),
    notify: Notify | None = None,
) -> Report:
    """Measure and write ``report.json``, ``report.md`` and ``report.html``; see :class:`Options`.

    Args:
        targets, quick, full, out, only: see there.
        root, run: roots of the engine, empty for the user's own.
        notify: told of the progress.

    Raises:
        Invalid: an unknown target, or none that can be measured here.
        Conflict: the machine lacks the memory or the disk; ``out`` has another comparison.
    """
    options = Options(targets=tuple(targets), quick=quick, full=full, out=out, only=tuple(only))
    with Engine(root, run) as engine:
        return Session(engine, options, notify or _silent).run()


def _silent(_progress: Progress) -> None:
    """Nobody looks."""


class Session:
    """A comparison in the making."""

    def __init__(self, engine: Engine, options: Options, notify: Notify) -> None:
        self._engine = engine
        self._options = options
        self._notify = notify
        self._targets: list[Target] = []
        self._workloads: list[Workload] = []
        self._available_mb = machine.available_mb()
        self._done_s = 0.0
        self._begun = time.monotonic()
        self.report = Report()

    def run(self) -> Report:
        """Do all of it.

        Raises:
            ProaError: see :func:`compare`.
            KeyboardInterrupt: the user's; what was measured is in the report on disk.
        """
        try:
            os.makedirs(self._options.out, exist_ok=True)
        except OSError as error:
            raise from_os_error(error, f"cannot make the directory {self._options.out}") from error
        self._choose()
        self._resume_or_begin()
        needs = self.needs()
        self._check(needs)
        self._notify(
            Progress(
                f"takes about {needs.seconds / 60:.0f} min, up to {needs.memory_mb} MB of memory"
                f" and {needs.disk_mb} MB of disk",
                0.0,
                needs.seconds,
            )
        )
        try:
            self._open()
            for target in self._targets:
                self._gather(target)
            for workload in self._workloads:
                self._measure(workload)
            self.report.machine = msgspec.structs.replace(
                self.report.machine, accelerator=machine.find_accelerator(self._engine)
            )  # the first guest told
            self.report.complete = True
        finally:
            for target in self._targets:
                target.close()
            self.save()
        return self.report

    def needs(self) -> Needs:
        """Estimate what it takes."""
        seconds = sum(
            workload.seconds(target) * (workload.repeats(quick=self._options.quick) + _WARMUP)
            for workload in self._workloads
            for target in self._targets
            if self._fits(workload, target)
        )
        memory_mb = max(
            (
                workload.instances(target) * target.memory_mb
                for workload in self._workloads
                for target in self._targets
                if self._fits(workload, target)
            ),
            default=0,
        )
        if self._options.full:
            return Needs(seconds + _TOOLS_IMAGE_S, memory_mb, _FULL_DISK_MB)
        return Needs(seconds, memory_mb, _DISK_MB)

    def _fits(self, workload: Workload, target: Target) -> bool:
        return not self._excess(workload, target)

    def _excess(self, workload: Workload, target: Target) -> str:
        """Say why a workload is too much on a target; judged by what there was at the start."""
        needed_mb = workload.instances(target) * target.memory_mb
        if needed_mb + _SPARE_MEMORY_MB > self._available_mb:
            return f"needs {needed_mb / 1000:.1f} GB of memory"
        seconds = workload.seconds(target)
        if seconds > _LONGEST_TURN_S:
            return f"takes {seconds / 60:.0f} min a time"
        return ""

    def save(self) -> None:
        """Write the three reports.

        Raises:
            ProaError: one cannot be written.
        """
        from proa.compare.report.markdown import render as markdown
        from proa.compare.report.page import render as page

        out = self._options.out
        try:
            save_file(f"{out}/report.json", model.encode(self.report), mode=0o644, durable=False)
            save_file(f"{out}/report.md", markdown(self.report).encode(), mode=0o644, durable=False)
            save_file(f"{out}/report.html", page(self.report).encode(), mode=0o644, durable=False)
        except OSError as error:
            raise from_os_error(error, f"cannot write the reports into {out}") from error

    def _choose(self) -> None:
        every = plan(full=self._options.full)
        for name in self._options.only:
            if name not in [workload.name for workload in every]:
                names = ", ".join(workload.name for workload in every)
                raise Invalid(f"unknown workload '{name}'", f"use some of {names}")
        only = self._options.only
        self._workloads = [one for one in every if not only or one.name in only]
        roots = self._engine.roots
        wanted = self._options.targets or ORDER
        for name in wanted:
            if name not in ORDER:
                raise Invalid(f"unknown target '{name}'", f"use some of {', '.join(ORDER)}")
            target = make(name, self._engine, roots)
            reason = target.absent()
            if not reason:
                self._targets.append(target)
            elif self._options.targets:
                raise Invalid(f"cannot measure {target.title}: {reason}")
            else:
                self._notify(Progress(f"without {target.title}: {reason}"))
        if not self._targets:
            raise Invalid("nothing can be measured here")

    def _resume_or_begin(self) -> None:
        plan_now = {
            "targets": [target.name for target in self._targets],
            "quick": self._options.quick,
            "full": self._options.full,
            "only": list(self._options.only),
        }
        path = f"{self._options.out}/report.json"
        try:
            with open(path, "rb") as stream:
                earlier = model.decode(stream.read())
        except FileNotFoundError:
            earlier = None
        except msgspec.DecodeError as error:
            raise Conflict(
                f"{path} is no report of this version: {error}", "use another --out"
            ) from error
        if earlier is not None and not earlier.complete:
            if earlier.options != plan_now:
                raise Conflict(
                    f"{path} is of an unfinished comparison with other options",
                    "use another --out, or the same options to go on",
                )
            self.report = earlier
            self.report.rows = self._rows()  # a newer version may measure more
            self._notify(Progress("going on where an earlier comparison was interrupted"))
            return
        self.report = Report(
            started_at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            options=plan_now,
            machine=machine.describe(self._engine, self._engine.roots[0]),
            targets={target.name: target.title for target in self._targets},
            rows=self._rows(),
        )

    def _rows(self) -> list[Row]:
        return [row for workload in self._workloads for row in workload.rows]

    def _check(self, needs: Needs) -> None:
        space = os.statvfs(self._options.out)
        free = space.f_bavail * space.f_frsize // 1_000_000
        if free < needs.disk_mb:
            raise Conflict(
                f"this needs up to {needs.disk_mb} MB on disk and {free} MB are free",
                "make room, or use another --out",
            )

    def _open(self) -> None:
        """Make the image once and give it to every target."""
        self._notify(Progress("making the image"))
        with tempfile.TemporaryDirectory(prefix="proa-compare-", dir="/var/tmp") as directory:
            archive, rootfs = f"{directory}/image.tar", f"{directory}/rootfs.tar"
            write_rootfs(rootfs)
            image = self._engine.images.import_(rootfs, IMAGE)
            self.report.image = str(image.id)
            self._engine.images.save([IMAGE], archive)
            self._engine.images.remove(IMAGE)  # each target loads it, and says what that takes
            for target in self._targets:
                target.open(archive)
            if any(workload.name == tools.Tools.name for workload in self._workloads):
                self._open_tools(f"{directory}/tools.tar")

    def _open_tools(self, archive: str) -> None:
        self._notify(Progress("making an image of Debian packages"))
        place = f"{archive}.engine"  # the user's own may have another image of that name
        with Engine(f"{place}/root", f"{place}/run") as engine:
            engine.images.bootstrap(tools.BASE, include=tools.PACKAGES)
            engine.images.tag(tools.BASE, tools.REFERENCE)
            engine.images.save([tools.REFERENCE], archive)
        for target in self._targets:
            target.open(archive, tools.REFERENCE)

    def _gather(self, target: Target) -> None:
        if any(fact.target == target.name for fact in self.report.facts):
            return
        try:
            self.report.facts += gather(target)
        except CompareError as error:
            self._notify(Progress(f"{target.title}: {error}"))

    def _measure(self, workload: Workload) -> None:
        repeats = workload.repeats(quick=self._options.quick)
        owed = {target.name: self._owed(workload, target, repeats) for target in self._targets}
        for target in self._targets:
            if not self._fits(workload, target):
                owed[target.name] = 0
                self._leave_out(workload, target)
        for target in self._targets:
            if owed[target.name]:
                self._turn(workload, target, kept=False)
        for _ in range(repeats):
            for target in self._targets:
                if owed[target.name] <= 0 or self._gave_up(workload, target):
                    continue
                owed[target.name] -= 1
                self._turn(workload, target, kept=True)
                self.save()

    def _leave_out(self, workload: Workload, target: Target) -> None:
        reason = self._excess(workload, target)
        for row in workload.rows:
            self._series(row.key, target.name).absent = reason

    def _owed(self, workload: Workload, target: Target, repeats: int) -> int:
        series = self.report.find(workload.rows[0].key, target.name)
        return repeats - (len(series.samples) + len(series.failures) if series else 0)

    def _gave_up(self, workload: Workload, target: Target) -> bool:
        series = self.report.find(workload.rows[0].key, target.name)
        if series is None or series.samples:
            return False
        return bool(series.absent) or len(series.failures) >= _MOST_FAILURES

    def _turn(self, workload: Workload, target: Target, *, kept: bool) -> None:
        total_s = self.needs().seconds or 1.0
        share = min(self._done_s / total_s, 1.0)
        spent_s = time.monotonic() - self._begun
        left_s = spent_s * (1 - share) / share if share > 0.02 else total_s
        self._notify(Progress(f"{workload.name}: {target.title}", share, left_s))
        failure, samples = "", []
        try:
            samples = workload.measure(target)
        except Inapplicable as error:
            for row in workload.rows:
                self._series(row.key, target.name).absent = str(error)
        except (CompareError, ProaError) as error:
            failure = str(error)
        self._done_s += workload.seconds(target)
        if not kept:
            return
        for row in workload.rows:
            series = self._series(row.key, target.name)
            if failure:
                series.failures.append(failure)
        for sample in samples:
            series = self._series(sample.row, target.name)
            series.samples.append(round(sample.value, 6))
            for phase, value in sample.parts.items():
                series.parts.setdefault(phase, []).append(round(value, 6))

    def _series(self, row: str, target: str) -> Series:
        found = self.report.find(row, target)
        if found is None:
            found = Series(row=row, target=target)
            self.report.series.append(found)
        return found
