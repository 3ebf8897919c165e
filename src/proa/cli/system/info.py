"""``proa info``: what this machine offers and what the engine makes of it."""

from __future__ import annotations

from proa.cli.invocation import Invocation
from proa.cli.parser import Command
from proa.cli.system.facts import FORMAT, show_facts

COMMAND = Command(
    words="system info",
    usage="[OPTIONS]",
    summary="Display system-wide information",
    flags=(FORMAT,),
)


def execute(call: Invocation) -> int:
    """Show what the engine found; warnings come last, on standard error."""
    facts = dict(call.engine.system.info())
    warnings = facts.get("Warnings")
    if not call[FORMAT] and isinstance(warnings, list | tuple):
        del facts["Warnings"]
        show_facts(call.io, facts, "")
        for warning in warnings:
            call.io.err(f"WARNING: {warning}")
    else:
        show_facts(call.io, facts, call[FORMAT])
    return 0
