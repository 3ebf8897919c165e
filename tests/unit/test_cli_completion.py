"""Completion answers, the scripts that ask for them, and the manual pages."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from proa.cli import registry
from proa.cli.help import is_shown
from proa.cli.main import GLOBAL_FLAGS
from proa.cli.shells.completion import BASH
from proa.cli.shells.manual import command_page, pages
from proa.errors import Forbidden
from tests.support.cli import proa

CONTAINERS = [
    SimpleNamespace(
        name=name,
        state=SimpleNamespace(status="running"),
        config=SimpleNamespace(image="busybox"),
    )
    for name in ("web", "worker", "db")
]
IMAGES = [SimpleNamespace(references=("docker.io/library/busybox:latest",))]
ANSWERS: dict[str, Any] = {
    "containers__list": CONTAINERS,
    "images__list": IMAGES,
    "volumes__list": [SimpleNamespace(name="data", anonymous=False)],
    "networks__list": [SimpleNamespace(name="front", driver="bridge")],
}


def answer(*words: str, **answers: Any) -> list[str]:
    ended = proa("completion", "--answer", "--", *words, **{**ANSWERS, **answers})
    assert (ended.code, ended.stderr) == (0, "")
    return [line.partition("\t")[0] for line in ended.stdout.splitlines()]


class TestWords:
    def test_commands(self) -> None:
        found = answer("")
        assert {"run", "ps", "container", "image", "login", "completion"} <= set(found)
        assert answer("rest") == ["restart"]
        assert answer("--ro") == ["--root"]

    def test_verbs(self) -> None:
        assert "prune" in answer("container", "")
        assert answer("container", "pr") == ["prune"]
        assert answer("nonsense", "") == []

    def test_behind_global_flags(self) -> None:
        assert answer("--root", "/x", "-D", "rena") == ["rename"]
        assert answer("--root", "") == []

    def test_flags(self) -> None:
        assert answer("run", "--health-ret") == ["--health-retries"]
        assert "--help" in answer("ps", "-")
        assert "--cpu-count" not in answer("run", "--cpu")

    @pytest.mark.parametrize("words", [("--restart", "un"), ("--restart=un",)])
    def test_values_of_flags(self, words: tuple[str, ...]) -> None:
        (found,) = answer("run", *words)
        assert found.endswith("unless-stopped")

    def test_names_of_objects(self) -> None:
        assert answer("stop", "w") == ["web", "worker"]
        assert answer("stop", "web", "") == ["web", "worker", "db"]
        assert answer("run", "-d", "--name", "x", "b") == ["busybox:latest"]
        assert answer("run", "--network", "f") == ["front"]
        assert answer("volume", "rm", "") == ["data"]
        assert answer("exec", "-it", "") == ["web", "worker", "db"]

    def test_files(self) -> None:
        assert answer("run", "--env-file", "") == [":files"]
        assert answer("load", "-i", "x") == [":files"]
        assert answer("run", "busybox", "l") == [":files"]
        assert answer("cp", "w") == [":files", "web", "worker"]

    def test_a_flag_with_any_value(self) -> None:
        assert answer("run", "--name", "") == []

    def test_a_failing_engine_is_no_failure(self) -> None:
        assert answer("stop", "", containers__list=Forbidden("no")) == []

    def test_meanings(self) -> None:
        ended = proa("completion", "--answer", "--", "stop", "db", **ANSWERS)
        assert ended.stdout == "db\trunning, busybox\n"


class TestScripts:
    @pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
    def test_they_ask(self, shell: str) -> None:
        ended = proa("completion", shell)
        assert ended.code == 0
        assert "completion --answer --" in ended.stdout

    @pytest.mark.parametrize("words", [(), ("tcsh",), ("bash", "zsh")])
    def test_others(self, words: tuple[str, ...]) -> None:
        ended = proa("completion", *words)
        assert ended.code == 1
        assert "use bash, zsh or fish" in ended.stderr

    @pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
    @pytest.mark.parametrize(
        ("line", "replies"),
        [
            ("proa resta", ["restart"]),
            ("proa container pr", ["prune"]),
            ("proa run --restart=un", ["unless-stopped"]),
            ("proa completion z", ["zsh"]),
            ("proa load -i he", ["here"]),
        ],
    )
    def test_bash(self, line: str, replies: list[str], tmp_path: Path) -> None:
        program = tmp_path / "proa"
        start = "from proa.cli.client import main; main()"
        program.write_text(f"#!/bin/sh\nPROA_ZYGOTE=0 exec {sys.executable} -c '{start}' \"$@\"\n")
        program.chmod(0o755)
        (tmp_path / "here").touch()
        script = (
            f"{BASH}\nCOMP_LINE='{line}'; COMP_POINT=${{#COMP_LINE}}; COMP_WORDBREAKS=' =:'\n"
            'compopt() { :; }; _proa; printf "%s\\n" "${COMPREPLY[@]}"'
        )
        env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
        done = subprocess.run(
            ["bash", "--norc", "-c", script], capture_output=True, text=True, env=env, check=True,
            cwd=tmp_path,
        )  # fmt: skip
        assert set(replies) <= set(done.stdout.split()), done.stderr


class TestManual:
    def test_a_page_for_each_command(self) -> None:
        names = [name for name, _ in pages(GLOBAL_FLAGS)]
        assert len(names) == len(registry.COMMANDS) + 1
        assert "proa-container-run.1" in names

    def test_every_flag_is_there(self) -> None:
        for words in registry.COMMANDS:
            text = command_page(words)
            for flag in registry.load(words).COMMAND.flags:
                shown = flag.name.replace("-", r"\-")
                assert (rf"\-\-{shown}" in text) or not is_shown(flag)

    @pytest.mark.skipif(shutil.which("groff") is None, reason="no groff")
    def test_groff_has_nothing_to_say(self, tmp_path: Path) -> None:
        for name, text in pages(GLOBAL_FLAGS):
            (tmp_path / name).write_text(text)
        done = subprocess.run(
            ["groff", "-man", "-ww", "-z", "-T", "utf8", *sorted(map(str, tmp_path.iterdir()))],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")
