"""Capabilities that this process cannot give: left out, with a warning.

Source: runtime-spec ``config.md``, "Linux Process": what cannot be granted is ignored and told.
"""

from __future__ import annotations

import msgspec

from proa.linux import capability
from proa.oci.spec import Linux, LinuxCapabilities, Process


def limit(process: Process, linux: Linux) -> tuple[Process, list[str]]:
    """The process with what can be had, and a warning when that is less.

    In a user namespace of its own a container has every capability.
    """
    process, warnings = _limit_ambient(process)
    process, more = _limit_to_own(process, linux)
    return process, warnings + more


def _limit_ambient(process: Process) -> tuple[Process, list[str]]:
    """Only what is permitted and inheritable can be ambient (prctl(2), PR_CAP_AMBIENT_RAISE)."""
    sets = process.capabilities
    if sets is None:
        return process, []
    possible = set(sets.permitted).intersection(sets.inheritable)
    missing = [name for name in sets.ambient if name not in possible]
    if not missing:
        return process, []
    ambient = tuple([name for name in sets.ambient if name in possible])
    return (
        msgspec.structs.replace(
            process, capabilities=msgspec.structs.replace(sets, ambient=ambient)
        ),
        [f"not ambient, as they are not inheritable: {', '.join(sorted(missing))}"],
    )


def _limit_to_own(process: Process, linux: Linux) -> tuple[Process, list[str]]:
    sets = process.capabilities
    if sets is None or any(namespace.type == "user" for namespace in linux.namespaces):
        return process, []
    own = capability.read_sets().permitted
    missing = {name for name in sets.bounding if not own >> capability.NUMBERS.get(name, 0) & 1}
    for name in (*sets.permitted, *sets.effective, *sets.inheritable, *sets.ambient):
        if name in capability.NUMBERS and not own >> capability.NUMBERS[name] & 1:
            missing.add(name)
    if not missing:
        return process, []
    fields = {
        field: tuple([name for name in getattr(sets, field) if name not in missing])
        for field in LinuxCapabilities.__struct_fields__
    }
    limited = msgspec.structs.replace(process, capabilities=LinuxCapabilities(**fields))
    return limited, [f"not given, as this runtime does not have them: {', '.join(sorted(missing))}"]
