"""What the manager asks of a cgroup version."""

from __future__ import annotations

from typing import Protocol

from proa.cgroups.cgroup import Cgroup


class Driver(Protocol):
    """One cgroup version on one machine; parents are paths without a trailing slash."""

    def prepare(self, parent: str) -> None:
        """Make and open all that ``create`` needs below a parent."""

    def pin(self, parent: str) -> None:
        """Keep a parent while this process lives."""

    def create(self, parent: str, name: str) -> Cgroup:
        """Make a group without limits, for :meth:`Cgroup.set_up`."""

    def open(self, parent: str, name: str) -> Cgroup:
        """Find a group."""

    def close(self) -> None:
        """Remove the empty parents that this process made, close descriptors."""
