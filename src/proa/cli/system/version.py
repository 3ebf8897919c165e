"""``proa version``: which Proa, which Python, which kernel."""

from __future__ import annotations

from proa.cli.invocation import Invocation
from proa.cli.parser import Command
from proa.cli.system.facts import FORMAT, show_facts

_CLIENT = ("Version", "ApiVersion", "Os", "Arch", "PythonVersion")
"""There is one program; the two halves are Docker's words, which scripts ask for."""

COMMAND = Command(
    words="version",
    usage="[OPTIONS]",
    summary="Show the Proa version information",
    flags=(FORMAT,),
)


def execute(call: Invocation) -> int:
    """Show what the engine says about itself."""
    found = call.engine.system.version()
    client = {name: found[name] for name in _CLIENT if name in found}
    show_facts(call.io, {"Client": client, "Server": found}, call[FORMAT])
    return 0
