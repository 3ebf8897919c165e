"""The cgroup around a machine's QEMU."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from proa.errors import NotFound

if TYPE_CHECKING:
    from proa.cgroups.cgroup import Cgroup

OVERHEAD_BYTES = 512 << 20
"""What QEMU may use beyond the guest's memory: translated code, buffers, its own heap."""


def make_group(machine_id: str, memory_bytes: int) -> Cgroup | None:
    """Make the group of a machine with that much memory; None where only root could.

    Raises:
        ProaError: it cannot be made.
    """
    from proa.cgroups.manager import CgroupManager
    from proa.oci.resources import LinuxMemory, LinuxResources

    if os.geteuid() != 0:
        return None
    resources = LinuxResources(memory=LinuxMemory(limit=memory_bytes + OVERHEAD_BYTES))
    return CgroupManager().create(_path(machine_id), resources)


def remove_group(machine_id: str) -> None:
    """Remove what the supervisor of a machine left when it was killed. Idempotent."""
    from proa.cgroups.manager import CgroupManager

    if os.geteuid() != 0:
        return
    try:
        CgroupManager().open(_path(machine_id)).delete()
    except NotFound:
        pass


def _path(machine_id: str) -> str:
    return f"/proa/vm-{machine_id}"
