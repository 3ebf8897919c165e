"""The test support itself: promises, probes, leak snapshots, terminals."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import leaks, requires
from tests.support.terminal import Terminal

ROOT = str(Path(__file__).parents[2])


def test_promises_are_split_and_ci_expands() -> None:
    assert requires.promised("root, userns,") == {"root", "userns"}
    assert requires.promised("ci,qemu") == {*requires.CI_PROMISES, "qemu"}


def test_a_program_is_a_capability() -> None:
    assert requires.missing("sh") == ""
    assert "no-such-program" in requires.missing("no-such-program")


def test_an_unknown_controller_is_absent() -> None:
    assert "frobnicate" in requires.missing("cgroup:frobnicate")


def test_only_absent_capabilities_are_reported() -> None:
    assert list(requires.absent(["sh", "no-such-program"])) == ["no-such-program"]


def test_a_leaked_descriptor_is_found_and_named(tmp_path: Path) -> None:
    before = leaks.take()
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        assert f"descriptor {fd} -> {tmp_path}" in leaks.settle(before, timeout_s=0)
    finally:
        os.close(fd)
    assert not [line for line in leaks.settle(before, timeout_s=0) if "descriptor" in line]


def test_a_leaked_child_is_found() -> None:
    before = leaks.take()
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    try:
        assert any(f"child {pid} " in line for line in leaks.settle(before, timeout_s=0))
    finally:
        os.waitpid(pid, 0)


def test_a_terminal_is_a_terminal() -> None:
    code = "import os,sys; s = os.get_terminal_size(); print(s.lines, s.columns); sys.exit(7)"
    with Terminal([sys.executable, "-I", "-S", "-c", code], rows=11, columns=42) as terminal:
        terminal.expect(r"11 42\r\n")
        assert terminal.wait() == 7


def test_a_terminal_passes_control_c() -> None:
    code = (
        "try:\n print('ready', flush=True)\n input()\nexcept KeyboardInterrupt:\n print('caught')"
    )
    with Terminal([sys.executable, "-I", "-S", "-c", code]) as terminal:
        terminal.expect("ready")
        terminal.type("\x03")
        terminal.expect("caught")
        assert terminal.wait() == 0


@pytest.mark.parametrize(
    ("promises", "outcome"), [("", "1 skipped"), ("no-such-program", "1 error")]
)
def test_a_missing_capability_skips_unless_promised(
    tmp_path: Path, promises: str, outcome: str
) -> None:
    (tmp_path / "test_needy.py").write_text(
        "import pytest\n\n@pytest.mark.requires('no-such-program')\ndef test_it(): pass\n"
    )
    plugins = ("-p", "tests.conftest", "-p", "no:cacheprovider")
    config = ("-c", f"{ROOT}/pyproject.toml", "--rootdir", ROOT)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *config, *plugins, str(tmp_path)],
        env={**os.environ, "PROA_TEST_PROMISES": promises},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome in done.stdout.splitlines()[-1]
    assert "no program named no-such-program on PATH" in done.stdout
