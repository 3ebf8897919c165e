"""``proa version``: which Proa, which Python, which kernel."""

from __future__ import annotations

from proa.cli.invocation import Invocation
from proa.cli.parser import Command
from proa.cli.system.facts import FORMAT, show_facts

COMMAND = Command(
    words="version",
    usage="[OPTIONS]",
    summary="Show the Proa version information",
    flags=(FORMAT,),
)


def execute(call: Invocation) -> int:
    """Show what the engine says about itself."""
    show_facts(call.io, call.engine.system.version(), call[FORMAT])
    return 0
