"""Create and find cgroups, on whatever hierarchies this machine has mounted.

::

    manager = CgroupManager()
    group = manager.create("/proa/3f1c...", resources)   # limits are set, nobody is inside
    ...  # the child writes b"0" to each of group.join_fds(), or is cloned into group.clone_fd()
    group.delete()

On disk there is nothing; in the hierarchies ``/proa/<id>``, and on v1 ``/proa/@devices``
(:mod:`proa.cgroups.v1.devices`). Concurrency: see :mod:`proa.cgroups.parents`.
"""

from __future__ import annotations

from proa.cgroups.cgroup import Cgroup
from proa.cgroups.driver import Driver
from proa.cgroups.hierarchy import Hierarchy, load_hierarchy
from proa.cgroups.limits import Machine, check_resources, load_machine
from proa.cgroups.settings import group_error
from proa.cgroups.systemd import DEFAULT_PARENT, split_path
from proa.errors import Invalid, Unsupported
from proa.oci.resources import LinuxResources

_NO_LIMITS = LinuxResources()


class CgroupManager:
    """Makes groups; remembers what is mounted and the parents it has prepared.

    An instance is cheap to keep and survives ``fork``. One per process is enough.

    Args:
        hierarchy: what is mounted; read from ``/proc`` when it is first needed.
        machine: CPUs and memory nodes; read from ``/sys`` when they are first needed.
    """

    def __init__(self, hierarchy: Hierarchy | None = None, machine: Machine | None = None) -> None:
        self._hierarchy = hierarchy
        self._machine = machine
        self._driver: Driver | None = None
        self._reserved: dict[str, Cgroup] = {}

    @property
    def hierarchy(self) -> Hierarchy:
        """What is mounted."""
        if self._hierarchy is None:
            try:
                self._hierarchy = load_hierarchy()
            except OSError as error:
                raise group_error(error, "cannot find the cgroup filesystems") from error
        return self._hierarchy

    def prepare(self, parent: str = DEFAULT_PARENT) -> None:
        """Make a parent group ready and pin it: it is not removed when its last child goes.

        For long-lived processes (the zygote), so that ``create`` is one mkdir per controller. The
        pin is inherited by ``fork`` and ends with the process that set it; :meth:`close` removes
        the parent.
        """
        path = _normalise(parent)
        if self._machine is None:
            self._machine = load_machine()
        driver = self._get_driver()
        driver.pin(path)
        driver.prepare(path)

    def create(
        self,
        path: str,
        resources: LinuxResources | None = None,
        *,
        every_controller: bool = False,
    ) -> Cgroup:
        """Make a group with its limits set.

        The device list is ``resources.devices`` followed by the standard devices, over "nothing is
        allowed". Look at ``warnings`` of the result.

        Args:
            path: ``/<parent>/<id>`` (:func:`proa.cgroups.systemd.cgroup_path`); the parent is made
                when it is missing. A leftover group without processes is replaced.
            resources: OCI ``linux.resources``.
            every_controller: give it a group in every v1 hierarchy from the start, for containers
                that get the cgroup filesystem writable (``--privileged``).

        Raises:
            Invalid: a limit no machine could hold; the message names the flag.
            Unsupported: a limit this machine cannot hold, or no cgroup filesystem at all.
            Conflict: the group exists and has processes.
            ProaError: any kind; nothing is left behind.
        """
        parent, name = _split(path)
        limits = _NO_LIMITS if resources is None else resources
        self._check(limits)
        group = self._reserved.pop(f"{parent}/{name}", None)
        if group is None:
            group = self._get_driver().create(parent, name)
        group.set_up(limits, every_controller=every_controller)
        return group

    def reserve(self, path: str) -> None:
        """Make a group now whose limits come with a later :meth:`create` of the same path.

        Takes two thirds of ``create`` and ``join_fds`` off the way of a start on v1. For whoever
        knows a container's id before anybody asks for it. Both calls belong into one process;
        :meth:`close` removes what was reserved and not created.
        """
        parent, name = _split(path)
        group = self._get_driver().create(parent, name)
        self._reserved[f"{parent}/{name}"] = group
        group.join_fds()
        group.clone_fd()

    def open(self, path: str) -> Cgroup:
        """The existing group of another process.

        Raises:
            NotFound: in no hierarchy is there such a group.
        """
        parent, name = _split(path)
        return self._get_driver().open(parent, name)

    def close(self) -> None:
        """Remove the parents that this process made if they are empty, close descriptors."""
        for group in self._reserved.values():
            group.delete()
        self._reserved.clear()
        if self._driver is not None:
            self._driver.close()
            self._driver = None

    def _check(self, resources: LinuxResources) -> None:
        if self._machine is None:
            if resources.cpu is None:
                check_resources(resources, _ANY_MACHINE)
                return
            self._machine = load_machine()
        check_resources(resources, self._machine)

    def _get_driver(self) -> Driver:
        if self._driver is None:
            mode = self.hierarchy.mode
            if mode == "none":
                raise Unsupported(
                    "no cgroup filesystem is mounted",
                    "mount -t cgroup2 none /sys/fs/cgroup",
                )
            # Only the version that is used is imported: start-up time and memory.
            if mode == "v2":
                from proa.cgroups.v2.driver import V2Driver

                self._driver = V2Driver(self.hierarchy, self._check)
            else:
                from proa.cgroups.v1.driver import V1Driver

                self._driver = V1Driver(self.hierarchy, self._check)
        return self._driver


_ANY_MACHINE = Machine(frozenset(), frozenset())


def _normalise(path: str) -> str:
    return "".join(f"/{part}" for part in split_path(path))


def _split(path: str) -> tuple[str, str]:
    """Parent (empty for the root) and name of a group."""
    parent, _, name = _normalise(path).rpartition("/")
    if not name:
        raise Invalid(f"cgroup path {path!r} names no group")
    return parent, name
