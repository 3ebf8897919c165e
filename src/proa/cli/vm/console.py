"""``proa vm console``: see and type on the serial console of a virtual machine."""

from __future__ import annotations

from proa.cli.invocation import Invocation
from proa.cli.kinds import scalar
from proa.cli.parser import Command, Flag
from proa.cli.runflags import values

DETACH_KEYS = Flag(
    "detach-keys", scalar("string", values.read_detach_keys, ""), "Keys that leave (ctrl-])"
)

COMMAND = Command(
    words="vm console",
    usage="[OPTIONS] VM",
    summary="Attach to the serial console of a running virtual machine",
    flags=(DETACH_KEYS,),
    least=1,
    most=1,
    details="It begins with what the machine said last. ctrl-] leaves it running.",
)


def execute(call: Invocation) -> int:
    """Stay until the machine ends or the user leaves."""
    return show_console(call, call.arguments[0])


def show_console(call: Invocation, name: str) -> int:
    """Relay a machine's console."""
    left = call.engine.vms.attach_console(
        name,
        stdin_fd=call.io.stdin_fd,
        stdout_fd=call.io.stdout_fd,
        detach_keys=call[DETACH_KEYS],
    )
    if left and call.io.is_terminal(call.io.stdout_fd):
        call.io.err("")
    return 0
