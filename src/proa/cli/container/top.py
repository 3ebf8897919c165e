"""``proa top``: the processes of a container."""

from __future__ import annotations

from proa.cli.invocation import Invocation
from proa.cli.parser import Command
from proa.engine.template import align

COMMAND = Command(
    words="container top",
    usage="CONTAINER [ps OPTIONS]",
    summary="Display the running processes of a container",
    least=1,
    most=None,
    interspersed=False,
    details="Options are those of ps that name columns: -ef (the default), aux, -l, -o pid,args.",
)


def execute(call: Invocation) -> int:
    """Print the table."""
    name, *options = call.arguments
    table = call.engine.containers.top(name, options)
    text = align(["\t".join(row) for row in (table.titles, *table.processes)])
    call.io.write(call.io.stdout_fd, text.encode(errors="surrogateescape"))
    return 0
