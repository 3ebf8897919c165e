"""What can come next on a command line: the answers for completion in shells.

Everything is asked of the same tables that parse the words, so that nothing has to be kept in step.
A candidate is a word and what it means; :data:`FILES` asks the shell for names of files instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from proa.cli import registry
from proa.cli.help import flag_description, is_shown
from proa.cli.parser import Command, Flag, UsageError
from proa.engine.facade import Engine
from proa.errors import ProaError

FILES = ":files"
Candidate = tuple[str, str]
_VALUES: dict[str, tuple[str, ...]] = {
    "restart": ("no", "always", "unless-stopped", "on-failure"),
    "pull": ("always", "missing", "never"),
    "isolation": ("process", "vm"),
    "log-driver": ("json-file", "none"),
    "on-unhealthy": ("none", "restart", "stop"),
    "userns": ("host",),
    "format": ("json", "table"),
    "signal": ("TERM", "KILL", "HUP", "INT", "QUIT", "USR1", "USR2"),
    "stop-signal": ("TERM", "INT", "QUIT", "HUP"),
    "attach": ("stdin", "stdout", "stderr"),
}
_FLAG_OBJECTS = {"network": "NETWORK", "net": "NETWORK", "volumes-from": "CONTAINER"}
_FILE_FLAGS = frozenset(
    ("env-file", "label-file", "cidfile", "output", "input", "volume", "mount", "device", "root")
)


def candidates(
    words: Sequence[str], global_flags: Sequence[Flag[Any]], open_engine: Callable[[], Engine]
) -> Iterator[Candidate]:
    """Yield what the last word can become.

    Args:
        words: everything behind ``proa``; the last one is being written, and may be empty.
        global_flags: flags in front of the command.
        open_engine: asked for names of objects only where they are wanted.
    """
    *before, current = words or [""]
    rest = _skip_flags(before, global_flags)
    if rest is None:
        return  # the value of a global flag
    if not rest:
        yield from _matching(current, _commands(current, global_flags))
    elif len(rest) == 1 and rest[0] in registry.NOUNS:
        verbs = registry.verbs_of(rest[0])
        yield from _matching(current, [(name.partition(" ")[2], _summary(name)) for name in verbs])
    else:
        yield from _of_command(rest, current, open_engine)


def _commands(current: str, global_flags: Sequence[Flag[Any]]) -> Iterator[Candidate]:
    if current.startswith("-"):
        yield from _flags(global_flags)
        return
    yield from registry.NOUNS.items()
    for name in (*registry.COMMANDS, *registry.SYNONYMS):
        if " " not in name:
            yield name, _summary(registry.SYNONYMS.get(name, name))


def _summary(words: str) -> str:
    return registry.load(words).COMMAND.summary


def _of_command(
    words: Sequence[str], current: str, open_engine: Callable[[], Engine]
) -> Iterator[Candidate]:
    try:
        found = registry.find(words)
    except UsageError:
        return
    if found.is_noun:
        return
    command = registry.load(found.words).COMMAND
    name, equals, value = current.partition("=")
    if equals and name.startswith("--"):
        flag = _by_name(command, name[2:])
        if flag is not None:
            for word, meaning in _values(flag, open_engine):
                if word != FILES and word.startswith(value):
                    yield f"{name}={word}", meaning
        return
    flag = _open_flag(command, found.rest)
    if flag is not None:
        yield from _matching(current, _values(flag, open_engine))
    elif current.startswith("-"):
        yield from _matching(current, _flags(command.flags))
    else:
        count = _count_arguments(command, found.rest)
        yield from _matching(current, _arguments(command, count, open_engine))


def _flags(flags: Iterable[Flag[Any]]) -> Iterator[Candidate]:
    for flag in sorted(flags, key=lambda flag: flag.name):
        if is_shown(flag):
            yield f"--{flag.name}", flag_description(flag)
    yield "--help", "Show what the command does"


def _values(flag: Flag[Any], open_engine: Callable[[], Engine]) -> Iterator[Candidate]:
    if flag.name in _VALUES:
        yield from ((word, "") for word in _VALUES[flag.name])
    elif flag.name in _FLAG_OBJECTS:
        yield from _objects(_FLAG_OBJECTS[flag.name], open_engine)
    elif flag.name in _FILE_FLAGS:
        yield FILES, ""


def _arguments(
    command: Command, count: int, open_engine: Callable[[], Engine]
) -> Iterator[Candidate]:
    kinds = [
        word.strip("[].|-").partition(":")[0]
        for word in command.usage.split()
        if word != "[OPTIONS]"
    ]
    repeats = "..." in command.usage
    kind = kinds[count] if count < len(kinds) else (kinds[-1] if kinds and repeats else "")
    if command.words == "container cp":
        kind = "CONTAINER"
        yield FILES, ""
    if kind in ("CONTAINER", "IMAGE", "VOLUME", "NETWORK"):
        yield from _objects(kind, open_engine)
    elif kind.islower():
        yield from ((word, "") for word in kind.split("|"))
    elif kind:
        yield FILES, ""


def _objects(kind: str, open_engine: Callable[[], Engine]) -> Iterator[Candidate]:
    """Yield names of what exists; a completion never fails."""
    try:
        engine = open_engine()
        if kind == "CONTAINER":
            for record in engine.containers.list(all=True):
                yield record.name, f"{record.state.status}, {record.config.image}"
        elif kind == "IMAGE":
            from proa.cli.render import familiar

            for image in engine.images.list():
                yield from ((familiar(name), "") for name in image.references)
        elif kind == "VOLUME":
            for volume in engine.volumes.list():
                yield volume.name, "anonymous" if volume.anonymous else ""
        elif kind == "NETWORK":
            yield from ((name, "") for name in ("none", "host"))
            yield from ((network.name, network.driver) for network in engine.networks.list())
    except ProaError:
        return


def _matching(current: str, found: Iterable[Candidate]) -> Iterator[Candidate]:
    for word, meaning in found:
        if word == FILES or word.startswith(current):
            yield word, meaning


def _by_name(command: Command, name: str) -> Flag[Any] | None:
    return next((flag for flag in command.flags if flag.name == name), None)


def _open_flag(command: Command, rest: Sequence[str]) -> Flag[Any] | None:
    """The flag that waits for its value, if the last word is one."""
    last = rest[-1] if rest else ""
    if last.startswith("--") and "=" not in last:
        flag = _by_name(command, last[2:])
    elif len(last) > 1 and last[0] == "-" and last[1] != "-":
        flag = next((flag for flag in command.flags if flag.short == last[-1]), None)
    else:
        return None
    return flag if flag is not None and not flag.kind.implied else None


def _count_arguments(command: Command, rest: Sequence[str]) -> int:
    """How many arguments stand before the last word."""
    count, position = 0, 0
    while position < len(rest):
        word = rest[position]
        position += 1
        if word.startswith("-") and len(word) > 1 and not (count and not command.interspersed):
            if _open_flag(command, [word]) is not None:
                position += 1
        else:
            count += 1
    return count


def _skip_flags(words: Sequence[str], flags: Sequence[Flag[Any]]) -> Sequence[str] | None:
    """What is behind the global flags; None when the last of them waits for its value."""
    known = Command(words="", usage="", summary="", flags=tuple(flags))
    position = 0
    while position < len(words) and words[position].startswith("-"):
        if _open_flag(known, [words[position]]) is not None:
            position += 1
            if position == len(words):
                return None
        position += 1
    return words[position:]
