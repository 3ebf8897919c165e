"""A container's live sandbox, owned by its supervisor."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from proa.cgroups.processes import signal_listed
from proa.errors import Conflict, Unsupported, from_os_error
from proa.oci.isolation import SandboxSpec, Stats, Stdio
from proa.oci.resources import LinuxResources
from proa.oci.spec import Mount, Process
from proa.runtime.handle import Handle
from proa.runtime.launch import Launch

if TYPE_CHECKING:
    from proa.cgroups.cgroup import Cgroup
    from proa.runtime.executors.selection import Executor

_SIGKILL = 9


class ProcessSandbox:
    """Implements :class:`proa.oci.isolation.Sandbox` with namespaces and a cgroup.

    State: *created* while ``_parked`` is set, *running* until init has been reaped, then *stopped*.

    Attributes:
        warnings: what was asked for and could not be had here, one sentence each.
    """

    __slots__ = (
        "_cgroup",
        "_children",
        "_deleted",
        "_devpts",
        "_executor",
        "_init",
        "_parked",
        "_spec",
        "warnings",
    )

    def __init__(
        self,
        spec: SandboxSpec,
        launch: Launch,
        cgroup: Cgroup | None,
        executor: Executor,
        warnings: list[str],
        *,
        parked: bool,
    ) -> None:
        self._spec = spec
        self._cgroup = cgroup
        self._executor = executor
        self._devpts, launch.devpts = launch.devpts, -1
        console, launch.master = launch.master, -1
        self._init = Handle(launch.child.pid, launch.child.pidfd, console, cgroup)
        self._parked: Launch | None = launch if parked else None
        self._deleted = False
        self._children: list[Handle] = []
        self.warnings = warnings

    @classmethod
    def adopt(
        cls,
        spec: SandboxSpec,
        init: Handle,
        cgroup: Cgroup | None,
        executor: Executor,
        devpts: int,
    ) -> ProcessSandbox:
        """A running sandbox whose init another process is the parent of."""
        sandbox = cls.__new__(cls)
        sandbox._spec = spec
        sandbox._cgroup = cgroup
        sandbox._executor = executor
        sandbox._devpts = devpts
        sandbox._init = init
        sandbox._parked = None
        sandbox._deleted = False
        sandbox._children = []
        sandbox.warnings = []
        return sandbox

    @property
    def devpts(self) -> int:
        """Descriptor of the container's devpts, -1 if it has none; owned by this object."""
        return self._devpts

    @property
    def init(self) -> Handle:
        """The container's first process."""
        return self._init

    def start(self) -> None:
        """Let a parked init execute its command.

        Raises:
            CommandNotFound, CommandNotExecutable: the command's fault.
            Conflict: the sandbox is not *created*.
            ProaError: the last steps failed.
        """
        launch = self._parked
        if launch is None:
            raise Conflict(f"container {self._spec.id} has been started already")
        self._parked = None
        launch.release()
        try:
            if not launch.executed():
                self._init.signal(_SIGKILL)
                raise launch.explain(self._init.wait().signal)
        finally:
            launch.close()

    def exec(self, process: Process, stdio: Stdio) -> Handle:
        """Start one more process inside.

        Raises:
            CommandNotFound, CommandNotExecutable: the command's fault.
            Conflict: init does not run.
            ProaError: a step failed.
        """
        from proa.runtime.execute import execute

        if self._parked is not None or self._init.ended() or self._deleted:
            raise Conflict(f"container {self._spec.id} is not running")
        handle = execute(
            self._spec, process, stdio, self._init, self._cgroup, self._devpts, self._executor
        )
        self._children = [child for child in self._children if not child.ended()]
        self._children.append(handle)
        return handle

    def kill(self, number: int, *, everything: bool = False) -> None:
        """Signal init, or every process of the sandbox."""
        if not everything:
            self._init.signal(number)
            return
        if number == _SIGKILL and self._cgroup is not None:
            self._cgroup.kill()
            return
        try:
            signal_listed(self.processes, number)
        except OSError as error:
            raise from_os_error(error, f"cannot signal container {self._spec.id}") from error

    def pause(self) -> None:
        """Freeze all processes; returns once they are frozen."""
        self._controlled().freeze()

    def resume(self) -> None:
        """Thaw all processes."""
        self._controlled().thaw()

    def update(self, resources: LinuxResources) -> None:
        """Change limits of the live sandbox; unset fields keep their value."""
        self._controlled().update(resources)

    def mount(self, mount: Mount) -> None:
        """Bind a host directory or file into the running sandbox.

        Raises:
            Conflict: what is at the destination does not fit, or the sandbox is not running.
            ProaError: the source does not exist; the kernel refused.
        """
        from proa.runtime import livemounts

        assert self._spec.spec.linux is not None
        subject = f"container {self._spec.id[:12]}"
        self.warnings += livemounts.attach(
            mount, self._init, self._spec.spec.linux, self._executor, subject
        )

    def unmount(self, destination: str) -> None:
        """Take a mount away from the running sandbox; open files stay open.

        Raises:
            ProaError: the sandbox is not running; the kernel refused.
        """
        from proa.runtime import livemounts

        subject = f"container {self._spec.id[:12]}"
        livemounts.detach(destination, self._init, self._executor, subject)

    def stats(self) -> Stats:
        """Read the controllers."""
        return self._cgroup.stats() if self._cgroup is not None else Stats()

    def processes(self) -> list[int]:
        """Host pids of all processes in the sandbox; only init without a cgroup."""
        if self._deleted:
            return []
        if self._cgroup is not None:
            return self._cgroup.pids()
        return [] if self._init.ended() else [self._init.pid]

    def delete(self) -> None:
        """Kill what still runs and remove all that ``create`` made on the host. Idempotent."""
        if self._deleted:
            return
        if not self._init.ended():
            self._init.signal(_SIGKILL)
            if self._cgroup is not None and self._cgroup.frozen():
                self._cgroup.thaw()
            self._reap_children()
            self._init.wait()
        if self._parked is not None:
            self._parked.close()
            self._parked = None
        if self._cgroup is not None:
            if not self._ends_with_init():
                self._cgroup.kill()
            self._cgroup.delete()
        self._deleted = True
        self._init.close()
        if self._devpts >= 0:
            os.close(self._devpts)
            self._devpts = -1

    def forget(self) -> None:
        """Close what this process has of it; the sandbox lives on under another owner."""
        self._deleted = True
        self._init.close()
        if self._cgroup is not None:
            self._cgroup.close()
        if self._devpts >= 0:
            os.close(self._devpts)
            self._devpts = -1

    def _ends_with_init(self) -> bool:
        """Whether the kernel has killed all others: init was the first of its pid namespace."""
        linux = self._spec.spec.linux
        assert linux is not None
        return any(item.type == "pid" and not item.path for item in linux.namespaces)

    def _reap_children(self) -> None:
        """Reap what ``exec`` started: the kernel ends a pid namespace's init only after them."""
        for handle in self._children:
            if not handle.ended() and handle.pidfd >= 0:
                handle.signal(_SIGKILL)
                handle.wait()
        self._children.clear()

    def _controlled(self) -> Cgroup:
        if self._cgroup is None:
            raise Unsupported(f"container {self._spec.id} has no cgroup on this host")
        return self._cgroup
