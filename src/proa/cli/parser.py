"""Flags, commands and the parser of their words.

The grammar is that of Docker's command line (Go's ``pflag``): ``--name value``, ``--name=value``,
``-n value``, ``-nvalue``, clusters (``-it``), a value that may itself begin with a dash
(``-e -x``), booleans that take a value only behind ``=`` (``--rm=false``), ``--`` as the end of the
flags. A command either mixes flags and arguments or, like ``run``, ends its flags at the first
argument. ``docs/decisions/0050-own-flag-parser.md`` says why this is not ``argparse``.

A :class:`Flag` is declared once and is also the typed key of its value::

    FORCE = Flag("force", BOOL, "Force the removal of a running container", short="f")
    options[FORCE]  # bool
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar, cast

import msgspec

T = TypeVar("T")

EXIT_FAILURE = 1
EXIT_ENGINE = 125


class UsageError(Exception):
    """The words of the user are wrong.

    Attributes:
        message: what is wrong, naming the flag or the value.
        exit_code: 125 for flags, 1 for the number of arguments, as Docker has it.
        named: begin the message with ``proa:``.
        show_usage: show the command's usage line below the message.
    """

    def __init__(
        self,
        message: str,
        *,
        exit_code: int = EXIT_ENGINE,
        named: bool = True,
        show_usage: bool = False,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.exit_code = exit_code
        self.named = named
        self.show_usage = show_usage


class HelpRequest(Exception):
    """``--help`` was among the flags."""

    def __init__(self, *, by_shorthand: bool = False) -> None:
        super().__init__()
        self.by_shorthand = by_shorthand


class Kind(msgspec.Struct, Generic[T], frozen=True):
    """How the text of a flag becomes its value.

    Attributes:
        word: stands for the value in the help (``string``, ``list``, ``bytes``).
        read: ``(text, value so far) -> value``; raises ValueError with the reason.
        zero: the value of a flag that was not given.
        implied: the text of a flag that stands alone; empty when a value must follow.
    """

    word: str
    read: Callable[[str, T], T]
    zero: T
    implied: str = ""


class Flag(msgspec.Struct, Generic[T], frozen=True, eq=False):
    """One flag of a command.

    Attributes:
        name: long name without dashes.
        kind: how its value is read.
        help: one sentence without a full stop.
        short: one letter, or empty.
        default: the value when the flag is not given, if it is not ``kind.zero``.
        refusal: for Docker's flags that Proa does not have: what to do instead. Such a flag is
            parsed and hidden, and using it is an error.
        replaced_by: the name of the flag that took its place; using the old one warns.
        hidden: accepted and not shown.
    """

    name: str
    kind: Kind[T]
    help: str
    short: str = ""
    default: T | msgspec.UnsetType = msgspec.UNSET
    refusal: str = ""
    replaced_by: str = ""
    hidden: bool = False

    @property
    def initial(self) -> T:
        """The value when the flag is not given."""
        default = self.default
        return self.kind.zero if isinstance(default, msgspec.UnsetType) else default

    @property
    def spelling(self) -> str:
        """The flag as messages name it: ``-m, --memory`` or ``--rm``."""
        return f"-{self.short}, --{self.name}" if self.short else f"--{self.name}"


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """What one command accepts.

    Attributes:
        words: its canonical name, ``container run``.
        usage: the words behind its name, ``[OPTIONS] IMAGE [COMMAND] [ARG...]``.
        summary: one line for the list of commands.
        flags: in the order of the help.
        least, most: how many arguments; ``most`` is None for any number.
        interspersed: flags may follow arguments; ``run`` and ``exec`` say no.
        failure_code: exit code when the engine fails.
        starts_process: 126 and 127 say that a container's command cannot be executed or is not
            there.
        details: paragraphs below the summary in the help and the reference.
    """

    words: str
    usage: str
    summary: str
    flags: tuple[Flag[Any], ...] = ()
    least: int = 0
    most: int | None = 0
    interspersed: bool = True
    failure_code: int = EXIT_FAILURE
    starts_process: bool = False
    details: str = ""


class Options:
    """The values of one command line.

    Attributes:
        arguments: what is not a flag, in order.
        warnings: sentences about deprecated flags, in order.
    """

    __slots__ = ("_values", "arguments", "warnings")

    def __init__(self) -> None:
        self._values: dict[str, object] = {}
        self.arguments: tuple[str, ...] = ()
        self.warnings: list[str] = []

    def __getitem__(self, flag: Flag[T]) -> T:
        """The flag's value, or what it is when it was not given."""
        if flag.name in self._values:
            return cast("T", self._values[flag.name])
        return flag.initial

    def is_given(self, flag: Flag[Any]) -> bool:
        """Whether the flag was on the command line."""
        return flag.name in self._values

    def set(self, flag: Flag[Any], spelling: str, text: str) -> None:
        """Read ``text`` as one more occurrence of ``flag``.

        Raises:
            UsageError: the text is not a value of the flag, or the flag is refused.
        """
        if flag.refusal:
            raise UsageError(f"{spelling} is not available: {flag.refusal}")
        key = flag.replaced_by or flag.name
        if flag.replaced_by:
            self.warnings.append(
                f"Flag --{flag.name} has been deprecated, use --{flag.replaced_by} instead"
            )
        try:
            self._values[key] = flag.kind.read(text, self._values.get(key, flag.kind.zero))
        except ValueError as error:
            raise UsageError(
                f'invalid argument "{text}" for "{flag.spelling}" flag: {error}',
                named=False,
                show_usage=True,
            ) from None


