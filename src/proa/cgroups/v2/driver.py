"""Make and find groups in the unified hierarchy.

Controllers are enabled from the root down to the parent (``cgroup.subtree_control``). A level that
has processes of its own cannot hand domain controllers on ("no internal processes"); where that, or
missing delegation, keeps a controller away, the container's group says so in its warnings.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from proa.cgroups.devices import effective_rules
from proa.cgroups.hierarchy import Hierarchy
from proa.cgroups.node import Node
from proa.cgroups.parents import Parents
from proa.cgroups.processes import wait_gone
from proa.cgroups.settings import group_error
from proa.cgroups.v2 import devices
from proa.cgroups.v2.group import V2Cgroup
from proa.errors import Conflict, NotFound
from proa.oci.resources import LinuxDeviceCgroup, LinuxResources

_WANTED = ("cpu", "cpuset", "hugetlb", "io", "memory", "pids")
_LEFTOVER_WAIT_S = 0.2


class V2Driver:
    """All v2 groups of one machine."""

    def __init__(self, hierarchy: Hierarchy, check: Callable[[LinuxResources], None]) -> None:
        self.mount = hierarchy.unified
        self.check = check
        self.parents = Parents((self.mount,), self._initialise)
        self._enabled: dict[str, frozenset[str]] = {}
        self._program = -1

    def prepare(self, parent: str) -> None:
        """Open everything that ``create`` needs below a parent."""
        try:
            self.parents.ensure(self.mount, parent)
            self._default_program()
        except OSError as error:
            raise group_error(error, f"cannot prepare the cgroup {parent}") from error

    def pin(self, parent: str) -> None:
        """Keep a parent while this process lives."""
        self.parents.pin(parent)

    def create(self, parent: str, name: str) -> V2Cgroup:
        """Make the group."""
        try:
            node = self._make(parent, name)
        except OSError as error:
            raise group_error(error, f"cannot make the cgroup {parent}/{name}") from error
        return V2Cgroup(self, parent, node, self._enabled.get(self.mount + parent, frozenset()))

    def open(self, parent: str, name: str) -> V2Cgroup:
        """Find the group."""
        node = self.parents.find(self.mount, parent, name)
        if node is None:
            raise NotFound(f"there is no cgroup {parent}/{name}")
        try:
            controllers = frozenset(node.read("cgroup.controllers").split())
        except OSError as error:
            raise group_error(error, f"cannot read the cgroup {parent}/{name}") from error
        return V2Cgroup(self, parent, node, controllers)

    def release(self, parent: str) -> None:
        """Remove a parent if nothing is in it any more."""
        self.parents.release(parent)

    def set_devices(
        self, directory_fd: int, rules: tuple[LinuxDeviceCgroup, ...], *, fresh: bool
    ) -> None:
        """Put a container's own rules in force; the program of the default list is kept loaded."""
        put = devices.attach if fresh else devices.replace
        if not any(rule.allow for rule in rules):
            put(directory_fd, self._default_program())
            return
        program = devices.load(effective_rules(rules))
        try:
            put(directory_fd, program)
        finally:
            os.close(program)

    def _default_program(self) -> int:
        if self._program < 0:
            self._program = devices.load(effective_rules(()))
        return self._program

    def close(self) -> None:
        """Remove empty parents, close descriptors."""
        self.parents.close()
        if self._program >= 0:
            os.close(self._program)
            self._program = -1

    def _make(self, parent: str, name: str) -> Node:
        try:
            return self.parents.make(self.mount, parent, name)
        except FileExistsError:
            node = self.parents.find(self.mount, parent, name)
        if node is not None:
            # A dead container's group (its engine was killed) gives way.
            wait_gone(node.pids, _LEFTOVER_WAIT_S)
            if not node.remove_tree():
                raise Conflict(
                    f"cgroup {node.path} exists and has processes",
                    "another container with that id is running",
                )
        return self.parents.make(self.mount, parent, name)

    def _initialise(self, level: Node, _above: Node | None) -> None:
        """Hand all controllers that we use on to the groups below ``level``."""
        available = level.read("cgroup.controllers").split()
        enabled = set(level.read("cgroup.subtree_control").split())
        for controller in _WANTED:
            if controller not in available or controller in enabled:
                continue
            try:
                level.write("cgroup.subtree_control", f"+{controller}")
            except OSError:
                continue  # not ours to give: the container's group warns when it is missed
            enabled.add(controller)
        self._enabled[level.path] = frozenset(enabled)
