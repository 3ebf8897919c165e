"""``proa exec``: run one more command in a running container."""

from __future__ import annotations

from proa.cli.invocation import Invocation
from proa.cli.parser import Command
from proa.cli.runflags import table as t
from proa.cli.runflags.config import environment, working_dir
from proa.cli.streams import attach
from proa.engine.config import ExecConfig

COMMAND = Command(
    words="container exec",
    usage="[OPTIONS] CONTAINER COMMAND [ARG...]",
    summary="Execute a command in a running container",
    flags=(
        t.DETACH, t.DETACH_KEYS, t.ENV, t.ENV_FILE, t.INTERACTIVE, t.PRIVILEGED, t.TTY, t.USER,
        t.WORKDIR,
    ),
    least=2,
    most=None,
    interspersed=False,
    starts_process=True,
    details=(
        "The exit code is the command's; 126 when it cannot be executed, 127 when the container "
        "has no such command, 1 when Proa itself failed."
    ),
)  # fmt: skip


def execute(call: Invocation) -> int:
    """Run the command to its end, or only start it with ``--detach``."""
    options, io = call.options, call.io
    name, *command = call.arguments
    detach = options[t.DETACH]
    config = ExecConfig(
        command=tuple(command),
        env=environment(options, io),
        user=options[t.USER],
        working_dir=working_dir(options),
        tty=options[t.TTY],
        open_stdin=options[t.INTERACTIVE],
        privileged=options[t.PRIVILEGED],
        detach=detach,
    )
    streams = None
    if not detach:
        streams = attach(
            io, stdin=config.open_stdin, tty=config.tty, detach_keys=options[t.DETACH_KEYS]
        )
    return call.engine.containers.exec(name, config, streams=streams)
