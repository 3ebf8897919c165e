"""A container's group in the unified hierarchy."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Protocol

from proa.cgroups.cgroup import Cgroup
from proa.cgroups.node import Node
from proa.cgroups.processes import kill_listed, write_pid
from proa.cgroups.settings import group_error, write_limit
from proa.cgroups.stats import Reading, to_stats
from proa.cgroups.v2 import cpu, cpuset, freezer, io, memory, pids
from proa.cgroups.v2.core import KILL, wait_event
from proa.errors import Conflict, NotFound, TimedOut, Unsupported
from proa.linux import inotify
from proa.oci.isolation import Stats
from proa.oci.resources import LinuxDeviceCgroup, LinuxResources

_KILL_AGAIN_S = 0.1
_RMDIR_AGAIN_S = 0.0005


class GroupMaker(Protocol):
    """What a group asks of the driver that made it (:class:`proa.cgroups.v2.driver.V2Driver`)."""

    def check(self, resources: LinuxResources) -> None:
        """Raise Invalid for limits that cannot be held."""

    def set_devices(
        self, directory_fd: int, rules: tuple[LinuxDeviceCgroup, ...], *, fresh: bool
    ) -> None:
        """Put a container's own device rules in force."""

    def release(self, parent: str) -> None:
        """Remove the parent if it is empty."""


