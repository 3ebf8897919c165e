"""The commands of ``proa-runtime``: their flags, and what each does."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec

from proa.cli.io import IO
from proa.cli.kinds import BOOL, STRING
from proa.cli.ociruntime import documents, execflags, limits
from proa.cli.ociruntime.execflags import CONSOLE_SOCKET, DETACH, PID_FILE, PRESERVE_FDS
from proa.cli.ociruntime.foreground import Signals, attend
from proa.cli.parser import Command, Flag, Options
from proa.errors import Conflict, Invalid, Unsupported
from proa.oci import spec as oci
from proa.runtime.bundle import lifecycle
from proa.runtime.bundle.console import send_console
from proa.runtime.bundle.creation import STDIO, Request, create, write_pid_file
from proa.runtime.bundle.execution import enter
from proa.runtime.bundle.store import Store
from proa.runtime.launch import unmap_left

BUNDLE = Flag("bundle", STRING, "Directory with config.json", short="b", default=".")
NO_PIVOT = Flag("no-pivot", BOOL, "Do not pivot_root")
NO_NEW_KEYRING = Flag("no-new-keyring", BOOL, "Accepted; there is always a new session keyring")
NO_SUBREAPER = Flag("no-subreaper", BOOL, "Accepted", hidden=True)
KEEP = Flag("keep", BOOL, "Do not delete the container at its end")
ALL = Flag("all", BOOL, "Signal all processes", short="a")
FORCE = Flag("force", BOOL, "Kill the container first", short="f")
FORMAT = Flag("format", STRING, "table or json", short="f", default="table")
QUIET = Flag("quiet", BOOL, "Only ids", short="q")
ROOTLESS = Flag("rootless", BOOL, "For a container without root")

_CREATION = (
    BUNDLE, CONSOLE_SOCKET, PID_FILE, NO_PIVOT, NO_NEW_KEYRING, PRESERVE_FDS,
)  # fmt: skip
_STDERR = 2


class Session(NamedTuple):
    """What a command is given.

    Attributes:
        warn: writes a warning to the log.
    """

    store: Store
    options: Options
    io: IO
    warn: Callable[[str], None]

    @property
    def id(self) -> str:
        """The container that is named."""
        return self.options.arguments[0]


class Verb(NamedTuple):
    """A command and what it does; returns the exit code."""

    command: Command
    act: Callable[[Session], int]


def _create(session: Session) -> int:
    sandbox = create(session.store, session.id, _bundle(session), _request(session))
    _warn(session, sandbox.warnings)
    sandbox.forget()
    return 0


def _start(session: Session) -> int:
    for failure in lifecycle.start(session.store, session.id):
        session.warn(f"error running poststart hook {failure}")
    return 0


def _run(session: Session) -> int:
    options = session.options
    detached = options[DETACH]
    request = msgspec.structs.replace(_request(session), keeps_console=not detached)
    sandbox = create(session.store, session.id, _bundle(session), request)
    _warn(session, sandbox.warnings)
    signals = None if detached else Signals()
    try:
        _start(session)
    except BaseException:
        lifecycle.delete(session.store, session.id, force=True)
        sandbox.forget()
        unmap_left()
        raise
    if signals is None:
        return 0
    code = attend(sandbox.init, signals).code
    if not options[KEEP]:
        _delete(session)
    sandbox.forget()
    unmap_left()
    return code


def _kill(session: Session) -> int:
    words = session.options.arguments
    number = _signal(words[1] if len(words) > 1 else "TERM")
    lifecycle.kill(session.store, session.id, number, everything=session.options[ALL])
    return 0


def _delete(session: Session) -> int:
    force = session.options[FORCE]
    for failure in lifecycle.delete(session.store, session.id, force=force):
        session.warn(f"error running poststop hook {failure}")
    return 0


def _state(session: Session) -> int:
    record = session.store.load(session.id)
    session.io.out(documents.to_text(documents.describe(session.store, record)))
    return 0


def _list(session: Session) -> int:
    store, options = session.store, session.options
    rows = [documents.describe(store, store.load(name)) for name in store.ids()]
    if options[QUIET]:
        for row in rows:
            session.io.out(str(row["id"]))
    elif options[FORMAT] == "json":
        session.io.out(documents.to_text(rows))
    else:
        session.io.out(f"{'ID':<36} {'PID':<10} {'STATUS':<11} {'BUNDLE':<40} CREATED")
        for row in rows:
            session.io.out(
                f"{row['id']:<36} {row['pid']:<10} {row['status']:<11} {row['bundle']:<40}"
                f" {row['created']}"
            )
    return 0


def _ps(session: Session) -> int:
    pids = lifecycle.processes(session.store, session.id)
    if session.options[FORMAT] == "json":
        session.io.out(documents.to_text(pids))
        return 0
    import subprocess

    words = session.options.arguments[1:] or ("-ef",)
    lines = subprocess.run(
        ["ps", *words], check=True, capture_output=True, text=True
    ).stdout.splitlines()
    column = lines[0].split().index("PID")
    wanted = {str(pid) for pid in pids}
    for line in lines[:1] + [line for line in lines[1:] if line.split()[column] in wanted]:
        session.io.out(line)
    return 0


def _pause(session: Session) -> int:
    lifecycle.pause(session.store, session.id)
    return 0


def _resume(session: Session) -> int:
    lifecycle.resume(session.store, session.id)
    return 0


def _update(session: Session) -> int:
    path = session.options[limits.DOCUMENT]
    resources = limits.read_resources(session.options, _read(path) if path else b"")
    lifecycle.update(session.store, session.id, resources)
    return 0


def _exec(session: Session) -> int:
    options, store = session.options, session.store
    record, spec = store.load(session.id), store.load_spec(session.id)
    if spec.process is None:
        raise Conflict(f"container {session.id} is damaged")
    path = options[execflags.PROCESS]
    process = execflags.compose(spec.process, options, _read(path) if path else b"")
    if process.terminal and options[DETACH] and not options[CONSOLE_SOCKET]:
        raise Invalid("cannot allocate tty if runc will detach without setting console socket")
    signals = None if options[DETACH] else Signals()
    handle = enter(record, spec, process, STDIO, preserved=options[PRESERVE_FDS])
    if options[CONSOLE_SOCKET] and process.terminal:
        send_console(options[CONSOLE_SOCKET], handle.console)
    if options[PID_FILE]:
        write_pid_file(options[PID_FILE], handle.pid)
    if signals is None:
        return 0
    code = attend(handle, signals).code
    handle.close()
    return code


def _spec(session: Session) -> int:
    if session.options[ROOTLESS]:
        raise Unsupported("containers without root are not part of this version")
    path = os.path.join(_bundle(session), "config.json")
    if os.path.exists(path):
        raise Conflict(f"file {path} exists. Remove it first")
    # Through the typed document, so that what is written is what would be read.
    document = msgspec.json.decode(oci.encode(documents.default_spec()))
    with open(path, "w", encoding="utf-8") as file:
        file.write(documents.to_text(document) + "\n")
    return 0


def _features(session: Session) -> int:
    session.io.out(documents.to_text(documents.features()))
    return 0


def _warn(session: Session, sentences: Sequence[str]) -> None:
    for sentence in sentences:
        session.warn(sentence)


def _bundle(session: Session) -> str:
    return os.path.realpath(os.path.join(session.io.cwd, session.options[BUNDLE]))


def _request(session: Session) -> Request:
    options = session.options
    if options[NO_PIVOT]:
        raise Unsupported(
            "--no-pivot is not available: the root is always changed with pivot_root(2)",
            "a container on the initial ramfs needs a root filesystem of its own",
        )
    return Request(
        console_socket=options[CONSOLE_SOCKET],
        pid_file=options[PID_FILE],
        preserved=options[PRESERVE_FDS],
    )


def _signal(word: str) -> int:
    if word.isdigit() and 0 < int(word) <= signal.SIGRTMAX:
        return int(word)
    name = word.upper()
    name = name if name.startswith("SIG") else f"SIG{name}"
    try:
        return signal.Signals[name].value
    except KeyError:
        raise Invalid(f"unknown signal {word!r}") from None


def _read(path: str) -> bytes:
    if path == "-":
        with open(0, "rb", closefd=False) as file:
            return file.read()
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise Invalid(f"cannot read {path}: {error.strerror}") from error


_DELETE = Command(
    words="delete", usage="[OPTIONS] ID", summary="Remove a container", flags=(FORCE,),
    least=1, most=1,
)  # fmt: skip


def _one(words: str, summary: str, *flags: Flag[Any], most: int | None = 1) -> Command:
    return Command(
        words=words, usage="[OPTIONS] ID", summary=summary, flags=flags, least=1, most=most
    )


VERBS = {
    "create": Verb(_one("create", "Create a container from a bundle", *_CREATION), _create),
    "start": Verb(_one("start", "Start a created container"), _start),
    "run": Verb(
        _one("run", "Create and start a container, and wait for its end", *_CREATION, DETACH, KEEP,
             NO_SUBREAPER),
        _run,
    ),
    "state": Verb(_one("state", "Show the state of a container"), _state),
    "kill": Verb(_one("kill", "Signal a container (default SIGTERM)", ALL, most=2), _kill),
    "delete": Verb(_DELETE, _delete),
    "exec": Verb(
        Command(words="exec", usage="[OPTIONS] ID COMMAND [ARG...]", interspersed=False,
                summary="Start a process in a container", flags=execflags.FLAGS, least=1,
                most=None),
        _exec,
    ),
    "ps": Verb(_one("ps", "Show the processes of a container", FORMAT, most=None), _ps),
    "pause": Verb(_one("pause", "Freeze a container"), _pause),
    "resume": Verb(_one("resume", "Thaw a container"), _resume),
    "update": Verb(_one("update", "Change the limits of a container", *limits.FLAGS), _update),
    "list": Verb(
        Command(words="list", usage="[OPTIONS]", summary="List the containers",
                flags=(FORMAT, QUIET)),
        _list,
    ),
    "spec": Verb(
        Command(words="spec", usage="[OPTIONS]", summary="Write a config.json to begin with",
                flags=(BUNDLE, ROOTLESS)),
        _spec,
    ),
    "features": Verb(
        Command(words="features", usage="", summary="Show what this runtime understands"),
        _features,
    ),
}  # fmt: skip
