"""``exec``: its flags, and the process they and the container's own make."""

from __future__ import annotations

import msgspec

from proa.cli.kinds import BOOL, LIST, STRING, UNSIGNED, read_unsigned, repeated
from proa.cli.parser import Flag, Options
from proa.errors import Invalid
from proa.oci.spec import LinuxCapabilities, Process, User
from proa.runtime.bundle.config import parse

CONSOLE_SOCKET = Flag("console-socket", STRING, "Unix socket that gets the terminal's master")
PID_FILE = Flag("pid-file", STRING, "File to write the process id to")
PRESERVE_FDS = Flag("preserve-fds", UNSIGNED, "How many descriptors behind stdio to pass on")
DETACH = Flag("detach", BOOL, "Do not wait for the process", short="d")

PROCESS = Flag("process", STRING, "File with the process as JSON", short="p")
CWD = Flag("cwd", STRING, "Working directory in the container")
ENV = Flag("env", LIST, "Variables to set", short="e")
TTY = Flag("tty", BOOL, "Give the process a terminal", short="t")
USER = Flag("user", STRING, "User and group as numbers: uid[:gid]", short="u")
GROUPS = Flag("additional-gids", repeated("gid", read_unsigned), "More groups", short="g")
CAPABILITIES = Flag("cap", LIST, "Capabilities to add", short="c")
NO_NEW_PRIVS = Flag("no-new-privs", BOOL, "Forbid new privileges")

FLAGS = (
    CONSOLE_SOCKET, PID_FILE, PRESERVE_FDS, DETACH, PROCESS, CWD, ENV, TTY, USER, GROUPS,
    CAPABILITIES, NO_NEW_PRIVS,
)  # fmt: skip


def compose(own: Process, options: Options, document: bytes) -> Process:
    """The process to start.

    Args:
        own: the container's init.
        document: of ``--process``; empty without.

    Raises:
        Invalid: the document is no process, a user is no number, there is no command.
    """
    if document:
        return parse(document, Process, "the process")
    args = options.arguments[1:]
    if not args:
        raise Invalid("process args cannot be empty")
    user = _user(options[USER]) if options[USER] else own.user
    if options[GROUPS]:
        user = msgspec.structs.replace(
            user, additional_gids=(*user.additional_gids, *options[GROUPS])
        )
    return msgspec.structs.replace(
        own,
        args=args,
        cwd=options[CWD] or own.cwd,
        env=(*own.env, *options[ENV]),
        terminal=options[TTY],
        console_size=None,
        user=user,
        capabilities=_capabilities(own.capabilities, options[CAPABILITIES]),
        no_new_privileges=own.no_new_privileges or options[NO_NEW_PRIVS],
    )


def _user(text: str) -> User:
    uid, _, gid = text.partition(":")
    try:
        return User(uid=read_unsigned(uid), gid=read_unsigned(gid) if gid else 0)
    except ValueError as error:
        raise Invalid(f"the user {text!r} is not of the form uid[:gid]") from error


def _capabilities(
    own: LinuxCapabilities | None, added: tuple[str, ...]
) -> LinuxCapabilities | None:
    if own is None or not added:
        return own
    return msgspec.structs.replace(
        own,
        bounding=(*own.bounding, *added),
        effective=(*own.effective, *added),
        permitted=(*own.permitted, *added),
    )