class Parser:
    """Reads the words of one command."""

    __slots__ = ("_by_name", "_by_short", "_interspersed")

    def __init__(self, flags: Sequence[Flag[Any]], *, interspersed: bool) -> None:
        self._by_name = {flag.name: flag for flag in flags}
        self._by_short = {flag.short: flag for flag in flags if flag.short}
        self._interspersed = interspersed

    def parse(self, words: Sequence[str]) -> Options:
        """Split ``words`` into flags and arguments.

        Raises:
            UsageError: an unknown flag, a missing or a wrong value (exit code 125).
            HelpRequest: ``--help`` came before any of these.
        """
        options = Options()
        arguments: list[str] = []
        position = 0
        while position < len(words):
            word = words[position]
            position += 1
            if word == "--":
                arguments.extend(words[position:])
                break
            if len(word) < 2 or word[0] != "-":
                if not self._interspersed:
                    arguments.extend(words[position - 1 :])
                    break
                arguments.append(word)
            elif word[1] == "-":
                position = self._read_long(options, word, words, position)
            else:
                position = self._read_cluster(options, word[1:], words, position)
        options.arguments = tuple(arguments)
        return options

    def _read_long(self, options: Options, word: str, words: Sequence[str], position: int) -> int:
        name, has_value, text = word[2:].partition("=")
        flag = self._by_name.get(name)
        if flag is None:
            if name == "help":
                raise HelpRequest
            raise _flag_error(f"unknown flag: --{name}" if name else f"bad flag syntax: {word}")
        if not has_value:
            if flag.kind.implied:
                text = flag.kind.implied
            elif position < len(words):
                text = words[position]
                position += 1
            else:
                raise _flag_error(f"flag needs an argument: --{name}")
        options.set(flag, f"--{name}", text)
        return position

    def _read_cluster(
        self, options: Options, cluster: str, words: Sequence[str], position: int
    ) -> int:
        while cluster:
            letter, rest = cluster[0], cluster[1:]
            flag = self._by_short.get(letter)
            if flag is None:
                if letter == "h":
                    raise HelpRequest(by_shorthand=True)
                raise _flag_error(f"unknown shorthand flag: {letter!r} in -{cluster}")
            if len(rest) > 1 and rest[0] == "=":
                text, rest = rest[1:], ""
            elif flag.kind.implied:
                text = flag.kind.implied
            elif rest:
                text, rest = rest, ""
            elif position < len(words):
                text = words[position]
                position += 1
            else:
                raise _flag_error(f"flag needs an argument: {letter!r} in -{cluster}")
            options.set(flag, f"-{letter}", text)
            cluster = rest
        return position


def parse(command: Command, words: Sequence[str], called: str) -> Options:
    """Read the words behind the name of a command.

    Args:
        command: what is accepted.
        words: everything behind the name.
        called: the name as the user wrote it, ``proa ps`` or ``proa container ls``.

    Raises:
        UsageError: flags (exit code 125) or the number of arguments (exit code 1) are wrong.
        HelpRequest: the user asked for help.
    """
    options = Parser(command.flags, interspersed=command.interspersed).parse(words)
    check_arity(command, len(options.arguments), called)
    return options


def check_arity(command: Command, count: int, called: str) -> None:
    """Refuse a wrong number of arguments in Docker's words.

    Raises:
        UsageError: with exit code 1.
    """
    least, most = command.least, command.most
    if count >= least and (most is None or count <= most):
        return
    if most == 0:
        wanted = "accepts no arguments"
    elif most == least:
        wanted = f"requires {least} argument{'s' if least != 1 else ''}"
    elif count < least:
        wanted = f"requires at least {least} argument{'s' if least != 1 else ''}"
    else:
        wanted = f"requires at most {most} argument{'s' if most != 1 else ''}"
    raise UsageError(f"'{called}' {wanted}", exit_code=EXIT_FAILURE, show_usage=True)


def _flag_error(message: str) -> UsageError:
    return UsageError(message, named=False, show_usage=True)
