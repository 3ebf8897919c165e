"""One container's cgroup: the contract that v1 and v2 both implement.

Lifetime: :meth:`proa.cgroups.manager.CgroupManager.create` makes the group and sets its limits, the
container's first process joins by itself (:meth:`Cgroup.join_fds`) or is born inside
(:meth:`Cgroup.clone_fd`), :meth:`Cgroup.delete` removes the group once it is empty. Any process may
:meth:`~proa.cgroups.manager.CgroupManager.open` the group of another one by its path.

Crash rule: the kernel keeps groups, so a crash between ``create`` and ``delete`` leaves directories
below the parent. ``open(path)`` finds what is there, whole or half, and ``delete`` removes it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proa.oci.isolation import Stats
    from proa.oci.resources import LinuxResources


class Cgroup(ABC):
    """The groups of one container in all hierarchies.

    Attributes:
        path: path below the hierarchies' roots, ``/proa/<id>``.
        warnings: what was asked for and could not be had on this machine, one sentence each.
    """

    path: str
    warnings: list[str]

    @abstractmethod
    def set_up(self, resources: LinuxResources, *, every_controller: bool) -> None:
        """Set the limits of a group that was just made; called once, by the manager.

        Raises:
            ProaError: a limit is refused; the group has been removed.
        """

    @abstractmethod
    def join_fds(self) -> tuple[int, ...]:
        """Descriptors to which a **single-threaded** child writes ``b"0"`` to join (v1).

        Empty on v2. The kernel checks the opener's credentials, so a child that is already in a
        user namespace may write. They are close-on-exec, opened once, owned by this object and
        stay open until :meth:`close`.
        """

    @abstractmethod
    def clone_fd(self) -> int:
        """Directory for ``clone3(CLONE_INTO_CGROUP)``, owned by this object; -1 on v1, hybrid."""

    @abstractmethod
    def add(self, pid: int) -> None:
        """Move a process with all its threads into the group (slow path: up to 11 ms on v1).

        Raises:
            NotFound: no such process.
        """

    @abstractmethod
    def update(self, resources: LinuxResources) -> None:
        """Change the limits of the live group; unset fields keep their value.

        Raises:
            Invalid: a value no machine could hold.
            Unsupported: this machine cannot hold it.
            Conflict: more is in use than the new limit allows.
        """

    @abstractmethod
    def stats(self) -> Stats:
        """Read the controllers."""

    @abstractmethod
    def freeze(self, timeout_s: float = 10.0) -> None:
        """Stop all processes; returns once all of them are frozen.

        Raises:
            TimedOut: they are not; the group has been thawed again.
            Unsupported: the machine has no freezer.
        """

    @abstractmethod
    def thaw(self) -> None:
        """Let all processes go on. Idempotent."""

    @abstractmethod
    def frozen(self) -> bool:
        """Whether :meth:`freeze` is in force, also when another process asked for it."""

    @abstractmethod
    def pids(self) -> list[int]:
        """Host pids of all processes in the group and in groups that were made below it."""

    @abstractmethod
    def kill(self, timeout_s: float = 10.0) -> None:
        """SIGKILL all processes, frozen ones too, and wait until none is left. Idempotent.

        The group is thawed afterwards.

        Raises:
            TimedOut: a process survived (uninterruptible sleep).
        """

    @abstractmethod
    def wait_empty(self, timeout_s: float) -> bool:
        """Wait until no live process is in the group; False when the time ran out."""

    @abstractmethod
    def oom_kills(self) -> int:
        """How many processes of the group the OOM killer ended; -1 without a memory controller."""

    @abstractmethod
    def oom_event_fd(self) -> int:
        """Descriptor to poll for out-of-memory events, -1 without a memory controller.

        It becomes readable (POLLIN) when the group hits its limit and cannot reclaim; read it once
        (4096 bytes) to rearm it, then ask :meth:`oom_kills`. Owned by this object.
        """

    @abstractmethod
    def paths(self) -> Mapping[str, str]:
        """Absolute directory of the group for each controller that the container is in."""

    @abstractmethod
    def delete(self, timeout_s: float = 2.0) -> None:
        """Remove the group and all groups below it, leaf first; closes this object. Idempotent.

        Processes that are just ending are awaited. The empty parent goes too unless it is pinned
        by :meth:`~proa.cgroups.manager.CgroupManager.prepare`.

        Raises:
            Conflict: processes are left in it (kill them first).
        """

    @abstractmethod
    def close(self) -> None:
        """Close all descriptors; the group stays. Idempotent."""

    def __enter__(self) -> Cgroup:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
