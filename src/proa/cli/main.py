"""The entry of the command line: find the command, run it, answer with an exit code.

``run`` is called in a warm worker of the zygote for every ``proa`` on the machine, and may be
called in any process. It never exits, and no exception leaves it but those of the interpreter's own
end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from proa import __version__, log
from proa.cli import registry
from proa.cli.invocation import Invocation
from proa.cli.io import IO
from proa.cli.kinds import BOOL, STRING
from proa.cli.parser import (
    EXIT_FAILURE,
    Command,
    Flag,
    HelpRequest,
    Parser,
    UsageError,
    parse,
)
from proa.errors import CommandNotExecutable, CommandNotFound, ProaError

if TYPE_CHECKING:
    from proa.engine.facade import Engine

    OpenEngine = Callable[[str, str], Engine]

EXIT_NOT_EXECUTABLE = 126
EXIT_NOT_FOUND = 127
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141

_LEVELS = ("debug", "info", "warn", "error", "fatal")

ROOT = Flag("root", STRING, "Directory of the engine's state (default /var/lib/proa, PROA_ROOT)")
RUN_ROOT = Flag("run-root", STRING, "Directory of volatile state (default /run/proa, PROA_RUN)")
DEBUG = Flag("debug", BOOL, "Show the steps and the traceback of a failure", short="D")
LOG_LEVEL = Flag(
    "log-level", STRING, 'Logging level ("debug", "info", "warn", "error", "fatal")', "l", "info"
)
VERSION = Flag("version", BOOL, "Print version information and quit", short="v")
_NO_DAEMON = "Proa needs no daemon; '--root' chooses the state to work on"
MACHINE = Flag("machine", BOOL, "Run the command in the machine of 'proa machine'")
GLOBAL_FLAGS = (
    MACHINE,
    ROOT,
    RUN_ROOT,
    DEBUG,
    LOG_LEVEL,
    VERSION,
    Flag("host", STRING, "Daemon to connect to", short="H", refusal=_NO_DAEMON),
    Flag("context", STRING, "Daemon to connect to", short="c", refusal=_NO_DAEMON),
    Flag("config", STRING, "Directory of client configuration", refusal=_NO_DAEMON),
)
_PROGRAM = Command(
    words="", usage="[OPTIONS] COMMAND [ARG...]", summary="", most=None, interspersed=False
)


def run(argv: Sequence[str], io: IO, *, open_engine: OpenEngine | None = None) -> int:
    """Run one command to its end.

    Args:
        argv: the words behind ``proa``.
        io: the streams, environment and directory of the user.
        open_engine: makes the engine of ``(root, volatile root)``; tests bring their own.

    Returns:
        The exit code: the container's, or Docker's convention for failures.
    """
    try:
        return _dispatch(argv, io, open_engine or _open_engine)
    except BrokenPipeError:
        return EXIT_BROKEN_PIPE
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def preload() -> None:
    """Import what ``run`` and the other hot commands need, before the zygote forks."""
    for words in (*registry.verbs_of("container"), "inspect"):
        registry.load(words)
    import proa.engine.facade
    import proa.engine.template  # noqa: F401


def _open_engine(root: str, run_root: str) -> Engine:
    from proa.engine.facade import Engine

    return Engine(root, run_root)


def _dispatch(argv: Sequence[str], io: IO, open_engine: OpenEngine) -> int:
    try:
        options = Parser(GLOBAL_FLAGS, interspersed=False).parse(argv)
    except UsageError as error:
        return _show_usage_error(error, io, "proa", _PROGRAM)
    except HelpRequest:
        return _show_help([], io)
    words = options.arguments
    if options[VERSION]:
        io.out(f"Proa version {__version__}")
        return 0
    if options[LOG_LEVEL] not in _LEVELS:
        io.err(f"proa: unable to parse logging level: {options[LOG_LEVEL]}")
        return EXIT_FAILURE
    if not words or words[0] == "help":
        return _show_help(words[1:], io)
    try:
        found = registry.find(words)
    except UsageError as error:
        return _show_usage_error(error, io, "proa", None)
    if found.is_noun:
        return _show_help([found.words], io)
    if options[MACHINE]:
        found = registry.find(("machine", "ssh", "--", _quoted("proa", *words)))
    debug = options[DEBUG] or options[LOG_LEVEL] == "debug"
    root = _directory(options[ROOT] or io.env.get("PROA_ROOT", ""), io)
    run_root = _directory(options[RUN_ROOT] or io.env.get("PROA_RUN", ""), io)
    if not debug:
        return _execute(found, io, lambda: open_engine(root, run_root), debug=False)
    log.enable(io.stderr_fd)
    try:
        return _execute(found, io, lambda: open_engine(root, run_root), debug=True)
    finally:
        log.disable()


def _quoted(*words: str) -> str:
    import shlex

    return shlex.join(words)


def _directory(name: str, io: IO) -> str:
    return io.path(name) if name else ""


def _execute(
    found: registry.Found, io: IO, open_engine: Callable[[], Engine], *, debug: bool
) -> int:
    verb = registry.load(found.words)
    command = verb.COMMAND
    try:
        options = parse(command, found.rest, found.called)
        for warning in options.warnings:
            io.err(warning)
        call = Invocation(io, options, called=found.called, open_engine=open_engine, debug=debug)
        return verb.execute(call)
    except HelpRequest as request:
        if request.by_shorthand:
            io.err("Flag shorthand -h has been deprecated, use --help")
        return _show_help(found.called.split()[1:], io)
    except UsageError as error:
        return _show_usage_error(error, io, found.called, command)
    except BrokenPipeError:
        raise
    except ProaError as error:
        if debug:
            _show_traceback(error, io)
        io.err(f"proa: {error}")
        return exit_code_of(error, command)
    except Exception as error:  # noqa: BLE001 - the last border before the user
        if debug:
            _show_traceback(error, io)
        what = f"{type(error).__name__}: {error}"
        io.err(f"proa: internal error: {what}: run it again with 'proa --debug' and report it")
        return command.failure_code


def exit_code_of(error: ProaError, command: Command) -> int:
    """The exit code of a failed command."""
    if command.starts_process:
        if isinstance(error, CommandNotFound):
            return EXIT_NOT_FOUND
        if isinstance(error, CommandNotExecutable):
            return EXIT_NOT_EXECUTABLE
    return command.failure_code


def _show_usage_error(error: UsageError, io: IO, called: str, command: Command | None) -> int:
    lines = [f"proa: {error.message}" if error.named else error.message]
    if error.show_usage and command is not None:
        lines.append(f"Usage:  {called} {command.usage}".rstrip())
    lines.append(f"Run '{called} --help' for more information")
    io.err("\n\n".join(lines))
    return error.exit_code


def _show_help(words: Sequence[str], io: IO) -> int:
    from proa.cli import help as texts

    if not words:
        io.out(
            texts.program_help(tuple(f for f in GLOBAL_FLAGS if texts.is_shown(f)), io.columns())
        )
        return 0
    try:
        found = registry.find(words)
    except UsageError:
        io.err(f"unknown help topic: {' '.join(words)}")
        return EXIT_FAILURE
    if found.is_noun:
        io.out(texts.noun_help(found.words))
        return 0
    command = registry.load(found.words).COMMAND
    io.out(texts.command_help(command, found.called, io.columns()))
    return 0


def _show_traceback(error: BaseException, io: IO) -> None:
    from traceback import format_exception

    io.err("".join(format_exception(error)).rstrip())
