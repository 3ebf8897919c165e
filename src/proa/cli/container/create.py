"""``proa create``: create a container without starting it."""

from __future__ import annotations

from proa.cli.container.imaging import with_image
from proa.cli.invocation import Invocation
from proa.cli.parser import Command
from proa.cli.runflags import table as t
from proa.cli.runflags.cidfile import CidFile
from proa.cli.runflags.config import config_from, pull_policy

COMMAND = Command(
    words="container create",
    usage="[OPTIONS] IMAGE [COMMAND] [ARG...]",
    summary="Create a new container",
    flags=t.SHARED,
    least=1,
    most=None,
    interspersed=False,
)


def execute(call: Invocation) -> int:
    """Create the container and print its id."""
    options, io = call.options, call.io
    config = config_from(options, io)
    pull = pull_policy(options)
    path = options[t.CIDFILE]
    with CidFile(io.path(path) if path else "") as cidfile:
        created = with_image(
            call,
            config,
            pull,
            lambda: call.engine.containers.create(config, name=options[t.NAME], pull="never"),
        )
        cidfile.write(created.id)
    for warning in created.warnings:
        io.err(f"WARNING: {warning}")
    io.out(created.id)
    return 0
