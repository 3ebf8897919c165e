"""The entry of ``proa-runtime``: global flags, the log, exit codes."""

from __future__ import annotations

import json
import os
import time
from typing import NoReturn

from proa import __version__
from proa.cli.io import IO
from proa.cli.kinds import BOOL, STRING
from proa.cli.ociruntime.commands import VERBS, Session
from proa.cli.parser import Flag, HelpRequest, Options, Parser, UsageError, check_arity
from proa.errors import ProaError
from proa.oci.spec import VERSION
from proa.runtime.bundle.store import Store

_FAILURE = 1
_EXEC_FAILURE = 255

ROOT = Flag("root", STRING, "Directory of the containers' state", default="/run/proa-runtime")
LOG = Flag("log", STRING, "File that errors and warnings are appended to")
LOG_FORMAT = Flag("log-format", STRING, "text or json", default="text")
DEBUG = Flag("debug", BOOL, "Accepted")
SYSTEMD_CGROUP = Flag(
    "systemd-cgroup", BOOL, "Accepted: slice:prefix:name is understood, systemd is not asked"
)
ROOTLESS = Flag("rootless", STRING, "Accepted: auto or false", default="auto")
CRIU = Flag("criu", STRING, "Accepted", hidden=True)
VERSION_FLAG = Flag("version", BOOL, "Show the version", short="v")
_GLOBAL = (ROOT, LOG, LOG_FORMAT, DEBUG, SYSTEMD_CGROUP, ROOTLESS, CRIU, VERSION_FLAG)


class Journal:
    """Where errors and warnings go: the log file, standard error without one."""

    def __init__(self, io: IO, options: Options) -> None:
        self._io = io
        self._path = options[LOG]
        self._json = options[LOG_FORMAT] == "json"

    def write(self, level: str, message: str) -> None:
        """Append one entry, in the words of the callers' parsers (logrus)."""
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        if self._json:
            line = json.dumps({"level": level, "msg": message, "time": now})
        else:
            line = f"time={json.dumps(now)} level={level} msg={json.dumps(message)}"
        if not self._path:
            self._io.err(line)
            return
        with open(self._path, "a", encoding="utf-8", errors="surrogateescape") as file:
            file.write(line + "\n")

    def fail(self, message: str) -> None:
        """An error that ends the command; it is on standard error in any case."""
        self.write("error", message)
        if self._path:
            self._io.err(message)


def main() -> NoReturn:
    """Run the command line of this process and end it.

    It ends without Python's own ends: the init of a container that was just created may still
    share this memory.
    """
    import sys

    os._exit(run(sys.argv[1:], IO.standard()))


def run(argv: list[str], io: IO) -> int:
    """Run one command line; the exit code is runc's."""
    try:
        options = Parser(_GLOBAL, interspersed=False).parse(argv)
    except UsageError as error:
        io.err(f"proa-runtime: {error.message}")
        return _FAILURE
    except HelpRequest:
        return _show_help(io)
    if options[VERSION_FLAG]:
        io.out(f"proa-runtime version {__version__}\nspec: {VERSION}")
        return 0
    if not options.arguments or options.arguments[0] == "help":
        return _show_help(io)
    return _dispatch(options, io)


def _dispatch(options: Options, io: IO) -> int:
    name, *words = options.arguments
    verb = VERBS.get(name)
    journal = Journal(io, options)
    if verb is None:
        journal.fail(f"no such command: {name}")
        return _FAILURE
    command = verb.command
    try:
        own = Parser(command.flags, interspersed=command.interspersed).parse(words)
        check_arity(command, len(own.arguments), f"proa-runtime {name}")
        store = Store(os.path.abspath(options[ROOT]))
        return verb.act(Session(store, own, io, lambda text: journal.write("warning", text)))
    except HelpRequest:
        io.out(f"Usage: proa-runtime {name} {command.usage}\n\n{command.summary}\n")
        for flag in command.flags:
            io.out(f"  {flag.spelling:<28} {flag.help}")
        return 0
    except UsageError as error:
        journal.fail(error.message)
        return _FAILURE
    except ProaError as error:
        journal.fail(str(error))
    except OSError as error:
        journal.fail(f"{name}: {error}")
    return _EXEC_FAILURE if name == "exec" else _FAILURE


def _show_help(io: IO) -> int:
    io.out("Usage: proa-runtime [OPTIONS] COMMAND\n\nThe OCI runtime interface of Proa\n")
    for flag in _GLOBAL:
        if not flag.hidden:
            io.out(f"  {flag.spelling:<20} {flag.help}")
    io.out("\nCommands:")
    for name, verb in VERBS.items():
        io.out(f"  {name:<10} {verb.command.summary}")
    return 0
