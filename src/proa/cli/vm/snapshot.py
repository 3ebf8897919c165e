"""``proa vm snapshot``: keep a machine as it is, and return to it."""

from __future__ import annotations

from proa.cli.invocation import Invocation
from proa.cli.parser import Command, UsageError

COMMAND = Command(
    words="vm snapshot",
    usage="save|load|rm VM NAME | ls VM",
    summary="Save, load, remove or list snapshots of a virtual machine",
    least=2,
    most=3,
    details="A snapshot of a running machine has its memory too. Loading one undoes all that the"
    " machine wrote since.",
)


def execute(call: Invocation) -> int:
    """Do what the first word says."""
    vms = call.engine.vms
    action, machine, *names = call.arguments
    if action == "ls" and not names:
        for name in vms.snapshots(machine):
            call.io.out(name)
        return 0
    actions = {
        "save": vms.save_snapshot,
        "load": vms.load_snapshot,
        "rm": vms.delete_snapshot,
    }
    if action not in actions or not names:
        raise UsageError(f"usage: proa vm snapshot {COMMAND.usage}")
    actions[action](machine, names[0])
    call.io.out(names[0])
    return 0
