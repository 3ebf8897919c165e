"""What the reports say and draw, computed from figures; hostile text stays text."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from proa.compare import model
from proa.compare.diff import compare_reports
from proa.compare.model import ERROR, Fact, Report, Row, Series
from proa.compare.report import charts, markdown, page
from proa.compare.report.tables import cell, classic, format_figure, noise_of, reading
from tests.support.comparing import CALL, MEMORY, START, sample_report

SCHEMA = Path(__file__).parents[2] / "docs" / "reference" / "compare-report.schema.json"
HOSTILE = "<script>alert(1)</script>\"'&|"


def with_memory(value: float, error: float) -> Report:
    """The sample report, vm's memory replaced."""
    report = sample_report()
    series = report.find("memory.available", "vm")
    assert series is not None
    series.samples, series.parts = [value], {ERROR: [error]}
    return report


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"), (0.001234, "0.00123"), (1.0, "1"), (12.345, "12.3"), (99.96, "100"),
        (1234.5, "1,234"), (float("nan"), "—"),
    ],
)  # fmt: skip
def test_figures_have_three_digits(value: float, text: str) -> None:
    assert format_figure(value) == text


class TestCells:
    def test_median_and_p95(self) -> None:
        assert cell(sample_report(), START, "process") == "13 (p95 13.9)"

    def test_one_sample_has_no_p95(self) -> None:
        assert cell(sample_report(), CALL, "vm") == "5"

    def test_failures_are_counted(self) -> None:
        report = sample_report()
        series = report.find("start.whole", "vm")
        assert series is not None
        series.failures = ["x", "y"]
        assert cell(report, START, "vm").endswith(", 2 failed")

    def test_missing_and_absent(self) -> None:
        absent = Series(row="start.whole", target="vm", absent="no KVM")
        report = sample_report(series=[absent])
        assert cell(report, START, "vm") == "no KVM"
        assert cell(report, START, "host") == "—"

    @pytest.mark.parametrize("value", [-3.0, 0.0, 1.9])
    def test_a_slope_within_noise_is_no_figure(self, value: float) -> None:
        report = with_memory(value, 1.0)
        assert cell(report, MEMORY, "vm") == "within noise (± 2)"
        assert not any("MB an idle instance" in line for line in reading(report) if "vm" in line)
        assert dict(classic(report))["Memory of an instance"]["vm"] == "under 2 MB"
        assert "times the memory" not in reading(report)[-1]

    def test_a_slope_above_noise_is(self) -> None:
        report = with_memory(2.1, 1.0)
        series = report.find("memory.available", "vm")
        assert series is not None
        assert noise_of(series) == 0.0
        assert cell(report, MEMORY, "vm") == "2.1"


class TestReading:
    def test_is_computed_from_the_figures(self) -> None:
        assert reading(sample_report()) == [
            (
                "On this machine process isolation starts in 13 ms, 10 ms more than a bare process;"
                " takes 0.5 MB an idle instance; a system call takes 1.2 times the host's time;"
                " plain computing runs at 99 % of the host's speed."
            ),
            (
                "On this machine vm isolation starts in 1,300 ms, 1,297 ms more than a bare"
                " process; takes 100 MB an idle instance; a system call takes 10 times the host's"
                " time; plain computing runs at 10 % of the host's speed."
            ),
            (
                "A kernel of its own costs 100 times the start and 200 times the memory of process"
                " isolation."
            ),
        ]

    def test_says_nothing_of_what_was_not_measured(self) -> None:
        report = sample_report()
        report.series = [one for one in report.series if one.row == "cpu.hash"]
        assert reading(report) == [
            "On this machine process isolation plain computing runs at 99 % of the host's speed.",
            "On this machine vm isolation plain computing runs at 10 % of the host's speed.",
        ]

    def test_is_empty_without_figures(self) -> None:
        assert reading(sample_report(series=[])) == []


def test_classic_table_is_filled_with_what_was_measured() -> None:
    table = dict(classic(sample_report()))
    assert table["Start"] == {"host": "3 ms", "process": "13 ms", "vm": "1,300 ms"}
    assert table["Memory of an instance"]["vm"] == "100 MB"
    assert table["System call"]["vm"] == "5 µs"
    assert table["Kernel"] == {"host": "—", "process": "—", "vm": "own, 6.1"}
    assert table["System call filter"]["process"] == "filter"


def test_classic_table_has_no_empty_rows() -> None:
    assert "File writing" not in dict(classic(sample_report()))
    assert classic(sample_report(series=[], facts=[])) == []


def test_classic_table_says_what_failed_was_left_out_and_fits() -> None:
    report = sample_report()
    report.series.append(Series(row="start.http", target="vm", failures=["x"]))
    report.series.append(Series(row="start.http", target="host", absent="needs 9 GB of memory"))
    table = dict(classic(report))
    assert table["Start to the first HTTP 200"] == {
        "host": "needs 9 GB of memory", "process": "—", "vm": "failed"
    }  # fmt: skip
    assert table["Instances a GB, computed from it"] == {
        "host": "5,000", "process": "2,000", "vm": "10"
    }  # fmt: skip


