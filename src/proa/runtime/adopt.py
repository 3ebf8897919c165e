"""Acting on a container whose init is another process' child (its keeper's)."""

from __future__ import annotations

import select

from proa.cgroups.cgroup import Cgroup
from proa.errors import NotFound
from proa.linux.procfs import read_exit_status
from proa.oci.isolation import ExitStatus, SandboxSpec
from proa.runtime import groups
from proa.runtime.executors.selection import choose
from proa.runtime.handle import Handle
from proa.runtime.sandbox import ProcessSandbox

_SIGNAL_BASE = 128
_SIGKILL = 9


class FosterHandle(Handle):
    """A process whose parent keeps it as a zombie once it has ended (``proa.runtime.keeper``)."""

    __slots__ = ()

    def wait(self) -> ExitStatus:
        """Wait for the end and read how it ended; the zombie stays its parent's. Idempotent."""
        if self._status is None:
            poll = select.poll()
            poll.register(self._pidfd, select.POLLIN)
            poll.poll()
            try:
                code, signal = read_exit_status(self._pid)
            except OSError:
                # Its parent has died, and it with its parent.
                code, signal = 0, _SIGKILL
            self._status = ExitStatus(
                code=_SIGNAL_BASE + signal if signal else code,
                signal=signal,
                oom_killed=self._cgroup is not None and self._cgroup.oom_kills() > 0,
            )
        return self._status


def adopt(spec: SandboxSpec, pid: int, *, pidfd: int, console: int, devpts: int) -> ProcessSandbox:
    """Return the running sandbox of ``spec``; the descriptors become its own.

    Args:
        spec: what it was made from.
        pid: of its init.
        pidfd: of its init.
        console: master side of init's terminal, -1 for none.
        devpts: the container's devpts, -1 for none.
    """
    linux = spec.spec.linux
    assert linux is not None
    cgroup: Cgroup | None
    try:
        cgroup = groups.manager().open(linux.cgroups_path)
    except NotFound:
        cgroup = None
    init = FosterHandle(pid, pidfd, console, cgroup)
    return ProcessSandbox.adopt(spec, init, cgroup, choose("auto"), devpts)
