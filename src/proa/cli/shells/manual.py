"""Manual pages from the commands' tables: troff with the man macros (groff_man(7))."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from proa import __version__
from proa.cli import registry
from proa.cli.help import flag_description, is_shown
from proa.cli.parser import Command, Flag

SECTION = 1


def pages(global_flags: Sequence[Flag[Any]]) -> Iterator[tuple[str, str]]:
    """Yield the file name and the text of every page: ``proa.1`` and one for each command."""
    yield f"proa.{SECTION}", program_page(global_flags)
    for words in registry.COMMANDS:
        yield f"proa-{words.replace(' ', '-')}.{SECTION}", command_page(words)


def program_page(global_flags: Sequence[Flag[Any]]) -> str:
    """Return the page of ``proa`` itself."""
    lines = [
        *_head("proa", "a container engine: process or VM isolation, OCI images, no daemon"),
        ".B proa", r"[\fIOPTIONS\fR] \fICOMMAND\fR [\fIARG\fR...]",
        ".SH OPTIONS", *_flags(global_flags),
        ".SH COMMANDS",
    ]  # fmt: skip
    for words in registry.COMMANDS:
        summary = registry.load(words).COMMAND.summary
        page = f"proa-{words.replace(' ', '-')}"
        lines += [".TP", rf"\fB{_escape(page)}\fR({SECTION})", _text(summary + ".")]
    return "\n".join(lines) + "\n"


def command_page(words: str) -> str:
    """Return the page of one command by its canonical name."""
    command = registry.load(words).COMMAND
    title = f"proa-{words.replace(' ', '-')}"
    names = registry.names_of(words)
    lines = [*_head(title, command.summary[:1].lower() + command.summary[1:])]
    for number, name in enumerate(names):
        lines += [*([".br"] if number else []), f".B proa {_escape(name)}", _text(command.usage)]
    lines += [".SH DESCRIPTION", _text(command.summary + ".")]
    if command.details:
        lines += [".PP", _text(command.details)]
    if any(is_shown(flag) for flag in command.flags):
        lines += [".SH OPTIONS", *_flags(command.flags)]
    lines += [".SH EXIT STATUS", _text(_exit_status(command))]
    lines += [".SH SEE ALSO", rf".BR proa ({SECTION})"]
    return "\n".join(lines) + "\n"


def _head(title: str, summary: str) -> list[str]:
    return [
        f'.TH "{title.upper()}" "{SECTION}" "" "Proa {__version__}" "Proa Manual"',
        ".SH NAME",
        rf"{_escape(title)} \- {_escape(summary)}",
        ".SH SYNOPSIS",
    ]


def _flags(flags: Sequence[Flag[Any]]) -> Iterator[str]:
    for flag in sorted(flags, key=lambda flag: flag.name):
        if not is_shown(flag):
            continue
        spelling = rf"\fB{_escape(flag.spelling)}\fR"
        yield ".TP"
        yield rf"{spelling} \fI{_escape(flag.kind.word)}\fR" if flag.kind.word else spelling
        yield _text(flag_description(flag) + ".")


def _exit_status(command: Command) -> str:
    if command.starts_process:
        return (
            "The command's own; 126 when it cannot be executed, 127 when there is none, "
            f"{command.failure_code} when Proa failed."
        )
    return f"0, {command.failure_code} on failure, 125 for wrong options."


def _text(text: str) -> str:
    """Return running text: no line may begin like a request."""
    escaped = _escape(text)
    return rf"\&{escaped}" if escaped.startswith((".", "'")) else escaped


def _escape(text: str) -> str:
    return text.replace("\\", r"\e").replace("-", r"\-").replace("'", r"\(aq")