class TestCharts:
    def test_a_bar_is_as_long_as_its_median(self) -> None:
        report = sample_report()
        report.series = [one for one in report.series if one.target != "vm"]
        drawn = charts.bars(report, CALL)
        widths = [part.split('"')[0] for part in drawn.split(' width="')[1:]]
        assert float(widths[0]) / float(widths[1]) == pytest.approx(0.5 / 0.6, abs=0.01)

    def test_decades_apart_are_logarithmic_and_it_is_said(self) -> None:
        report = sample_report()
        assert charts.is_logarithmic(report, START)
        assert "logarithmic" in page.render(report)
        report.series = [one for one in report.series if one.target != "vm"]
        assert not charts.is_logarithmic(report, START)

    def test_every_sample_is_a_dot(self) -> None:
        assert charts.bars(sample_report(), START).count("<circle") == 9

    def test_what_was_left_out_is_said(self) -> None:
        report = sample_report()
        report.series = [one for one in report.series if one.target != "vm"]
        report.series.append(Series(row="cpu.hash", target="vm", absent="takes 9 min a time"))
        drawn = charts.bars(report, report.get_row("cpu.hash"))
        assert "vm isolation: takes 9 min a time" in drawn

    def test_a_target_keeps_its_colour(self) -> None:
        report = sample_report(targets={"vm": "vm isolation"})
        assert "--t2" in charts.bars(report, CALL)
        assert "--t2" in page.render(report).split("<div class=tiles>")[1].split("</div>")[0]

    def test_phases_are_stacked_and_named(self) -> None:
        drawn = charts.phases(sample_report(), START)
        assert "to first output: 9.75 ms" in drawn
        assert "to exit: 3.25 ms" in drawn

    def test_nothing_is_drawn_without_samples(self) -> None:
        report = sample_report(series=[])
        assert charts.bars(report, START) == ""
        assert charts.phases(report, START) == ""

    def test_a_chart_of_nothing_but_noise(self) -> None:
        report = with_memory(-5.0, 10.0)
        report.series = [one for one in report.series if one.target == "vm"]
        assert "within noise" in charts.bars(report, MEMORY)

    def test_slopes_below_zero_do_not_break_a_chart(self) -> None:
        report = with_memory(-5.0, 10.0)
        assert "within noise" in charts.bars(report, MEMORY)


class TestPage:
    def test_needs_no_network(self) -> None:
        drawn = page.render(sample_report())
        assert "http" not in drawn.replace("http-equiv", "")
        assert "src=" not in drawn
        assert "<link" not in drawn
        assert "@import" not in drawn

    def test_hostile_text_stays_text(self) -> None:
        row = Row(
            key="start.whole", title=HOSTILE, definition=HOSTILE, unit="ms", phases=(HOSTILE,)
        )
        report = sample_report(
            rows=[row],
            targets={"vm": HOSTILE},
            facts=[Fact(key=HOSTILE, title=HOSTILE, target="vm", value=HOSTILE)],
            machine=model.Machine(
                kernel=HOSTILE, processor=HOSTILE, mitigations={HOSTILE: HOSTILE}
            ),
            started_at=HOSTILE,
            series=[
                Series(row="start.whole", target="vm", samples=[1.0], parts={HOSTILE: [1.0]},
                       failures=[HOSTILE])
            ],
        )  # fmt: skip
        drawn = page.render(report)
        assert "<script" not in drawn
        assert HOSTILE not in drawn
        assert "&lt;script&gt;" in drawn

    def test_has_dark_print_and_narrow_forms(self) -> None:
        drawn = page.render(sample_report())
        for condition in ("prefers-color-scheme:dark", "@media print", "max-width"):
            assert condition in drawn

    def test_says_what_failed(self) -> None:
        report = sample_report()
        series = report.find("start.whole", "vm")
        assert series is not None
        series.failures = ["exit code 125: no room"]
        assert "exit code 125: no room" in page.render(report)
        assert "exit code 125: no room" in markdown.render(report)


def test_markdown_tables_are_whole() -> None:
    report = sample_report(targets={"vm": "a|b"})
    rows = [line for line in markdown.render(report).splitlines() if line.startswith("|")]
    columns = {line.replace("\\|", "").count("|") for line in rows}
    assert columns == {3, 4}


class TestDiff:
    def test_medians_and_their_ratio(self) -> None:
        before, after = sample_report(), sample_report()
        series = after.find("start.whole", "process")
        assert series is not None
        series.samples = [24.0, 26.0, 28.0]
        changes = {
            (change.row.key, change.target): change for change in compare_reports(before, after)
        }
        changed = changes["start.whole", "process"]
        assert (changed.before, changed.after, changed.ratio) == (13.0, 26.0, 2.0)
        assert changed.apart
        assert not changes["start.whole", "vm"].apart

    def test_only_what_both_have(self) -> None:
        before, after = sample_report(), sample_report(targets={"vm": "vm"})
        before.series = [one for one in before.series if one.row == "cpu.hash"]
        found = [(change.row.key, change.target) for change in compare_reports(before, after)]
        assert found == [("cpu.hash", "vm")]


class TestDocument:
    def test_comes_back_as_it_was(self) -> None:
        report = sample_report()
        assert model.decode(model.encode(report)) == report

    def test_has_every_sample(self) -> None:
        plain = json.loads(model.encode(sample_report()))
        assert plain["series"][0]["samples"] == [2.0, 3.0, 4.0]

    def test_published_schema_is_the_current_one(self) -> None:
        """Rewrite it with ``python tools/write_compare_schema.py``."""
        assert json.loads(SCHEMA.read_bytes()) == json.loads(msgspec.json.encode(model.schema()))
