"""``proa machine status``: how the machine is."""

from __future__ import annotations

from proa.cli.invocation import Invocation
from proa.cli.parser import Command
from proa.cli.system.facts import FORMAT, show_facts

COMMAND = Command(
    words="machine status",
    usage="[OPTIONS]",
    summary="Show whether the machine runs and how to reach it",
    flags=(FORMAT,),
    most=0,
)


def execute(call: Invocation) -> int:
    """Show it; the exit code is 0 while it runs."""
    status = call.engine.machine.status()
    facts = {
        "Status": status.status,
        "Accelerator": status.accelerator,
        "DockerHost": status.docker_host,
        "SshPort": status.ssh_port,
    }
    show_facts(call.io, facts, call[FORMAT])
    return 0 if status.status == "running" else 1
