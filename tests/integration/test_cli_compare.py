"""One short comparison on an empty root: its reports, and that it leaves nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.support.engines import Proa

pytestmark = pytest.mark.requires("root", "userns", "overlay", "busybox")

_TIMEOUT_S = 240.0


def test_host_and_process(fresh_proa: Proa, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shown = fresh_proa.ok(
        "compare", "--quick", "--targets", "host,process", "--only", "start,processor",
        "--out", str(out), timeout_s=_TIMEOUT_S,
    )  # fmt: skip

    report = json.loads((out / "report.json").read_bytes())
    assert report["complete"]
    assert report["targets"] == {"host": "bare host", "process": "process isolation"}
    series = {(one["row"], one["target"]): one for one in report["series"]}
    assert not any(one.get("failures") for one in series.values())
    for target in report["targets"]:
        start = series["start.whole", target]
        assert len(start["samples"]) == 10
        for whole, *parts in zip(start["samples"], *start["parts"].values(), strict=True):
            assert 0 < sum(parts) == pytest.approx(whole, abs=1e-3)
        assert (min(start["parts"]["to created"]) > 0) == (target == "process")
        for row in ("cpu.syscall", "cpu.process", "cpu.memory", "cpu.hash"):
            assert len(series[row, target]["samples"]) == 3
            assert min(series[row, target]["samples"]) > 0

    facts = {(one["key"], one["target"]): one["value"] for one in report["facts"]}
    release = os.uname().release
    assert facts["isolation.kernel", "process"] == f"shared with the host, {release}"
    assert facts["isolation.seccomp", "process"] == "filter"
    assert facts["isolation.userns", "host"] == "yes"
    assert facts["isolation.userns", "process"] == "no"
    assert report["machine"]["kernel"] == release
    assert report["machine"]["filesystem"]
    assert report["machine"]["accelerator"]

    assert "process isolation starts in" in shown
    assert shown.splitlines()[-1] == f"{out}/report.html"
    assert "<svg" in (out / "report.html").read_text()
    assert "| Start, whole | ms |" in (out / "report.md").read_text()

    assert fresh_proa.ok("images", "-q") == ""
    assert fresh_proa.containers() == []
    assert sorted(os.listdir(out)) == ["report.html", "report.json", "report.md"]


def test_unknown_target(fresh_proa: Proa, tmp_path: Path) -> None:
    ended = fresh_proa("compare", "--targets", "moon", "--out", str(tmp_path / "out"))
    assert ended.code == 1
    assert "unknown target 'moon'" in ended.stderr


def test_interrupted_and_gone_on_with(fresh_proa: Proa, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ("compare", "--quick", "--targets", "process", "--only", "start", "--out", str(out))
    with fresh_proa.spawn(*words) as running:
        assert running.stderr is not None
        for line in running.stderr:
            if line == b"start: process isolation\n":
                break
        _await_samples(out / "report.json", running)
        running.send_signal(signal.SIGINT)
        running.communicate(timeout=_TIMEOUT_S)
        assert running.returncode == 130

    partial = json.loads((out / "report.json").read_bytes())
    assert not partial["complete"]
    taken = partial["series"][0]["samples"]
    assert 0 < len(taken) < 10
    assert fresh_proa.ok("images", "-q") == ""
    assert fresh_proa.containers() == []

    fresh_proa.ok(*words, timeout_s=_TIMEOUT_S)
    report = json.loads((out / "report.json").read_bytes())
    assert report["complete"]
    assert report["series"][0]["samples"][: len(taken)] == taken
    assert len(report["series"][0]["samples"]) == 10


def _await_samples(path: Path, running: subprocess.Popen[bytes]) -> None:
    """Wait for the first report that has a sample."""
    deadline = time.monotonic() + _TIMEOUT_S
    while time.monotonic() < deadline and running.poll() is None:
        try:
            if json.loads(path.read_bytes())["series"]:
                return
        except FileNotFoundError:
            pass
        time.sleep(0.005)  # a file on disk has no event to wait for here
    raise AssertionError("no sample was taken")
