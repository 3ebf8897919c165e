"""``proa attach``: join the streams of a running container."""

from __future__ import annotations

from proa.cli.invocation import Invocation
from proa.cli.kinds import BOOL
from proa.cli.parser import Command, Flag
from proa.cli.runflags.table import DETACH_KEYS, SIG_PROXY
from proa.cli.streams import attach

NO_STDIN = Flag("no-stdin", BOOL, "Do not attach STDIN")

COMMAND = Command(
    words="container attach",
    usage="[OPTIONS] CONTAINER",
    summary="Attach local standard input, output, and error streams to a running container",
    flags=(DETACH_KEYS, NO_STDIN, SIG_PROXY),
    least=1,
    most=1,
)


def execute(call: Invocation) -> int:
    """Stay until the container ends, and answer with its exit code, or until the user leaves."""
    containers = call.engine.containers
    name = call.arguments[0]
    config = containers.get(name).config
    streams = attach(
        call.io,
        stdin=config.open_stdin and not call[NO_STDIN],
        tty=config.tty,
        detach_keys=call[DETACH_KEYS],
        sig_proxy=call[SIG_PROXY],
    )
    return containers.attach(name, streams=streams, sig_proxy=call[SIG_PROXY]) or 0
