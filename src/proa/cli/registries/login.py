"""``proa login``: check credentials with a registry and keep them."""

from __future__ import annotations

from proa.cli.invocation import Invocation
from proa.cli.kinds import BOOL, STRING
from proa.cli.parser import EXIT_FAILURE, Command, Flag, UsageError
from proa.cli.prompts import ask, ask_secretly

PASSWORD = Flag("password", STRING, "Password or access token", short="p")
PASSWORD_STDIN = Flag("password-stdin", BOOL, "Take the password or access token from stdin")
USERNAME = Flag("username", STRING, "User name", short="u")

COMMAND = Command(
    words="login",
    usage="[OPTIONS] [SERVER]",
    summary="Authenticate to a registry",
    flags=(PASSWORD, PASSWORD_STDIN, USERNAME),
    most=1,
    details=(
        "Without SERVER: Docker Hub. The credentials are checked with the registry and kept where "
        "Docker's client keeps them: in the credential helper that config.json names, else in "
        "config.json itself. They are never sent over plain HTTP, except to this machine."
    ),
)

_LONGEST_PASSWORD_BYTES = 1 << 20


def execute(call: Invocation) -> int:
    """Ask for what is missing, log in, say where the credentials are."""
    io = call.io
    registry = call.arguments[0] if call.arguments else ""
    username, password = call[USERNAME], call[PASSWORD]
    if call[PASSWORD_STDIN]:
        if password:
            raise UsageError(
                "--password and --password-stdin are mutually exclusive", exit_code=EXIT_FAILURE
            )
        if not username:
            raise UsageError("Must provide --username with --password-stdin", exit_code=1)
        password = _read_password(call)
    elif password:
        io.err("WARNING! Using --password via the CLI is insecure. Use --password-stdin.")
    if not (username and password) and not io.is_terminal(io.stdin_fd):
        raise UsageError(
            "cannot ask for the password: stdin is no terminal; use '--password-stdin'",
            exit_code=EXIT_FAILURE,
        )
    if not username:
        stored = call.engine.registries.find_user(registry)
        username = ask(io, f"Username ({stored}): " if stored else "Username: ") or stored
    if not password:
        password = ask_secretly(io, "Password: ")
    if not username or not password:
        raise UsageError("user name and password must not be empty", exit_code=EXIT_FAILURE)
    helper = call.engine.registries.log_in(registry, username, password)
    if not helper:
        io.err(
            "WARNING! The credentials are stored unencrypted in Docker's config.json.\n"
            "Configure a credential helper to remove this warning."
        )
    io.out("Login Succeeded")
    return 0


def _read_password(call: Invocation) -> str:
    with call.io.open_stdin() as stream:
        data = stream.read(_LONGEST_PASSWORD_BYTES)
    # One line's end is the shell's, not the password's.
    return data.decode("utf-8", "surrogateescape").removesuffix("\n").removesuffix("\r")