class V2Cgroup(Cgroup):
    """One directory.

    Args:
        controllers: those that are enabled for this group.
    """

    def __init__(
        self, maker: GroupMaker, parent: str, node: Node, controllers: frozenset[str]
    ) -> None:
        self.path = f"{parent}/{node.name}"
        self.warnings: list[str] = []
        self.node = node
        self.controllers = controllers
        self._maker = maker
        self._parent = parent
        self._directory_fd = -1
        self._oom_fd = -1

    def set_up(
        self,
        resources: LinuxResources,
        *,
        every_controller: bool,  # noqa: ARG002 - one group has them all
    ) -> None:
        try:
            self.apply(resources, fresh=True)
        except OSError as error:
            self.delete()
            raise group_error(error, f"cannot set up the cgroup {self.path}") from error
        except BaseException:
            self.delete()
            raise

    def join_fds(self) -> tuple[int, ...]:
        return ()

    def clone_fd(self) -> int:
        if self._directory_fd < 0:
            try:
                self._directory_fd = self.node.open(flags=os.O_RDONLY | os.O_DIRECTORY)
            except OSError as error:
                raise group_error(error, f"cannot open the cgroup {self.path}") from error
        return self._directory_fd

    def add(self, pid: int) -> None:
        try:
            fd = self.node.open("cgroup.procs", Node.write_flags)
            try:
                if not write_pid(fd, pid):
                    raise NotFound(f"there is no process {pid}")
            finally:
                os.close(fd)
        except OSError as error:
            raise group_error(error, f"cannot move process {pid} into {self.path}") from error

    def update(self, resources: LinuxResources) -> None:
        self._maker.check(resources)
        try:
            self.apply(resources, fresh=False)
        except OSError as error:
            raise group_error(error, f"cannot change the cgroup {self.path}") from error

    def apply(self, resources: LinuxResources, *, fresh: bool) -> None:
        """Set the limits that are given; ``fresh``: everything still has the kernel's default."""
        warnings, node = self.warnings, self.node
        if resources.memory is not None and self._has("memory", "--memory"):
            warnings += memory.apply(node, resources.memory, fresh=fresh)
        if resources.pids is not None and self._has("pids", "--pids-limit"):
            warnings += pids.apply(node, resources.pids, fresh=fresh)
        if resources.cpu is not None:
            wanted = resources.cpu
            if (wanted.shares or wanted.quota or wanted.period) and self._has("cpu", "--cpus"):
                warnings += cpu.apply(node, wanted, fresh=fresh)
            if (wanted.cpus or wanted.mems) and self._has("cpuset", "--cpuset-cpus"):
                warnings += cpuset.apply(node, wanted)
        if resources.block_io is not None and self._has("io", "--blkio-weight, --device-*"):
            warnings += io.apply(node, resources.block_io)
        self._apply_devices(resources, fresh=fresh)
        for file, value in resources.unified.items():
            write_limit(node, file, value, f"unified resource {file}")
        self._warn_of_rest(resources)

    def _apply_devices(self, resources: LinuxResources, *, fresh: bool) -> None:
        if not fresh and not resources.devices:
            return
        try:
            self._maker.set_devices(self.clone_fd(), resources.devices, fresh=fresh)
        except OSError as error:
            raise group_error(
                error,
                f"cannot set the device rules of cgroup {self.path}",
                "the kernel needs CONFIG_CGROUP_BPF, and the engine CAP_BPF and CAP_NET_ADMIN",
            ) from error

    def _has(self, controller: str, flag: str) -> bool:
        if controller in self.controllers:
            return True
        self.warnings.append(
            f"{flag} is ignored: the cgroup controller {controller} is not available in "
            f"{self._parent or '/'}"
        )
        return False

    def _warn_of_rest(self, resources: LinuxResources) -> None:
        if resources.hugepage_limits:
            self.warnings.append("huge page limits are not supported and were ignored")
        if resources.network is not None:
            self.warnings.append("net_cls and net_prio are ignored: cgroup v2 does not have them")
        if resources.rdma:
            self.warnings.append("RDMA limits are not supported and were ignored")

    def stats(self) -> Stats:
        reading: Reading = {}
        try:
            cpu.collect(self.node, reading)
            if "memory" in self.controllers:
                memory.collect(self.node, reading)
            if "pids" in self.controllers:
                pids.collect(self.node, reading)
            if "io" in self.controllers:
                io.collect(self.node, reading)
        except OSError as error:
            raise group_error(error, f"cannot read the cgroup {self.path}") from error
        return to_stats(reading)

    def freeze(self, timeout_s: float = 10.0) -> None:
        try:
            freezer.start_freezing(self.node)
            if not freezer.wait_frozen(self.node, timeout_s):
                freezer.thaw(self.node)
                raise TimedOut(f"cgroup {self.path} did not freeze within {timeout_s:g} seconds")
        except FileNotFoundError as error:
            if not self.node.exists():
                raise NotFound(f"cgroup {self.path} is gone") from error
            raise Unsupported(
                "this kernel has no cgroup v2 freezer: containers cannot be paused",
                "Linux 5.2 or later has it",
            ) from error
        except OSError as error:
            raise group_error(error, f"cannot freeze the cgroup {self.path}") from error

    def thaw(self) -> None:
        try:
            freezer.thaw(self.node)
        except FileNotFoundError:
            return
        except OSError as error:
            raise group_error(error, f"cannot thaw the cgroup {self.path}") from error

    def frozen(self) -> bool:
        return freezer.is_freezing(self.node)

    def pids(self) -> list[int]:
        return sorted(set(self.node.pids()))

    def kill(self, timeout_s: float = 10.0) -> None:
        deadline = time.monotonic() + timeout_s
        try:
            while True:
                # The kernel's kill catches forks and frozen processes; older ones (< 5.14) do not
                # have it and need the loop and the thaw.
                if self.node.exists(KILL):
                    self.node.write(KILL, "1")
                else:
                    kill_listed(self.pids)
                    self.thaw()
                left_s = deadline - time.monotonic()
                if self.wait_empty(min(_KILL_AGAIN_S, max(left_s, 0))):
                    if self.frozen():
                        self.thaw()
                    return
                if left_s <= 0:
                    raise TimedOut(
                        f"processes {self.pids()} of cgroup {self.path} survived SIGKILL",
                        "they hang in the kernel; look at /proc/<pid>/stack",
                    )
        except FileNotFoundError:
            return
        except OSError as error:
            raise group_error(error, f"cannot kill the cgroup {self.path}") from error

    def wait_empty(self, timeout_s: float) -> bool:
        return wait_event(self.node, "populated", 0, timeout_s)

    def oom_kills(self) -> int:
        return memory.oom_kills(self.node)

    def oom_event_fd(self) -> int:
        if self._oom_fd < 0 and "memory" in self.controllers:
            fd = inotify.init()
            try:
                inotify.add_watch(fd, f"{self.node.path}/{memory.EVENTS}", inotify.IN_MODIFY)
            except OSError as error:
                os.close(fd)
                raise group_error(error, f"cannot watch the cgroup {self.path}") from error
            self._oom_fd = fd
        return self._oom_fd

    def paths(self) -> Mapping[str, str]:
        return dict.fromkeys(sorted(self.controllers), self.node.path) | {"": self.node.path}

    def delete(self, timeout_s: float = 2.0) -> None:
        deadline = time.monotonic() + timeout_s
        try:
            while not self.node.remove_tree():
                left_s = deadline - time.monotonic()
                if left_s <= 0 or not self.wait_empty(left_s):
                    raise Conflict(
                        f"cgroup {self.node.path} still has processes {self.pids()}",
                        "kill them first",
                    )
                time.sleep(_RMDIR_AGAIN_S)
        except OSError as error:
            raise group_error(error, f"cannot remove the cgroup {self.path}") from error
        self.close()
        self._maker.release(self._parent)

    def close(self) -> None:
        for fd in (self._directory_fd, self._oom_fd):
            if fd >= 0:
                os.close(fd)
        self._directory_fd = self._oom_fd = -1
