"""``proa start``: start stopped containers, attached to one if asked."""

from __future__ import annotations

from proa.cli.invocation import Invocation
from proa.cli.kinds import BOOL, STRING
from proa.cli.parser import EXIT_FAILURE, Command, Flag, UsageError
from proa.cli.runflags.table import DETACH_KEYS, SIG_PROXY
from proa.cli.streams import attach

ATTACH = Flag("attach", BOOL, "Attach STDOUT/STDERR and forward signals", short="a")
INTERACTIVE = Flag("interactive", BOOL, "Attach container's STDIN", short="i")
_NO_CHECKPOINTS = "containers can't be saved while they run"
CHECKPOINTS = (
    Flag("checkpoint", STRING, "Not available", refusal=_NO_CHECKPOINTS),
    Flag("checkpoint-dir", STRING, "Not available", refusal=_NO_CHECKPOINTS),
)

COMMAND = Command(
    words="container start",
    usage="[OPTIONS] CONTAINER [CONTAINER...]",
    summary="Start one or more stopped containers",
    flags=(ATTACH, *CHECKPOINTS, DETACH_KEYS, INTERACTIVE, SIG_PROXY),
    least=1,
    most=None,
)


def execute(call: Invocation) -> int:
    """Start each container; attached, answer with the container's exit code."""
    if not (call[ATTACH] or call[INTERACTIVE]):

        def start(name: str) -> str:
            call.engine.containers.start(name)
            return name

        return call.for_each(start)
    if len(call.arguments) > 1:
        raise UsageError(
            "you cannot start and attach multiple containers at once", exit_code=EXIT_FAILURE
        )
    name = call.arguments[0]
    config = call.engine.containers.get(name).config
    streams = attach(
        call.io,
        stdin=call[INTERACTIVE] and config.open_stdin,
        tty=config.tty,
        detach_keys=call[DETACH_KEYS],
        sig_proxy=call[SIG_PROXY],
    )
    return call.engine.containers.start(name, streams=streams) or 0
