"""The words of ``proa compare``; the measuring is in its session's tests."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from proa.compare import model, session
from proa.compare.model import Report
from proa.compare.session import Options, Progress
from proa.errors import Conflict
from tests.support.cli import CapturedIO, proa
from tests.support.comparing import sample_report


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Options]:
    """Options of sessions, which end at once with the sample report."""
    found: list[Options] = []

    class Instant:
        def __init__(self, _engine: Any, options: Options, notify: session.Notify) -> None:
            found.append(options)
            self._notify = notify

        def run(self) -> Report:
            self._notify(Progress("start: vm isolation", 0.25, 30.0))
            self._notify(Progress("start: vm isolation", 0.5, 300.0))
            return sample_report()

    monkeypatch.setattr(session, "Session", Instant)
    return found


def test_options(asked: list[Options]) -> None:
    ended = proa(
        "compare", "--quick", "--targets", "host, vm,", "--only", "start,files", "--out", "there"
    )
    assert ended.code == 0, ended.stderr
    assert asked == [
        Options(
            targets=("host", "vm"), quick=True, out="/home/user/there", only=("start", "files")
        )
    ]  # fmt: skip


def test_full_and_defaults(asked: list[Options]) -> None:
    assert proa("compare", "--full").code == 0
    assert asked == [Options(full=True, out="/home/user/proa-compare")]


def test_shows_table_reading_and_place(asked: list[Options]) -> None:
    assert not asked
    ended = proa("compare")
    lines = ended.stdout.splitlines()
    assert lines[0].split() == [
        "UNIT", "BARE", "HOST", "PROCESS", "ISOLATION", "VM", "ISOLATION"
    ]  # fmt: skip
    assert lines[1].startswith("Start, whole")
    assert "13 (p95 13.9)" in lines[1]
    assert "A kernel of its own costs 100 times the start" in ended.stdout
    assert lines[-1] == "/home/user/proa-compare/report.html"
    assert ended.stderr == "start: vm isolation\n"


def test_progress_on_a_terminal_is_one_line(asked: list[Options]) -> None:
    assert not asked
    io = CapturedIO(terminals=(2,))
    ended = proa("compare", io=io)
    assert "\n" not in ended.stderr
    assert " 25 %  start: vm isolation  (30 s left)" in ended.stderr
    assert " 50 %  start: vm isolation  (5 min left)" in ended.stderr
    assert ended.stderr.endswith("\r\x1b[K")


@pytest.mark.parametrize("words", [("host",), ("diff",), ("diff", "a"), ("diff", "a", "b", "c")])
def test_other_words_are_refused(asked: list[Options], words: tuple[str, ...]) -> None:
    ended = proa("compare", *words)
    assert ended.code != 0
    assert ended.stderr
    assert not asked


def test_a_refusal_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> Any:
        raise Conflict("this needs up to 9 MB on disk and 1 MB are free", "make room")

    monkeypatch.setattr(session, "Session", refuse)
    ended = proa("compare")
    assert ended.code == 1
    assert "9 MB on disk" in ended.stderr
    assert "make room" in ended.stderr


class TestDiff:
    def test_shows_what_changed(self, tmp_path: Path) -> None:
        before, after = sample_report(), sample_report()
        series = after.find("start.whole", "process")
        assert series is not None
        series.samples = [24.0, 26.0, 28.0]
        for name, report in (("a", before), ("b", after)):
            (tmp_path / name).write_bytes(model.encode(report))
        ended = proa("compare", "diff", str(tmp_path / "a"), str(tmp_path / "b"))
        assert ended.code == 0
        lines = [line.split() for line in ended.stdout.splitlines()]
        assert lines[0] == ["UNIT", "TARGET", "BEFORE", "AFTER", "RATIO"]
        assert [
            "Start,", "whole", "ms", "process", "isolation", "13", "26", "2.00", "*"
        ] in lines  # fmt: skip
        assert ["Start,", "whole", "ms", "vm", "isolation", "1,300", "1,300", "1.00"] in lines

    def test_a_missing_report(self, tmp_path: Path) -> None:
        ended = proa("compare", "diff", str(tmp_path / "a"), str(tmp_path / "b"))
        assert ended.code == 1
        assert os.fspath(tmp_path / "a") in ended.stderr

    def test_something_else(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_text("no JSON")
        ended = proa("compare", "diff", str(tmp_path / "a"), str(tmp_path / "a"))
        assert ended.code == 1
        assert "is no report of proa compare" in ended.stderr

    def test_nothing_in_common(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_bytes(model.encode(sample_report(series=[])))
        ended = proa("compare", "diff", str(tmp_path / "a"), str(tmp_path / "a"))
        assert ended.code == 1
        assert "no row of a target in common" in ended.stderr
