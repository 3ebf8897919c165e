"""Create and find cgroups, on whatever hierarchies this machine has mounted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from proa.cgroups.cgroup import Cgroup

if TYPE_CHECKING:
    from proa.cgroups.hierarchy import Hierarchy
    from proa.oci.resources import LinuxDeviceCgroup, LinuxResources


class CgroupManager:
    """Makes groups; remembers what is mounted and the parents it has prepared.

    An instance is cheap to keep and survives ``fork``. One per process is enough.
    """

    def __init__(self, hierarchy: Hierarchy | None = None) -> None: ...

    def prepare(self, parent: str = "/proa") -> None:
        """Make a parent group ready and pin it: it is not removed when its last child goes.

        For long-lived processes (the zygote) so that ``create`` is one mkdir per controller. The
        pin is per process and is inherited by ``fork``; :meth:`close` removes the parent.
        """
        raise NotImplementedError

    def create(
        self,
        path: str,
        resources: LinuxResources | None = None,
        *,
        devices: Sequence[LinuxDeviceCgroup] = (),
    ) -> Cgroup:
        """Make a group with its limits set.

        Args:
            path: ``/<parent>/<id>``; the parent is made when it is missing.
            resources: OCI ``linux.resources``.
            devices: rules that hold before those of ``resources`` (default: everything denied but
                the standard devices).

        Raises:
            Invalid: a limit no machine could hold; the message names the flag.
            Unsupported: a limit this machine cannot hold.
            Conflict: the group exists and has processes.
            ProaError: any kind; nothing is left behind.
        """
        raise NotImplementedError

    def open(self, path: str) -> Cgroup:
        """The existing group of another process.

        Raises:
            NotFound: in no hierarchy is there such a group.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Remove the parents that this process made if they are empty, close descriptors."""
        raise NotImplementedError
