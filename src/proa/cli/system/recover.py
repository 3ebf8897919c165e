"""``proa system recover``: set things right after a crash or a reboot."""

from __future__ import annotations

from proa.cli.invocation import Invocation
from proa.cli.parser import EXIT_FAILURE, Command

COMMAND = Command(
    words="system recover",
    usage="[OPTIONS]",
    summary="Start again what a crash or a reboot has ended, by restart policy",
    details=(
        "Run it at boot. Listings do it too for containers whose supervisor was killed. It trusts "
        "locks, never the pids of before, and may be run at any time."
    ),
)


def execute(call: Invocation) -> int:
    """Print the id of each container that was started."""
    restored = call.engine.system.recover()
    for container_id in restored.started:
        call.io.out(container_id)
    for container_id, why in restored.failed.items():
        call.io.err(f"proa: container {container_id[:12]} cannot be started: {why}")
    return EXIT_FAILURE if restored.failed else 0
