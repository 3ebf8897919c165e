"""Make and find v1 groups.

Which controllers a container gets a group in (figures: ``docs/explanation/cgroups.md``):

* *always* ``memory``, ``pids``, ``cpu``, ``cpuacct``: a limit, a fair share or a counter would be
  wrong if it began later than the container;
* ``devices``: one group shared by all containers with the default list;
* ``cpuset``, ``blkio``, ``freezer`` (and the rest): when they are first needed. The container's
  processes are then moved in; see :func:`proa.cgroups.processes.gather` for why none escapes;
* all of them, from the start, with ``every_controller`` (a container that is shown the cgroup
  filesystem writable must find a group of its own in each hierarchy).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from proa.cgroups import devices as device_rules
from proa.cgroups.hierarchy import Hierarchy
from proa.cgroups.node import Node
from proa.cgroups.parents import Parents
from proa.cgroups.processes import wait_gone
from proa.cgroups.settings import group_error
from proa.cgroups.v1 import cpuset, devices
from proa.cgroups.v1.group import V1Cgroup
from proa.errors import Conflict, NotFound
from proa.oci.resources import LinuxResources

_ALWAYS = ("memory", "pids", "cpu", "cpuacct")
_CONTROLLED = (*_ALWAYS, "cpuset", "blkio", "devices", "freezer")
_LEFTOVER_WAIT_S = 0.2


class V1Driver:
    """All v1 groups of one machine."""

    def __init__(self, hierarchy: Hierarchy, check: Callable[[LinuxResources], None]) -> None:
        self.mounts = hierarchy.v1
        self.check = check
        self.parents = Parents(self.mounts.values(), self._initialise, self._vacate)
        self._shared: dict[str, int] = {}
        self.default_rules = device_rules.fold_rules(device_rules.effective_rules(()))
        self._missing = [name for name in _CONTROLLED if name not in self.mounts]
        self._disabled = hierarchy.disabled
        self._always = tuple(name for name in _ALWAYS if name in self.mounts)

    def prepare(self, parent: str) -> None:
        """Open everything that ``create`` needs below a parent."""
        try:
            for controller in self._always:
                self.parents.ensure(self.mounts[controller], parent)
            self.shared_devices_fd(parent)
        except OSError as error:
            raise group_error(error, f"cannot prepare the cgroup {parent}") from error

    def pin(self, parent: str) -> None:
        """Keep a parent while this process lives."""
        self.parents.pin(parent)

    def create(self, parent: str, name: str) -> V1Cgroup:
        """Make the groups every container has; nothing is left behind on failure."""
        group = V1Cgroup(self, parent, name, {})
        group.warnings += [self._missing_warning(name) for name in self._missing]
        group.grow(self._always)
        return group

    def open(self, parent: str, name: str) -> V1Cgroup:
        """Find the groups that exist."""
        nodes: dict[str, Node] = {}
        by_mount: dict[str, Node | None] = {}
        for controller, mount in self.mounts.items():
            if mount not in by_mount:
                by_mount[mount] = self.parents.find(mount, parent, name)
            node = by_mount[mount]
            if node is not None:
                nodes[controller] = node
        if not nodes:
            raise NotFound(f"there is no cgroup {parent}/{name}")
        return V1Cgroup(self, parent, name, nodes)

    def release(self, parent: str) -> None:
        """Remove a parent if nothing is in it any more."""
        self.parents.release(parent)

    def find(self, controller: str, parent: str, name: str) -> Node | None:
        """One controller's group, if it exists."""
        mount = self.mounts.get(controller)
        return None if mount is None else self.parents.find(mount, parent, name)

    def close(self) -> None:
        """Remove empty parents, close descriptors."""
        self.parents.close()
        for path in list(self._shared):
            self._close_shared(path)

    def make(self, controller: str, parent: str, name: str, nodes: Mapping[str, Node]) -> Node:
        """Make one controller's group, or find the one of a controller mounted together with it.

        Raises:
            Conflict: there is such a group and it has processes.
        """
        mount = self.mounts[controller]
        for other, node in nodes.items():
            if self.mounts[other] == mount:
                return node
        try:
            node = self.parents.make(mount, parent, name)
        except FileExistsError:
            node = self._replace_leftover(mount, parent, name)
        if controller == "cpuset" or "cpuset" in self._with(mount):
            cpuset.inherit(node, _parent_node(node, parent, mount))
        return node

    def fold_own_devices(self, resources: LinuxResources) -> device_rules.FoldedRules | None:
        """The list that a container's rules make of the default one; None: it stays that."""
        if not any(rule.allow for rule in resources.devices):
            return None
        folded = device_rules.fold_rules(device_rules.effective_rules(resources.devices))
        return None if folded == self.default_rules else folded

    def shared_devices_fd(self, parent: str) -> int:
        """``tasks`` of the shared devices group below a parent; -1 without one. Kept open."""
        fd = self._shared.get(parent)
        if fd is None:
            mount = self.mounts.get("devices")
            fd = -1
            if mount is not None:
                fd = devices.open_shared(
                    lambda: self.parents.make(mount, parent, devices.SHARED),
                    lambda: self.parents.find(mount, parent, devices.SHARED),
                    self.default_rules,
                )
            self._shared[parent] = fd
        return fd

    def _with(self, mount: str) -> list[str]:
        return [controller for controller, point in self.mounts.items() if point == mount]

    def _replace_leftover(self, mount: str, parent: str, name: str) -> Node:
        """Take the place of a dead container's group (its engine was killed)."""
        node = self.parents.find(mount, parent, name)
        if node is not None:
            wait_gone(node.pids, _LEFTOVER_WAIT_S)
            if not node.remove_tree():
                raise Conflict(
                    f"cgroup {node.path} exists and has processes",
                    "another container with that id is running",
                )
        return self.parents.make(mount, parent, name)

    def _missing_warning(self, name: str) -> str:
        why = "switched off at boot" if name in self._disabled else "not mounted"
        return f"the cgroup controller {name} is {why}: its limits and figures are not available"

    def _initialise(self, level: Node, above: Node | None) -> None:
        if above is not None and level.exists("cpuset.cpus"):
            cpuset.inherit(level, above)

    def _vacate(self, level: Node) -> None:
        mount = self.mounts.get("devices")
        if mount is not None and level.path.startswith(f"{mount}/"):
            self._close_shared(level.path.removeprefix(mount))
            devices.remove_shared(level)

    def _close_shared(self, parent: str) -> None:
        fd = self._shared.pop(parent, -1)
        if fd >= 0:
            os.close(fd)


def _parent_node(node: Node, parent: str, mount: str) -> Node:
    return Node(node.parent, ".", f"{mount}{parent}")
