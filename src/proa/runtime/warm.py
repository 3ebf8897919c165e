"""Doing once, in a process that forks, what every launch would do first.

Compiled segments, the machine code, the seccomp filter, the cgroup driver and its parents are kept
in memory; forks share them. Nothing is launched.
"""

from __future__ import annotations

from proa.oci.isolation import SandboxSpec
from proa.runtime import groups, slots
from proa.runtime.compose import compose_init, opened_by_parent
from proa.runtime.executors.selection import choose
from proa.runtime.process import describe_host
from proa.runtime.rlimits import effective_limits
from proa.runtime.sources import Source
from proa.runtime.validate import validate


class _Absent(Source):
    """A bind source that is known by its place only."""

    def __init__(self, slot: int) -> None:
        self.fd = -1
        self.slot = slot
        self.directory = False


def warm(sandbox: SandboxSpec) -> None:
    """Prepare for containers like this one, without making it.

    Its cgroup parent stays until this process ends or calls :func:`cool`.

    Raises:
        ProaError: such a container could not be made here.
    """
    validate(sandbox)
    choose("auto")
    spec = sandbox.spec
    assert spec.process is not None
    manager = groups.manager()
    cgroup = groups.create(sandbox)
    try:
        manager.prepare(cgroup.path.rpartition("/")[0])
        binds = [mount for mount in spec.mounts if opened_by_parent(mount)]
        shown: dict[str, Source] = {
            mount.destination: _Absent(slots.SOURCE + at) for at, mount in enumerate(binds)
        }
        limits, _ = effective_limits(spec.process.rlimits, [])
        host = describe_host(cgroup, len(cgroup.join_fds()), limits, parked=False)
        compose_init(sandbox, shown, host)
        # With a network the child waits for it before its execve.
        compose_init(sandbox, shown, host._replace(parked=True))
        cgroup.stats()
    finally:
        cgroup.delete()


def cool() -> None:
    """Give up the cgroup parents that :func:`warm` keeps."""
    groups.manager().close()
