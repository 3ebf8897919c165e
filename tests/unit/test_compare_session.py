"""The order of turns, what becomes of failures and interruptions, what is refused."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from proa.compare import machine, model, session
from proa.compare.model import Machine, Report
from proa.compare.session import Options, Progress, Session
from proa.engine.facade import Engine
from proa.errors import Conflict, Invalid
from tests.support.comparing import FakeEngine, FakeTarget, FakeWorkload


class Bench:
    """Sessions over fake targets and workloads, in a directory of the test's own."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.out = str(directory / "out")
        self.log: list[str] = []
        self.targets = {name: FakeTarget(name, self.log) for name in ("host", "process")}
        self.workloads = [FakeWorkload("start"), FakeWorkload("files", times=2)]
        self.progress: list[Progress] = []
        self.engine = FakeEngine(str(directory))
        write: Callable[[str], Any] = lambda path: Path(path).write_bytes(b"rootfs")  # noqa: E731
        monkeypatch.setattr(session, "ORDER", tuple(self.targets))
        monkeypatch.setattr(session, "make", lambda name, *_: self.targets[name])
        monkeypatch.setattr(session, "plan", lambda **_: self.workloads)
        monkeypatch.setattr(session, "gather", lambda _target: [])
        monkeypatch.setattr(session, "write_rootfs", write)
        monkeypatch.setattr(machine, "describe", lambda *_: Machine(kernel="6.18"))
        monkeypatch.setattr(machine, "find_accelerator", lambda _engine: "TCG: no /dev/kvm")
        monkeypatch.setattr(machine, "available_mb", lambda: 4000)

    def run(self, **options: Any) -> Report:
        """One session with these options."""
        chosen = Options(out=self.out, **options)
        return Session(cast("Engine", self.engine), chosen, self.progress.append).run()

    def saved(self) -> Report:
        """The report on disk."""
        return model.decode(Path(self.out, "report.json").read_bytes())


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(tmp_path, monkeypatch)


def test_turns_are_interleaved_after_one_warm_up(bench: Bench) -> None:
    bench.run(only=("start",))
    assert bench.log == ["start:host", "start:process"] * 4


def test_samples_and_parts_are_kept_in_order_without_the_warm_up(bench: Bench) -> None:
    report = bench.run(only=("start",))
    one, two = report.find("start.one", "host"), report.find("start.two", "host")
    assert one is not None
    assert two is not None
    assert one.samples == [3.0, 5.0, 7.0]
    assert one.parts == {"phase": [0.5, 0.5, 0.5]}
    assert two.samples == [6.0, 10.0, 14.0]


def test_report_says_what_it_is_of(bench: Bench) -> None:
    bench.run(only=("start",), quick=True)
    report = bench.saved()
    assert report.complete
    assert report.image.startswith("sha256:")
    assert report.targets == {"host": "target host", "process": "target process"}
    assert report.options == {
        "targets": ["host", "process"], "quick": True, "full": False, "only": ["start"]
    }  # fmt: skip
    assert report.machine.kernel == "6.18"
    assert report.machine.accelerator == "TCG: no /dev/kvm"
    assert [row.key for row in report.rows] == ["start.one", "start.two"]
    assert sorted(os.listdir(bench.out)) == ["report.html", "report.json", "report.md"]


def test_every_target_gets_the_image_and_is_closed(bench: Bench) -> None:
    bench.run()
    for target in bench.targets.values():
        assert len(target.opened) == 1
        assert not os.path.exists(target.opened[0])
        assert target.closed == 1


def test_failures_count_as_turns_and_are_told(bench: Bench) -> None:
    bench.workloads[0].failing = {"process"}
    report = bench.run()
    failed = report.find("start.one", "process")
    assert failed is not None
    assert (failed.samples, failed.failures) == ([], ["it broke"] * 3)
    fine = report.find("start.one", "host")
    assert fine is not None
    assert len(fine.samples) == 3
    assert "3 failed" in Path(bench.out, "report.md").read_text()


def test_a_target_that_only_fails_is_given_up_for_that_workload(bench: Bench) -> None:
    bench.workloads[0].times = 9
    bench.workloads[0].failing = {"process"}
    report = bench.run()
    failed, other = report.find("start.one", "process"), report.find("files.one", "process")
    assert failed is not None
    assert other is not None
    assert len(failed.failures) == 3
    assert len(other.samples) == 2


