"""``proa run``: create a container, run it, answer with its exit code."""

from __future__ import annotations

from proa.cli.container.imaging import with_image
from proa.cli.invocation import Invocation
from proa.cli.parser import EXIT_ENGINE, EXIT_FAILURE, Command, UsageError
from proa.cli.runflags import table as t
from proa.cli.runflags.cidfile import CidFile
from proa.cli.runflags.config import config_from, pull_policy
from proa.cli.streams import attach

COMMAND = Command(
    words="container run",
    usage="[OPTIONS] IMAGE [COMMAND] [ARG...]",
    summary="Create and run a new container from an image",
    flags=(*t.SHARED, *t.ONLY_RUN),
    least=1,
    most=None,
    interspersed=False,
    failure_code=EXIT_ENGINE,
    starts_process=True,
    details=(
        "The exit code is the container's; 125 when Proa itself failed, 126 when the command "
        "cannot be executed, 127 when the image has no such command, 128 + n when signal n ended "
        "it."
    ),
)


def execute(call: Invocation) -> int:
    """Run the container to its end, or until it is started with ``--detach``."""
    options, io = call.options, call.io
    config = config_from(options, io)
    pull = pull_policy(options)
    detach = options[t.DETACH]
    if detach and options[t.ATTACH]:
        raise UsageError(
            "conflicting options: cannot specify both --attach and --detach",
            exit_code=EXIT_FAILURE,
        )
    streams = None
    if not detach:
        streams = attach(
            io,
            names=options[t.ATTACH],
            stdin=config.open_stdin,
            tty=config.tty,
            detach_keys=options[t.DETACH_KEYS],
            sig_proxy=options[t.SIG_PROXY],
        )
    path = options[t.CIDFILE]
    with CidFile(io.path(path) if path else "") as cidfile:
        outcome = with_image(
            call,
            config,
            pull,
            lambda: call.engine.containers.run(
                config,
                name=options[t.NAME],
                pull="never",
                streams=streams,
                detach=detach,
                on_created=cidfile.write,
                on_warning=lambda warning: io.err(f"WARNING: {warning}"),
            ),
        )
    if detach:
        io.out(outcome.id)
        return 0
    return outcome.exit_code
