"""Write docs/reference/cli.md from the command line's own tables.

Run it after changing a command: ``.venv/bin/python scripts/write_cli_reference.py``. A test holds
the file to what this writes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

from proa.cli import help as texts
from proa.cli import registry
from proa.cli.main import GLOBAL_FLAGS
from proa.cli.parser import Command, Flag

PATH = os.path.join(os.path.dirname(os.path.dirname(__file__)), "docs", "reference", "cli.md")

_HEAD = """\
# Command line

<!-- Written by scripts/write_cli_reference.py; do not edit. -->

The words, flags, output and exit codes of `proa` are those of Docker's client wherever both have
the same command. Flags are read as Docker reads them: `--name value`, `--name=value`, `-n value`,
`-nvalue`, clusters such as `-it`, booleans with a value only behind `=` (`--rm=false`), `--` as the
end of the flags. Flags of `run` and `create` end at the image's name; everything behind it belongs
to the container.

## Exit codes

| Code | Meaning |
|---|---|
| 0 | done |
| 1 | the command failed, or its number of arguments is wrong |
| 125 | a flag is wrong; for `run`: Proa failed before the container's command ran |
| 126 | `run`, `exec`: the container's command cannot be executed |
| 127 | `run`, `exec`: there is no such command |
| 128 + n | `run`, `start --attach`, `exec`, `attach`: signal n ended the container's command |
| other | `run`, `start --attach`, `exec`, `attach`: the exit code of the container's command |
| 130 | interrupted |
| 141 | nobody reads the output any more |
"""


def reference() -> str:
    """Return the whole document."""
    parts = [_HEAD, _section("## Global flags", flag_table(GLOBAL_FLAGS))]
    for noun, summary in (*registry.NOUNS.items(), ("", "")):
        names = registry.verbs_of(noun) if noun else [n for n in registry.COMMANDS if " " not in n]
        parts.append(f"## proa {noun}\n\n{summary}.\n" if noun else "## Other commands\n")
        parts.extend(command_section(registry.load(name).COMMAND) for name in names)
    parts.append(_not_built())
    return "\n".join(parts)


def command_section(command: Command) -> str:
    """Return everything about one command."""
    names = [f"proa {name}" for name in registry.names_of(command.words)]
    lines = [f"### {names[0]}", "", f"{command.summary}.", ""]
    lines += ["```", f"{names[-1]} {command.usage}".rstrip(), "```", ""]
    if len(names) > 1:
        lines += ["Also called " + ", ".join(f"`{name}`" for name in names[1:]) + ".", ""]
    if command.details:
        lines += [command.details, ""]
    if any(texts.is_shown(flag) for flag in command.flags):
        lines += [*flag_table(command.flags), ""]
    refused = [flag for flag in command.flags if flag.refusal]
    if refused:
        lines += ["Docker's flags that this command does not have:", ""]
        lines += ["| Flag | Instead |", "|---|---|"]
        lines += [f"| `--{flag.name}` | {flag.refusal} |" for flag in _sorted(refused)]
        lines += [""]
    return "\n".join(lines)


def flag_table(flags: Sequence[Flag[Any]]) -> Iterator[str]:
    """Yield the lines of a table of the flags that are shown."""
    yield "| Flag | Value | Meaning |"
    yield "|---|---|---|"
    for flag in _sorted(flags):
        if texts.is_shown(flag):
            names = f"`-{flag.short}`, `--{flag.name}`" if flag.short else f"`--{flag.name}`"
            meaning = texts.flag_description(flag).replace("|", "\\|")
            yield f"| {names} | {flag.kind.word} | {meaning} |"


def _sorted(flags: Sequence[Flag[Any]]) -> list[Flag[Any]]:
    return sorted(flags, key=lambda flag: flag.name)


def _section(heading: str, lines: Iterator[str]) -> str:
    return "\n".join((heading, "", *lines, ""))


def _not_built() -> str:
    words = {**registry.NOT_BUILT, **registry.NOT_HERE}
    rows = (f"| `{word}` | {text} |" for word, text in sorted(words.items()))
    return _section(
        "## Docker's commands that Proa does not have",
        iter(("| Command | Instead |", "|---|---|", *rows)),
    )


if __name__ == "__main__":
    text = reference()  # before the file is opened: a command that fails must not empty it
    with open(PATH, "w", encoding="utf-8") as file:
        file.write(text)