class TestInterruption:
    def test_is_saved_cleaned_up_and_gone_on_with(self, bench: Bench) -> None:
        bench.workloads[0].interrupt_at = 6
        with pytest.raises(KeyboardInterrupt):
            bench.run()
        partial = bench.saved()
        assert not partial.complete
        first = partial.find("start.one", "host")
        assert first is not None
        assert first.samples == [3.0, 5.0]
        assert all(target.closed == 1 for target in bench.targets.values())
        assert "not finished" in Path(bench.out, "report.html").read_text()

        bench.workloads[0].interrupt_at = 0
        report = bench.run()
        assert report.complete
        assert report.started_at == partial.started_at
        for name in bench.targets:
            series = report.find("start.one", name)
            assert series is not None
            assert len(series.samples) == 3
        again = report.find("start.one", "host")
        assert again is not None
        assert again.samples[:2] == first.samples
        assert any("going on" in told.text for told in bench.progress)

    def test_with_other_options_is_refused(self, bench: Bench) -> None:
        bench.workloads[0].interrupt_at = 6
        with pytest.raises(KeyboardInterrupt):
            bench.run()
        before = bench.saved()
        with pytest.raises(Conflict, match="other options"):
            bench.run(quick=True)
        assert bench.saved() == before

    def test_a_complete_report_is_replaced(self, bench: Bench) -> None:
        bench.run()
        bench.workloads[0].turns = 100
        series = bench.run().find("start.one", "host")
        assert series is not None
        assert series.samples[0] > 100


def test_a_foreign_file_is_not_overwritten(bench: Bench) -> None:
    os.makedirs(bench.out)
    path = Path(bench.out, "report.json")
    path.write_text('{"mine": 1, "version": "x"}')
    with pytest.raises(Conflict, match="no report of this version"):
        bench.run()
    assert path.read_text() == '{"mine": 1, "version": "x"}'


def test_a_report_of_another_version_is_not_read() -> None:
    document = msgspec.json.encode(Report(version=99))
    with pytest.raises(msgspec.ValidationError, match="version 99"):
        model.decode(document)


class TestTargets:
    def test_unknown(self, bench: Bench) -> None:
        with pytest.raises(Invalid, match="unknown target 'lxc'"):
            bench.run(targets=("host", "lxc"))

    def test_asked_for_and_absent(self, bench: Bench) -> None:
        bench.targets["process"].reason = "no such engine"
        with pytest.raises(Invalid, match="cannot measure target process: no such engine"):
            bench.run(targets=("process",))

    def test_absent_by_default_is_told(self, bench: Bench) -> None:
        bench.targets["process"].reason = "no such engine"
        report = bench.run()
        assert list(report.targets) == ["host"]
        assert bench.progress[0].text == "without target process: no such engine"

    def test_none(self, bench: Bench) -> None:
        for target in bench.targets.values():
            target.reason = "no"
        with pytest.raises(Invalid, match="nothing can be measured"):
            bench.run()

    def test_unknown_workload(self, bench: Bench) -> None:
        with pytest.raises(Invalid, match="unknown workload 'disc'"):
            bench.run(only=("start", "disc"))


class TestNeeds:
    def test_are_announced_before_anything_is_done(self, bench: Bench) -> None:
        bench.targets["process"].memory_mb = 100
        bench.workloads[1].count = 5
        bench.run()
        told = bench.progress[0].text
        assert told == "takes about 14 min, up to 500 MB of memory and 400 MB of disk"

    def test_what_does_not_fit_into_memory_is_left_out_and_said(self, bench: Bench) -> None:
        bench.targets["process"].memory_mb = 1000
        bench.workloads[0].count = 50
        report = bench.run()
        left_out = report.find("start.one", "process")
        assert left_out is not None
        assert left_out.absent == "needs 50.0 GB of memory"
        assert "start:process" not in bench.log
        assert "up to 1000 MB of memory" in bench.progress[0].text
        assert "needs 50.0 GB of memory" in Path(bench.out, "report.md").read_text()

    def test_what_takes_too_long_is_left_out_and_said(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(bench.workloads[0], "seconds", lambda _target: 600.0)
        left_out = bench.run().find("start.two", "host")
        assert left_out is not None
        assert left_out.absent == "takes 10 min a time"

    def test_too_little_disk(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(session, "_DISK_MB", 10**9)
        with pytest.raises(Conflict, match="on disk"):
            bench.run()
        assert not bench.log


def test_progress_grows_to_the_whole_and_time_shrinks(bench: Bench) -> None:
    bench.run()
    shares = [told.share for told in bench.progress if ":" in told.text]
    assert shares == sorted(shares)
    assert 0.0 <= shares[0] < shares[-1] <= 1.0
    assert bench.progress[0].left_s == 14 * 60.0
