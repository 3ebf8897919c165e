"""The cgroups of containers, as this process creates them."""

from __future__ import annotations

from proa.cgroups.cgroup import Cgroup
from proa.cgroups.manager import CgroupManager
from proa.cgroups.systemd import cgroup_path
from proa.oci.isolation import SandboxSpec

_manager: CgroupManager | None = None


def manager() -> CgroupManager:
    """The process' cgroup manager; it survives fork, so the zygote's is its workers'."""
    global _manager
    if _manager is None:
        _manager = CgroupManager()
    return _manager


def born_inside() -> bool:
    """Whether a child is cloned into its group (v2), which must be there before it."""
    return manager().hierarchy.mode == "v2"


def create(sandbox: SandboxSpec) -> Cgroup:
    """Make a container's group with its limits.

    Raises:
        ProaError: see :meth:`proa.cgroups.manager.CgroupManager.create`.
    """
    linux = sandbox.spec.linux
    assert linux is not None
    path = linux.cgroups_path
    if not path.startswith("/"):
        path = cgroup_path(path, sandbox.id)
    return manager().create(path, linux.resources)
