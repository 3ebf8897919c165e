"""``proa export``: a container's whole root as a tar."""

from __future__ import annotations

import os

from proa.cli.invocation import Invocation
from proa.cli.kinds import STRING
from proa.cli.parser import EXIT_FAILURE, Command, Flag, UsageError
from proa.errors import from_os_error

OUTPUT = Flag("output", STRING, "Write to a file, instead of STDOUT", short="o")

COMMAND = Command(
    words="container export",
    usage="[OPTIONS] CONTAINER",
    summary="Export a container's filesystem as a tar archive",
    flags=(OUTPUT,),
    least=1,
    most=1,
)


def execute(call: Invocation) -> int:
    """Write the tar; a file appears only when it is whole."""
    io, name = call.io, call[OUTPUT]
    pieces = call.engine.containers.export(call.arguments[0])
    if not name:
        if io.is_terminal(io.stdout_fd):
            raise UsageError(
                "cowardly refusing to save to a terminal. Use the -o flag or redirect",
                exit_code=EXIT_FAILURE,
            )
        for piece in pieces:
            io.write(io.stdout_fd, piece)
        return 0
    path = io.path(name)
    partial = f"{path}.{os.getpid()}.partial"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        fd = os.open(partial, flags, 0o600)
        try:
            for piece in pieces:
                io.write(fd, piece)
            os.rename(partial, path)
        except BaseException:
            os.unlink(partial)
            raise
        finally:
            os.close(fd)
    except OSError as error:
        raise from_os_error(error, f"cannot write {name}") from error
    return 0
