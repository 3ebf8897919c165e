"""Remove what a supervisor that was killed has left on the host.

Its container's init died with it (parent-death signal), and so did the namespaces and all mounts in
them. What stays is the cgroup, with processes in it if ``exec`` had started some in the host's pid
namespace or the kernel has not finished killing them.
"""

from __future__ import annotations

import os

from proa.cgroups.systemd import DEFAULT_PARENT
from proa.errors import NotFound, Unsupported
from proa.runtime.groups import manager


def list_groups(parent: str) -> set[str]:
    """Names of the groups below a parent, in whichever hierarchy they are left."""
    hierarchy = manager().hierarchy
    names: set[str] = set()
    for mount in {*hierarchy.v1.values(), *([hierarchy.unified] if hierarchy.unified else [])}:
        try:
            names.update(os.listdir(f"{mount}/{parent.strip('/')}"))
        except (FileNotFoundError, NotADirectoryError):
            continue
    return names


def remove_remains(container_id: str, cgroup_path: str = "") -> bool:
    """Kill and remove what is left of a container. Idempotent.

    Args:
        container_id: its full id.
        cgroup_path: its group below the hierarchies' roots; empty for the default place.

    Returns:
        Whether there was anything.

    Raises:
        ProaError: the remains cannot be removed (a process that cannot be killed).
    """
    path = cgroup_path or f"{DEFAULT_PARENT}/{container_id}"
    try:
        cgroup = manager().open(path)
    except (NotFound, Unsupported):
        return False
    cgroup.kill()
    cgroup.delete()
    return True
