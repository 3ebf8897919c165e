"""``proa system emulate``: emulators of other architectures, registered with the kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proa.cli.invocation import Invocation
from proa.cli.parser import EXIT_FAILURE, Command, UsageError
from proa.cli.render import FORMAT, Listing, Row, show_listing

if TYPE_CHECKING:
    from proa.engine.emulation import Emulator

COMMAND = Command(
    words="system emulate",
    usage="[OPTIONS] install|list|remove [ARCHITECTURE...]",
    summary="Register emulators for images of other architectures",
    flags=(FORMAT,),
    least=1,
    most=None,
    details=(
        "On Linux 6.7 and later containers need none of this: each gets a registry of its own in "
        "its user namespace. On older kernels, and for containers in the host's user namespace, "
        "'install' registers the installed qemu-user emulators (all, or those named) with the "
        "host's kernel, opened once and for all (flag F); 'remove' takes away what 'install' made "
        "and nothing else."
    ),
)

_HEADINGS = {
    "Architecture": "ARCHITECTURE",
    "Interpreter": "INTERPRETER",
    "Registered": "REGISTERED",
    "Containers": "CONTAINERS",
}


def execute(call: Invocation) -> int:
    """Do what the first word says."""
    verb, *architectures = call.arguments
    system = call.engine.system
    if verb == "list":
        wanted = set(architectures)
        rows = [
            _row(one) for one in system.list_emulators() if not wanted or one.architecture in wanted
        ]
        listing = Listing(
            headings=_HEADINGS, shown=tuple(_HEADINGS), rows=rows, identity="Architecture"
        )
        show_listing(call.io, listing, call[FORMAT])
    elif verb == "install":
        for one in system.install_emulators(architectures):
            call.io.out(f"{one.architecture}: {one.interpreter}")
    elif verb == "remove":
        for architecture in system.remove_emulators(architectures):
            call.io.out(architecture)
    else:
        raise UsageError(
            f"unknown verb: {verb}: must be one of install, list, remove", exit_code=EXIT_FAILURE
        )
    return 0


def _row(emulator: Emulator) -> Row:
    if emulator.own_registry and emulator.interpreter:
        containers = "own registry"
    else:
        containers = "host's registry" if emulator.handler else "-"
    return {
        "Architecture": emulator.architecture,
        "Interpreter": emulator.interpreter or "-",
        "Registered": emulator.handler or "-",
        "Containers": containers,
    }
