"""A container's v1 groups, one in each hierarchy that it needs."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from typing import Protocol

from proa.cgroups.cgroup import Cgroup
from proa.cgroups.devices import FoldedRules
from proa.cgroups.node import Node
from proa.cgroups.processes import gather, kill_listed, wait_gone, write_pid
from proa.cgroups.settings import group_error
from proa.cgroups.stats import Reading, to_stats
from proa.cgroups.v1 import blkio, cpu, cpuacct, cpuset, devices, freezer, memory, pids, taskio
from proa.errors import Conflict, NotFound, TimedOut, Unsupported
from proa.oci.isolation import Stats
from proa.oci.resources import LinuxResources

_PRIMARY = ("pids", "memory", "cpu", "cpuacct", "devices", "freezer", "blkio", "cpuset")
_KILL_AGAIN_S = 0.1
_RMDIR_AGAIN_S = 0.0005
_COLLECT = {
    "memory": memory.collect,
    "cpu": cpu.collect,
    "cpuacct": cpuacct.collect,
    "pids": pids.collect,
    "blkio": blkio.collect,
}


class GroupMaker(Protocol):
    """What a group asks of the driver that made it (:class:`proa.cgroups.v1.driver.V1Driver`)."""

    mounts: Mapping[str, str]
    default_rules: FoldedRules

    def check(self, resources: LinuxResources) -> None:
        """Raise Invalid for limits that cannot be held."""

    def make(self, controller: str, parent: str, name: str, nodes: Mapping[str, Node]) -> Node:
        """Make one controller's group."""

    def find(self, controller: str, parent: str, name: str) -> Node | None:
        """Find one controller's group."""

    def fold_own_devices(self, resources: LinuxResources) -> FoldedRules | None:
        """The device list that a container's rules make of the default one; None: the default."""

    def shared_devices_fd(self, parent: str) -> int:
        """``tasks`` of the shared devices group, -1 without one."""

    def release(self, parent: str) -> None:
        """Remove the parent if it is empty."""


