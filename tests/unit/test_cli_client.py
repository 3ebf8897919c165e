"""proa.cli.client: which commands run in their own process."""

from __future__ import annotations

import pytest

from proa.cli.client import command_of
from proa.cli.main import GLOBAL_FLAGS


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (["serve"], "serve"),
        (["--root", "/x", "serve", "-H", "unix:///y"], "serve"),
        (["--root=/x", "-D", "-l", "debug", "serve"], "serve"),
        (["run", "serve"], "run"),
        (["--debug"], ""),
        (["--root"], ""),
        ([], ""),
    ],
)
def test_the_command_behind_global_flags(words: list[str], command: str):
    assert command_of(words) == command


def test_every_global_flag_is_told_by_whether_it_takes_a_value():
    for flag in GLOBAL_FLAGS:
        takes_value = not flag.kind.implied and not flag.refusal
        words = [f"--{flag.name}", "value", "serve"]
        assert (command_of(words) == "serve") is takes_value, flag.name
