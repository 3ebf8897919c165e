"""Finding the command, help, exit codes, and what a failure looks like."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

from proa import errors, log
from proa.cli import help as texts
from proa.cli import registry
from proa.cli.io import IO
from proa.cli.main import EXIT_BROKEN_PIPE, EXIT_INTERRUPTED, GLOBAL_FLAGS
from tests.support.cli import CapturedIO, proa

ALL_COMMANDS = sorted(registry.COMMANDS)


class TestWords:
    def test_no_words_is_help(self) -> None:
        ended = proa()
        assert ended.code == 0
        assert ended.stdout.startswith("Usage:  proa [OPTIONS] COMMAND\n")
        assert ended.stdout == proa("--help").stdout == proa("help").stdout

    def test_version(self) -> None:
        for words in (["--version"], ["-v"]):
            ended = proa(*words)
            assert (ended.code, ended.stdout) == (0, "Proa version 0.1.0\n")

    def test_unknown_command(self) -> None:
        ended = proa("frobnicate")
        assert ended.code == 1
        assert ended.stderr == (
            "proa: unknown command: proa frobnicate\n\nRun 'proa --help' for more information\n"
        )

    @pytest.mark.parametrize(
        ("words", "near"),
        [
            (["pss"], "proa ps"),
            (["imgaes"], "proa images"),
            (["rn"], "proa run"),
            (["container", "startt"], "proa container start"),
            (["image", "lss"], "proa image ls"),
        ],
    )
    def test_near_miss(self, words: list[str], near: str) -> None:
        ended = proa(*words)
        assert ended.code == 1
        assert f"Did you mean '{near}'?" in ended.stderr

    @pytest.mark.parametrize("word", sorted({**registry.NOT_BUILT, **registry.NOT_HERE}))
    def test_dockers_words_are_answered(self, word: str) -> None:
        ended = proa(word, "ls")
        assert ended.code == 1
        why = "not part of Proa" if word in registry.NOT_HERE else "not built yet"
        assert ended.stderr.startswith(f"proa: 'proa {word}' is {why}: ")

    def test_dockers_words_behind_a_noun(self) -> None:
        assert "'proa system checkpoint' is not part of" in proa("system", "checkpoint").stderr

    def test_what_is_built_elsewhere(self) -> None:
        """``proa volume prune`` exists, ``proa prune`` does not."""
        assert proa("volume", "prune", "--help").code == 0
        assert proa("prune").code == 1

    def test_what_is_built_is_not_refused(self) -> None:
        built = {*registry.COMMANDS, *registry.SYNONYMS, *registry.NOUNS}
        assert not built & {**registry.NOT_BUILT, **registry.NOT_HERE}.keys()

    def test_unknown_global_flag(self) -> None:
        ended = proa("--foo", "ps")
        assert ended.code == 125
        assert ended.stderr == (
            "unknown flag: --foo\n\nUsage:  proa [OPTIONS] COMMAND [ARG...]\n\n"
            "Run 'proa --help' for more information\n"
        )

    def test_there_is_no_daemon_to_connect_to(self) -> None:
        ended = proa("-H", "unix:///x", "ps")
        assert ended.code == 125
        assert "Proa needs no daemon" in ended.stderr

    def test_log_level(self) -> None:
        ended = proa("--log-level", "loud", "ps")
        assert (ended.code, ended.stderr) == (1, "proa: unable to parse logging level: loud\n")

    def test_flags_of_a_command_are_not_global(self) -> None:
        assert proa("ps", "--root", "/x").code == 125


class TestRoots:
    @pytest.mark.parametrize(
        ("words", "env", "roots"),
        [
            ([], {}, ("", "")),
            ([], {"PROA_ROOT": "/e", "PROA_RUN": "/r"}, ("/e", "/r")),
            (["--root", "/w", "--run-root=/v"], {"PROA_ROOT": "/e"}, ("/w", "/v")),
        ],
    )
    def test_flags_before_environment(
        self, words: list[str], env: dict[str, str], roots: tuple[str, str]
    ) -> None:
        ended = proa(*words, "ps", io=CapturedIO(env=env), containers__list=[])
        assert ended.engine.roots == roots

    def test_relative_roots_are_the_users(self) -> None:
        ended = proa("--root", "state", "ps", io=CapturedIO(cwd="/srv"), containers__list=[])
        assert ended.engine.roots == ("/srv/state", "")


class TestFailures:
    @pytest.mark.parametrize(
        ("error", "code"),
        [
            (errors.CommandNotFound("no such command: x"), 127),
            (errors.CommandNotExecutable("cannot execute: x"), 126),
            (errors.NotFound("no such image: x"), 125),
            (errors.Conflict("name in use"), 125),
            (errors.Internal("?"), 125),
            (RuntimeError("?"), 125),
        ],
    )
    def test_exit_codes_of_run(self, error: Exception, code: int) -> None:
        assert proa("run", "-d", "img", containers__run=error).code == code

    @pytest.mark.parametrize(
        "error", [errors.CommandNotFound("x"), errors.NotFound("x"), RuntimeError("x")]
    )
    @pytest.mark.parametrize("verb", ["create", "start", "stop"])
    def test_exit_code_of_others(self, verb: str, error: Exception) -> None:
        answers: dict[str, Any] = {f"containers__{verb}": error}
        assert proa(verb, "web", **answers).code == 1

    def test_message_and_hint_are_one_sentence(self) -> None:
        error = errors.NotFound("no such image: x", "make it with 'proa image bootstrap'")
        ended = proa("create", "x", containers__create=error)
        assert ended.stderr == ("proa: no such image: x: make it with 'proa image bootstrap'\n")
        assert ended.stdout == ""

    def test_a_defect_is_said_to_be_one(self) -> None:
        ended = proa("ps", containers__list=KeyError("x"))
        assert ended.code == 1
        assert ended.stderr == (
            "proa: internal error: KeyError: 'x': run it again with 'proa --debug' and report it\n"
        )

    def test_debug_shows_where(self) -> None:
        ended = proa("--debug", "ps", containers__list=KeyError("x"))
        assert "Traceback (most recent call last)" in ended.stderr
        assert "Traceback" in proa("-l", "debug", "ps", containers__list=KeyError("x")).stderr

    def test_debug_records_steps(self) -> None:
        read_fd, write_fd = os.pipe()
        io = CapturedIO()
        io.stderr_fd = write_fd

        def remove(name: str, **options: Any) -> None:
            log.debug("engine.remove", container=name)

        assert proa("--debug", "rm", "web", io=io, containers__remove=remove).code == 0
        assert not log.is_enabled()
        os.close(write_fd)
        with open(read_fd, "rb") as steps:
            assert steps.read().endswith(b" engine.remove container=web\n")

    def test_interrupt(self) -> None:
        def interrupt(name: str) -> int:
            raise KeyboardInterrupt

        assert proa("wait", "web", containers__wait=interrupt).code == EXIT_INTERRUPTED

    def test_nobody_reads(self) -> None:
        class Broken(CapturedIO):
            def write(self, fd: int, data: bytes) -> None:
                raise BrokenPipeError

        assert proa("ps", io=Broken(), containers__list=[]).code == EXIT_BROKEN_PIPE

    def test_an_exit_of_the_worker_passes(self) -> None:
        """The worker ends a command at SIGTERM with SystemExit; that is not an internal error."""

        def end(name: str) -> int:
            raise SystemExit(143)

        with pytest.raises(SystemExit):
            proa("wait", "web", containers__wait=end)


class TestHelp:
    @pytest.mark.parametrize("words", ALL_COMMANDS)
    def test_every_command_has_help(self, words: str) -> None:
        ended = proa(*words.split(), "--help")
        assert (ended.code, ended.stderr) == (0, "")
        command = registry.load(words).COMMAND
        assert ended.stdout.startswith(f"Usage:  proa {words} {command.usage}\n\n")
        assert command.summary in ended.stdout
        assert not ended.engine.calls

    @pytest.mark.parametrize("words", ALL_COMMANDS)
    def test_every_flag_is_explained(self, words: str) -> None:
        command = registry.load(words).COMMAND
        assert command.words == words
        for flag in command.flags:
            assert flag.help, flag.name
            assert flag.help[0].isupper(), flag.name
            assert not flag.help.endswith("."), flag.name

    @pytest.mark.parametrize("words", ALL_COMMANDS)
    def test_no_flag_is_declared_twice(self, words: str) -> None:
        flags = registry.load(words).COMMAND.flags
        names = [flag.name for flag in flags]
        shorts = [flag.short for flag in flags if flag.short]
        assert len(set(names)) == len(names)
        assert len(set(shorts)) == len(shorts)
        assert "help" not in names

    def test_aliases_are_listed(self) -> None:
        assert (
            "Aliases:\n  proa container ls, proa container list, proa container ps, proa ps\n"
            in proa("ps", "--help").stdout
        )

    def test_lines_fit_the_terminal(self) -> None:
        for words in ALL_COMMANDS:
            assert max(map(len, proa(*words.split(), "--help").stdout.splitlines())) <= 80

    def test_hidden_and_refused_flags_are_not_shown(self) -> None:
        shown = proa("run", "--help").stdout
        assert "--link" not in shown
        assert "--net " not in shown
        assert "--network " in shown

    def test_help_command(self) -> None:
        assert proa("help", "ps").stdout == proa("ps", "--help").stdout
        ended = proa("help", "frobnicate")
        assert (ended.code, ended.stderr) == (1, "unknown help topic: frobnicate\n")

    @pytest.mark.parametrize("noun", sorted(registry.NOUNS))
    def test_noun(self, noun: str) -> None:
        ended = proa(noun)
        assert ended.code == 0
        assert ended.stdout == proa(noun, "--help").stdout == proa("help", noun).stdout
        for name in registry.verbs_of(noun):
            assert f"\n  {name.partition(' ')[2]} " in ended.stdout

    def test_shorthand_is_deprecated(self) -> None:
        ended = proa("ps", "-h")
        assert ended.code == 0
        assert ended.stderr == "Flag shorthand -h has been deprecated, use --help\n"
        assert ended.stdout == proa("ps", "--help").stdout

    def test_global_flags_are_shown(self) -> None:
        for flag in GLOBAL_FLAGS:
            assert (f"--{flag.name}" in proa("--help").stdout) is texts.is_shown(flag)


class TestRegistry:
    def test_synonyms_lead_to_commands(self) -> None:
        assert set(registry.SYNONYMS.values()) <= registry.COMMANDS.keys()

    def test_every_verb_of_a_container_has_a_short_form(self) -> None:
        for name in registry.verbs_of("container"):
            verb = name.partition(" ")[2]
            if verb == "prune":
                continue  # "proa prune" would not say of what
            short = {"ls": "ps", "inspect": "inspect"}.get(verb, verb)
            assert short in {**registry.SYNONYMS, **registry.COMMANDS}

    def test_names_of(self) -> None:
        assert registry.names_of("image rm") == ["image rm", "image remove", "rmi"]


class TestIO:
    def test_lines_and_bytes_reach_the_descriptors(self) -> None:
        out_r, out_w = os.pipe()
        err_r, err_w = os.pipe()
        io = IO(stdout_fd=out_w, stderr_fd=err_w, env={}, cwd="/srv")
        io.out("wörld \udcff")
        io.err("oops")
        for fd in (out_w, err_w):
            os.close(fd)
        assert os.read(out_r, 99) == b"w\xc3\xb6rld \xff\n"
        assert os.read(err_r, 99) == b"oops\n"
        for fd in (out_r, err_r):
            os.close(fd)

    def test_a_full_non_blocking_pipe_is_waited_for(self) -> None:
        import threading

        read_fd, write_fd = os.pipe()
        os.set_blocking(write_fd, False)
        data = b"x" * 300_000
        got = bytearray()

        def drain() -> None:
            while piece := os.read(read_fd, 65536):
                got.extend(piece)

        reader = threading.Thread(target=drain)
        reader.start()
        IO(env={}, cwd="/").write(write_fd, data)
        os.close(write_fd)
        reader.join()
        os.close(read_fd)
        assert got == data

    def test_paths_are_the_users(self) -> None:
        io = IO(env={}, cwd="/srv")
        assert io.path("a/b") == "/srv/a/b"
        assert io.path("/a") == "/a"

    def test_without_a_terminal_lines_have_80_columns(self) -> None:
        read_fd, write_fd = os.pipe()
        assert IO(stdout_fd=write_fd, stderr_fd=write_fd, env={}, cwd="/").columns() == 80
        os.close(read_fd)
        os.close(write_fd)


_FORBIDDEN = ("argparse", "asyncio", "logging", "pathlib", "rich", "shutil", "subprocess")


@pytest.mark.parametrize("module", ["proa.cli.main", "proa.cli.container.run", "proa.cli.image.ls"])
def test_the_short_path_imports_little(module: str) -> None:
    """What the words of one command need does not load these (architecture, section 7)."""
    code = f"import sys, {module}; print(*sorted(set({_FORBIDDEN!r}) & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=_environment()
    )
    assert done.stdout.split() == []


def _environment() -> dict[str, Any]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def test_times_are_in_the_users_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    from proa.cli.times import created_at

    try:
        for zone, shown in (("UTC", "+0000 UTC"), ("Asia/Tokyo", "+0900 JST")):
            monkeypatch.setenv("TZ", zone)
            IO.standard()
            assert created_at(1_700_000_000 * 10**9).endswith(shown)
    finally:
        monkeypatch.undo()
        IO.standard()