class V1Cgroup(Cgroup):
    """Groups by controller; controllers that are mounted together have the same node."""

    def __init__(self, maker: GroupMaker, parent: str, name: str, nodes: dict[str, Node]) -> None:
        self.path = f"{parent}/{name}"
        self.warnings: list[str] = []
        self.nodes = nodes
        self._maker = maker
        self._parent = parent
        self._name = name
        self._tasks: dict[str, int] = {}
        self._oom_fd = -1

    def grow(self, controllers: Iterable[str]) -> None:
        """Make the groups of more controllers, still empty; on failure all groups are removed."""
        try:
            for controller in controllers:
                if controller not in self.nodes:
                    self.nodes[controller] = self._maker.make(
                        controller, self._parent, self._name, self.nodes
                    )
        except OSError as error:
            self.abandon()
            raise group_error(error, f"cannot make the cgroup {self.path}") from error
        except BaseException:
            self.abandon()
            raise

    def set_up(self, resources: LinuxResources, *, every_controller: bool) -> None:
        if every_controller:
            self.grow(self._maker.mounts)
        try:
            self.apply(resources, self._maker.fold_own_devices(resources), fresh=True)
        except OSError as error:
            self.abandon()
            raise group_error(error, f"cannot set up the cgroup {self.path}") from error
        except BaseException:
            self.abandon()
            raise

    def join_fds(self) -> tuple[int, ...]:
        for node in self.nodes.values():
            if node.path not in self._tasks:
                try:
                    self._tasks[node.path] = node.open("tasks", Node.write_flags)
                except OSError as error:
                    raise group_error(error, f"cannot open the cgroup {self.path}") from error
        fds = tuple(self._tasks.values())
        if "devices" not in self.nodes and "devices" in self._maker.mounts:
            shared = self._maker.shared_devices_fd(self._parent)
            if shared < 0:
                raise Conflict(
                    f"cgroup {self.path} was made by another version of the engine",
                    "restart the container",
                )
            fds += (shared,)
        return fds

    def clone_fd(self) -> int:
        return -1

    def add(self, pid: int) -> None:
        nodes = self._distinct()
        if "devices" not in self.nodes:
            shared = self._maker.find("devices", self._parent, devices.SHARED)
            nodes += [shared] if shared is not None else []
        try:
            for node in nodes:
                fd = node.open("cgroup.procs", Node.write_flags)
                try:
                    if not write_pid(fd, pid):
                        raise NotFound(f"there is no process {pid}")
                finally:
                    os.close(fd)
        except OSError as error:
            raise group_error(error, f"cannot move process {pid} into {self.path}") from error

    def update(self, resources: LinuxResources) -> None:
        self._maker.check(resources)
        rules = self._maker.fold_own_devices(resources) if resources.devices else None
        try:
            self.apply(resources, rules, fresh=False)
        except OSError as error:
            raise group_error(error, f"cannot change the cgroup {self.path}") from error

    def apply(self, resources: LinuxResources, rules: FoldedRules | None, *, fresh: bool) -> None:
        """Set the limits that are given.

        Controllers that are first needed now get their group here; its limits are set before the
        container's processes are moved in. On failure these groups are removed again.

        Args:
            resources: checked.
            rules: the device list, None for the default one.
            fresh: the groups have just been made and are empty.
        """
        late: dict[str, Node] = {}
        try:
            self._apply_limits(resources, late, fresh=fresh)
            self._apply_devices(rules, late, fresh=fresh)
            if not fresh:
                for node in late.values():
                    gather(self.pids, node, timeout_s=5.0)
        except BaseException:
            for node in late.values():
                node.remove_tree()
            raise
        self.nodes.update(late)
        self._warn_of_rest(resources)

    def _apply_limits(
        self, resources: LinuxResources, late: dict[str, Node], *, fresh: bool
    ) -> None:
        warnings = self.warnings
        if resources.memory is not None and (node := self._need("memory", late)):
            warnings += memory.apply(node, resources.memory, fresh=fresh)
        if resources.pids is not None and (node := self._need("pids", late)):
            warnings += pids.apply(node, resources.pids, fresh=fresh)
        if resources.cpu is not None and (node := self._need("cpu", late)):
            warnings += cpu.apply(node, resources.cpu, fresh=fresh)
        if (
            resources.cpu is not None
            and cpuset.wants(resources.cpu)
            and (node := self._need("cpuset", late))
        ):
            warnings += cpuset.apply(node, resources.cpu)
        if (
            resources.block_io is not None
            and blkio.wants(resources.block_io)
            and (node := self._need("blkio", late))
        ):
            warnings += blkio.apply(node, resources.block_io)

    def _apply_devices(
        self, rules: FoldedRules | None, late: dict[str, Node], *, fresh: bool
    ) -> None:
        if "devices" not in self._maker.mounts:
            return
        if fresh and rules is None and "devices" not in self.nodes:
            if self._maker.shared_devices_fd(self._parent) >= 0:
                return
            rules = self._maker.default_rules
        elif fresh and rules is None:
            rules = self._maker.default_rules
        if rules is not None and (node := self._need("devices", late)):
            devices.apply(node, rules)

    def _need(self, controller: str, late: dict[str, Node]) -> Node | None:
        """A controller's group, made when the container is not in one yet."""
        node = self.nodes.get(controller) or late.get(controller)
        if node is None and controller in self._maker.mounts:
            node = self._maker.make(controller, self._parent, self._name, self.nodes | late)
            if node not in self.nodes.values():
                late[controller] = node
            else:
                self.nodes[controller] = node
        return node

    def _warn_of_rest(self, resources: LinuxResources) -> None:
        if resources.unified:
            raise Unsupported(
                f"unified resource {next(iter(resources.unified))!r} needs cgroup v2",
                "this machine has cgroup v1",
            )
        if resources.hugepage_limits:
            self.warnings.append("huge page limits are not supported and were ignored")
        if resources.network is not None:
            self.warnings.append("net_cls and net_prio are not supported and were ignored")
        if resources.rdma:
            self.warnings.append("RDMA limits are not supported and were ignored")

    def stats(self) -> Stats:
        reading: Reading = {}
        try:
            for controller, node in self.nodes.items():
                collect = _COLLECT.get(controller)
                if collect is not None:
                    collect(node, reading)
            if "blkio" not in self.nodes:
                taskio.collect(self.pids(), reading)
        except OSError as error:
            raise group_error(error, f"cannot read the cgroup {self.path}") from error
        return to_stats(reading)

    def freeze(self, timeout_s: float = 10.0) -> None:
        late: dict[str, Node] = {}
        try:
            node = self._need("freezer", late)
            if node is None:
                raise Unsupported("this machine has no freezer: containers cannot be paused")
            freezer.start_freezing(node)
            self.nodes.update(late)
            if late:
                gather(self.pids, node, timeout_s)
            if not freezer.wait_frozen(node, timeout_s):
                freezer.thaw(node)
                raise TimedOut(f"cgroup {self.path} did not freeze within {timeout_s:g} seconds")
        except OSError as error:
            raise group_error(error, f"cannot freeze the cgroup {self.path}") from error

    def thaw(self) -> None:
        node = self._freezer()
        if node is not None:
            try:
                freezer.thaw(node)
            except OSError as error:
                raise group_error(error, f"cannot thaw the cgroup {self.path}") from error

    def frozen(self) -> bool:
        node = self._freezer()
        return node is not None and freezer.is_freezing(node)

    def pids(self) -> list[int]:
        return sorted(set(self._primary().pids()))

    def kill(self, timeout_s: float = 10.0) -> None:
        deadline = time.monotonic() + timeout_s
        limited = self._forbid_forks()
        try:
            while True:
                kill_listed(self.pids)
                # A frozen process dies only when it is thawed, with the signal already waiting.
                if self.frozen():
                    self.thaw()
                left_s = deadline - time.monotonic()
                if wait_gone(self.pids, min(_KILL_AGAIN_S, max(left_s, 0))):
                    return
                if left_s <= 0:
                    raise TimedOut(
                        f"processes {self.pids()} of cgroup {self.path} survived SIGKILL",
                        "they hang in the kernel; look at /proc/<pid>/stack",
                    )
        except OSError as error:
            raise group_error(error, f"cannot kill the cgroup {self.path}") from error
        finally:
            if limited:
                self._write_quietly(limited)

    def _forbid_forks(self) -> str:
        """Set the pids limit to 0, so that killing ends; returns the limit to be restored."""
        node = self.nodes.get("pids")
        if node is None:
            return ""
        limit = (node.find(pids.MAX) or "").strip()
        return limit if limit and self._write_quietly("0") else ""

    def _write_quietly(self, limit: str) -> bool:
        try:
            self.nodes["pids"].write(pids.MAX, limit)
        except OSError:  # the group went meanwhile
            return False
        return True

    def wait_empty(self, timeout_s: float) -> bool:
        return wait_gone(self.pids, timeout_s)

    def oom_kills(self) -> int:
        node = self.nodes.get("memory")
        return -1 if node is None else memory.oom_kills(node)

    def oom_event_fd(self) -> int:
        node = self.nodes.get("memory")
        if self._oom_fd < 0 and node is not None:
            try:
                self._oom_fd = memory.open_oom_event(node)
            except OSError as error:
                raise group_error(error, f"cannot watch the cgroup {self.path}") from error
        return self._oom_fd

    def paths(self) -> Mapping[str, str]:
        found = {controller: node.path for controller, node in self.nodes.items()}
        if "devices" not in found and (mount := self._maker.mounts.get("devices")):
            found["devices"] = f"{mount}{self._parent}/{devices.SHARED}"
        return found

    def delete(self, timeout_s: float = 2.0) -> None:
        deadline = time.monotonic() + timeout_s
        for controller in self._maker.mounts:
            # Groups that another process made for this container (a paused one's freezer).
            if controller not in self.nodes and (node := self._find(controller)):
                self.nodes[controller] = node
        left = self._distinct()
        try:
            while left := [node for node in left if not node.remove_tree()]:
                if not wait_gone(left[0].pids, max(deadline - time.monotonic(), 0)):
                    raise Conflict(
                        f"cgroup {left[0].path} still has processes {left[0].pids()}",
                        "kill them first",
                    )
                if time.monotonic() > deadline:
                    raise Conflict(f"cgroup {left[0].path} stays busy")
                time.sleep(_RMDIR_AGAIN_S)
        except OSError as error:
            raise group_error(error, f"cannot remove the cgroup {self.path}") from error
        self.nodes.clear()
        self.close()
        self._maker.release(self._parent)

    def abandon(self) -> None:
        """Remove what a failed ``create`` has made; nothing is in it."""
        for node in self._distinct():
            node.remove_tree()
        self.nodes.clear()
        self.close()
        self._maker.release(self._parent)

    def close(self) -> None:
        for fd in self._tasks.values():
            os.close(fd)
        self._tasks.clear()
        if self._oom_fd >= 0:
            os.close(self._oom_fd)
            self._oom_fd = -1

    def _primary(self) -> Node:
        """The group whose list of processes is the container's."""
        for controller in _PRIMARY:
            node = self.nodes.get(controller)
            if node is not None:
                return node
        raise NotFound(f"cgroup {self.path} is gone")

    def _distinct(self) -> list[Node]:
        return list({node.path: node for node in self.nodes.values()}.values())

    def _find(self, controller: str) -> Node | None:
        return self._maker.find(controller, self._parent, self._name)

    def _freezer(self) -> Node | None:
        node = self.nodes.get("freezer")
        return node if node is not None else self._find("freezer")
