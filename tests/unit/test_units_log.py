"""proa.log: diagnostics of the engine."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from proa import log


@pytest.fixture(autouse=True)
def _off_again() -> Iterator[None]:
    yield
    log.disable()


def test_nothing_is_written_unless_enabled(capfd: pytest.CaptureFixture[str]) -> None:
    log.debug("runtime.launch", step="mount")
    assert capfd.readouterr() == ("", "")
    assert not log.is_enabled()


def test_an_event_is_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    log.enable()
    log.debug("runtime.launch", step="pivot_root", us=99)
    line = capfd.readouterr().err
    assert line.endswith(" runtime.launch step=pivot_root us=99\n")
    assert " debug pid=" in line


def test_hostile_values_cannot_forge_a_line(tmp_path: Path) -> None:
    path = tmp_path / "debug.log"
    log.enable(str(path))
    log.warning("image.label", value='x" y=1\n2026 debug forged \x1b[31m', surrogate="\udcff")
    text = path.read_text()
    assert text.count("\n") == 1
    assert "\x1b" not in text
    assert r'value="x\" y=1\n2026 debug forged \u001b[31m"' in text
    assert path.stat().st_mode & 0o777 == 0o600


def test_events_reach_a_programs_logging(caplog: pytest.LogCaptureFixture) -> None:
    log.use_logging()
    with caplog.at_level(logging.DEBUG, "proa"):
        log.debug("engine.start", id="abc")
    assert caplog.messages == ["engine.start id=abc"]


def test_a_full_disk_does_not_matter() -> None:
    with open("/dev/full", "wb", buffering=0) as full:
        log.enable(full.fileno())
        log.debug("engine.start")


def test_importing_the_module_is_cheap() -> None:
    code = (
        "import sys; before = set(sys.modules); import proa.log; print(*set(sys.modules) - before)"
    )
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    assert not {"logging", "json", "datetime"} & set(loaded)
