"""``proa vm start``: start virtual machines."""

from __future__ import annotations

from proa.cli.invocation import Invocation
from proa.cli.kinds import BOOL
from proa.cli.parser import Command, Flag
from proa.cli.vm.console import DETACH_KEYS, show_console

CONSOLE = Flag("console", BOOL, "Show the console of the machine", short="c")

COMMAND = Command(
    words="vm start",
    usage="[OPTIONS] VM [VM...]",
    summary="Start one or more virtual machines",
    flags=(CONSOLE, DETACH_KEYS),
    least=1,
    most=None,
)


def execute(call: Invocation) -> int:
    """Start each machine; print its name."""

    def start(name: str) -> str:
        warning = call.engine.vms.start(name)
        if warning:
            call.io.err(f"WARNING: {warning}")
        return name

    code = call.for_each(start)
    if call[CONSOLE] and not code:
        return show_console(call, call.arguments[0])
    return code
