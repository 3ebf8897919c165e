"""docs/reference/cli.md says what the parsers accept."""

from __future__ import annotations

import os
import runpy

import pytest

from proa.cli import registry
from proa.cli.help import is_shown

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
SCRIPT = os.path.join(ROOT, "scripts", "write_cli_reference.py")


@pytest.fixture(scope="module")
def written() -> str:
    with open(os.path.join(ROOT, "docs", "reference", "cli.md"), encoding="utf-8") as file:
        return file.read()


def test_the_reference_is_current(written: str) -> None:
    assert written == runpy.run_path(SCRIPT)["reference"](), (
        "run .venv/bin/python scripts/write_cli_reference.py"
    )


@pytest.mark.parametrize("words", sorted(registry.COMMANDS))
def test_every_command_and_flag_is_in_it(words: str, written: str) -> None:
    _, _, section = written.partition(f"### proa {words}\n")
    section, _, _ = section.partition("\n### ")
    assert section
    for flag in registry.load(words).COMMAND.flags:
        assert (f"`--{flag.name}`" in section) is (is_shown(flag) or bool(flag.refusal))
