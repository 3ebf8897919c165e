"""``proa machine ssh``: a shell or a command in the machine."""

from __future__ import annotations

from proa.cli.invocation import Invocation
from proa.cli.parser import Command

COMMAND = Command(
    words="machine ssh",
    usage="[COMMAND [ARG...]]",
    summary="Run a command in the machine, or a shell",
    most=None,
    interspersed=False,
)


def execute(call: Invocation) -> int:
    """Run it; the exit code is the command's. Words are joined to a line of shell, as ssh does."""
    import subprocess

    terminal = call.io.is_terminal(call.io.stdin_fd) and call.io.is_terminal(call.io.stdout_fd)
    command = call.engine.machine.ssh_command(" ".join(call.arguments), terminal=terminal)
    return subprocess.run(
        command,
        stdin=call.io.stdin_fd,
        stdout=call.io.stdout_fd,
        stderr=call.io.stderr_fd,
        check=False,
    ).returncode
