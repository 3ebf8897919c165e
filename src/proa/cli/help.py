"""The text of ``--help``, laid out as Docker lays it out."""

from __future__ import annotations

import textwrap
from typing import Any

from proa.cli import registry
from proa.cli.parser import Command, Flag

_SUMMARY = "A container engine: process or VM isolation, OCI images, no daemon"
_COMMON = ("run", "ps", "images", "image bootstrap", "logs", "stop", "rm", "version", "info")
_MORE = "Run 'proa COMMAND --help' for more information on a command."


def usage_line(called: str, command: Command) -> str:
    """``Usage:  proa run [OPTIONS] IMAGE [COMMAND] [ARG...]``."""
    return f"Usage:  {called} {command.usage}".rstrip()


def command_help(command: Command, called: str, columns: int) -> str:
    """Everything about one command."""
    parts = [usage_line(called, command), command.summary]
    if command.details:
        parts.append(_wrap(command.details, columns))
    names = registry.names_of(command.words)
    if len(names) > 1:
        parts.append("Aliases:\n  " + ", ".join(f"proa {name}" for name in names))
    shown = [flag for flag in command.flags if is_shown(flag)]
    if shown:
        parts.append("Options:\n" + flag_table(shown, columns))
    return "\n\n".join(parts)


def noun_help(noun: str) -> str:
    """The verbs of one noun."""
    rows = [
        (name.partition(" ")[2], registry.load(name).COMMAND.summary)
        for name in registry.verbs_of(noun)
    ]
    return "\n\n".join(
        (
            f"Usage:  proa {noun} COMMAND",
            registry.NOUNS[noun],
            "Commands:\n" + _columns(rows),
            f"Run 'proa {noun} COMMAND --help' for more information on a command.",
        )
    )


def program_help(global_flags: tuple[Flag[Any], ...], columns: int) -> str:
    """What ``proa --help`` says."""

    def row(name: str) -> tuple[str, str]:
        return name, registry.load(registry.SYNONYMS.get(name, name)).COMMAND.summary

    short = [name for name in sorted({*registry.COMMANDS, *registry.SYNONYMS}) if " " not in name]
    return "\n\n".join(
        (
            "Usage:  proa [OPTIONS] COMMAND",
            _SUMMARY,
            "Common Commands:\n" + _columns([row(name) for name in _COMMON]),
            "Management Commands:\n" + _columns(list(registry.NOUNS.items())),
            "Commands:\n" + _columns([row(name) for name in short if name not in _COMMON]),
            "Global Options:\n" + flag_table(list(global_flags), columns),
            _MORE,
        )
    )


def is_shown(flag: Flag[Any]) -> bool:
    """Whether the help and the reference list the flag."""
    return not (flag.hidden or flag.refusal or flag.replaced_by)


def flag_label(flag: Flag[Any]) -> str:
    """``-m, --memory bytes`` with room for a missing short form."""
    short = f"-{flag.short}, " if flag.short else "    "
    return f"{short}--{flag.name} {flag.kind.word}".rstrip()


def flag_description(flag: Flag[Any]) -> str:
    """The help of a flag and its default, if that is worth saying."""
    initial = flag.initial
    if initial in ("", 0, (), None) or initial is False:
        return flag.help
    shown = f'"{initial}"' if isinstance(initial, str) else str(initial).lower()
    return f"{flag.help} (default {shown})"


def flag_table(flags: list[Flag[Any]], columns: int) -> str:
    """Flags by name in two columns, the right one wrapped at the terminal's width."""
    rows = sorted((flag.name, flag_label(flag), flag_description(flag)) for flag in flags)
    width = max(len(label) for _, label, _ in rows) + 5
    room = max(columns - width - 1, 24)
    lines: list[str] = []
    for _, label, description in rows:
        first, *others = textwrap.wrap(description, room) or [""]
        lines.append(f"  {label:<{width - 2}}{first}".rstrip())
        lines.extend(" " * width + line for line in others)
    return "\n".join(lines)


def _columns(rows: list[tuple[str, str]]) -> str:
    width = max(len(name) for name, _ in rows) + 2
    return "\n".join(f"  {name:<{width}}{text}" for name, text in rows)


def _wrap(text: str, columns: int) -> str:
    return "\n\n".join(
        textwrap.fill(paragraph, max(columns - 1, 40)) for paragraph in text.split("\n\n")
    )
