"""Process isolation: containers as processes of this kernel, in namespaces and cgroups.

::

    sandbox = ProcessIsolation().create(spec, Stdio(0, 1, 2), start=True)
    status = sandbox.init.wait()
    sandbox.delete()

``create`` starts the child at once. While that makes its namespaces, the parent makes the cgroup,
opens what the host contributes and composes the rest of the plan; then it gives the child its
identity, and the child does the rest by itself. Call it from a thread that lives as long as the
container: init gets SIGKILL when the *thread* that created it ends.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NamedTuple

from proa.cgroups.cgroup import Cgroup
from proa.errors import from_os_error
from proa.linux import namespaces as ns
from proa.linux.process import CLONE_CLEAR_SIGHAND, CLONE_FILES
from proa.oci.isolation import DirectoryRoot, OverlayRoot, SandboxSpec, Stdio
from proa.oci.spec import Linux
from proa.runtime import groups, slots, spare
from proa.runtime import launch as launching
from proa.runtime.cgroupview import hierarchies
from proa.runtime.compose import (
    Host,
    compose_init,
    compose_start,
    host_path,
    inner_namespaces,
    made_by_parent,
    opened_by_parent,
)
from proa.runtime.executors.arena import Arena
from proa.runtime.executors.selection import Executor, choose
from proa.runtime.handover import adjust, fill_stdio, map_ids
from proa.runtime.rlimits import effective_limits
from proa.runtime.sandbox import ProcessSandbox
from proa.runtime.sources import (
    Source,
    make_devices,
    open_base,
    open_bind,
    open_host_tree,
    open_queues,
)
from proa.runtime.validate import validate

OnNetwork = Callable[[int], None]


class Detachment(NamedTuple):
    """A creation whose process ends before the container's: another one starts and deletes it.

    Attributes:
        hold: what init reads eight bytes from before it executes its command: a FIFO that is open
            for reading and writing. Taken over by the creation.
        preserved: how many descriptors behind stdio init keeps.
        on_namespaces: called with init's pid when its namespaces are there (``createRuntime``).
        on_mounts: called with it when all is mounted and the root is not yet ``/``
            (``createContainer``), or None. Only with a root that is a directory.
    """

    hold: int
    preserved: int
    on_namespaces: Callable[[int], None]
    on_mounts: Callable[[int], None] | None


_CLONED = ns.CLONE_NEWUSER | ns.CLONE_NEWPID
"""Namespaces that must be born with the child: what it unshares belongs to its user namespace."""

_LATER = ns.CLONE_NEWCGROUP | ns.CLONE_NEWTIME
"""Namespaces that come later: one shows the cgroup joined, the other refuses shared memory."""


class ProcessIsolation:
    """Implements :class:`proa.oci.isolation.Isolation` on this kernel. Holds no state.

    Args:
        executor: ``auto``, ``native`` or ``portable``.
        cgroups: False leaves cgroups alone: no limits, no freezing, no statistics.
    """

    def __init__(self, *, executor: str = "auto", cgroups: bool = True) -> None:
        self._executor = executor
        self._cgroups = cgroups

    def keep_spare(self) -> None:
        """Make the namespaces of a usual container ahead, for the next :meth:`create`.

        Raises:
            ProaError: this machine cannot.
        """
        executor = _choose(self._executor)
        try:
            spare.keep(executor)
        except OSError as error:
            raise from_os_error(error, "cannot make namespaces") from error

    def create(
        self,
        sandbox: SandboxSpec,
        stdio: Stdio,
        *,
        start: bool = False,
        on_network: OnNetwork | None = None,
        detachment: Detachment | None = None,
    ) -> ProcessSandbox:
        """Build a sandbox; see :meth:`proa.oci.isolation.Isolation.create`.

        With a ``detachment`` the sandbox stays parked and its init outlives this process; let go
        of it with :meth:`ProcessSandbox.forget`.

        Raises:
            Invalid, Unsupported: the spec asks for what cannot be.
            CommandNotFound, CommandNotExecutable: with ``start``, the command's fault.
            ProaError: any kind; nothing is left behind.
        """
        validate(sandbox)
        executor = _choose(self._executor)
        creation = _Creation(sandbox, stdio, executor, on_network, detachment, parked=not start)
        try:
            launch = creation.run(cgroups=self._cgroups)
        except BaseException:
            creation.undo()
            raise
        finally:
            creation.close()
        return ProcessSandbox(
            sandbox, launch, creation.cgroup, executor, creation.warnings, parked=not start
        )


def drop_spare() -> None:
    """Undo :meth:`ProcessIsolation.keep_spare`, in a process that will start no container."""
    spare.drop()


def _choose(name: str) -> Executor:
    try:
        return choose(name)
    except OSError as error:
        raise from_os_error(error, f"cannot use the {name} executor") from error


class _Creation:
    """One ``create`` on its way, and what it has made so far."""

    def __init__(
        self,
        sandbox: SandboxSpec,
        stdio: Stdio,
        executor: Executor,
        on_network: OnNetwork | None,
        detachment: Detachment | None,
        *,
        parked: bool,
    ) -> None:
        spec = sandbox.spec
        assert spec.linux is not None
        assert spec.process is not None
        self.sandbox = sandbox
        self.linux = spec.linux
        self.process = spec.process
        self.stdio = stdio
        self.executor = executor
        self.on_network = on_network
        self.detachment = detachment
        self.parked = parked
        self.warnings: list[str] = []
        self.cgroup: Cgroup | None = None
        self.sources: list[Source] = []
        self.cgroups = True
        connects = on_network is not None and _has_new_network(spec.linux)
        # Parameters below net. may be those of an interface, and the child writes them early.
        waits = detachment is not None or any(name.startswith("net.") for name in self.linux.sysctl)
        self.connects_early = connects and waits
        self.connects_late = connects and not waits

    def run(self, *, cgroups: bool) -> launching.Launch:
        """From a checked sandbox to a child that is parked, or has executed its command."""
        self.cgroups = cgroups
        if cgroups and groups.born_inside():
            self.cgroup = groups.create(self.sandbox)
        launch = self._start()
        detachment = self.detachment
        if detachment is not None and detachment.on_mounts is not None:
            self._stage(launch, detachment.on_mounts)
        if self.connects_late:
            self._connect_late(launch)
        if self.parked:
            launch.await_park()
            if detachment is not None:
                launch.leave()
        else:
            launch.await_execution()
        return launch

    def _start(self) -> launching.Launch:
        """Bring a child to where it has descriptors of its own."""
        cloned, unshared = self._divide_namespaces()
        opened = _open_namespaces(self.linux)
        entered = [(fd, kind) for fd, kind in opened if kind != "user"]
        users = [fd for fd, kind in opened if kind == "user"]
        root, subject = self.sandbox.root, f"container {self.sandbox.id[:12]}"
        disk = root.base if isinstance(root, OverlayRoot) else ""
        detachment = self.detachment
        try:
            if detachment is None and not opened and self.cgroup is None:
                made = spare.take(self.executor, cloned | unshared, subject)
                if made is not None:
                    return launching.go_on(made, disk=disk, prepare=self._prepare)
            return launching.start(
                compose_start(unshared, joined=bool(users), announced=detachment is not None),
                executor=self.executor,
                flags=cloned | CLONE_CLEAR_SIGHAND | CLONE_FILES,
                cgroup_fd=self.cgroup.clone_fd() if self.cgroup is not None else -1,
                subject=subject,
                disk=disk,
                fill={slots.USERNS: users[0]} if users else {},
                prepare=self._prepare,
                entered=entered,
                shared=slots.SHARED,
                detached_hold=detachment.hold if detachment is not None else -1,
            )
        except OSError as error:
            raise from_os_error(error, f"cannot start {subject}") from error
        finally:
            for fd, _ in opened:
                os.close(fd)

    def _stage(self, launch: launching.Launch, on_mounts: Callable[[int], None]) -> None:
        launch.await_mounts()
        try:
            on_mounts(launch.child.pid)
        except BaseException:
            launch.abort()
            raise
        launch.proceed()

    def _connect_late(self, launch: launching.Launch) -> None:
        """Make the network while the child mounts; it does not execute before."""
        try:
            self._connect(launch.child.pid)
        except BaseException:
            launch.abort()
            raise
        if not self.parked:
            launch.await_park()
            launch.release()

    def _connect(self, pid: int) -> None:
        assert self.on_network is not None
        self.on_network(ns.open_namespace(pid, "network"))

    def undo(self) -> None:
        """Remove the cgroup of a sandbox that did not come to be."""
        if self.cgroup is not None:
            self.cgroup.delete()
            self.cgroup = None

    def close(self) -> None:
        """Close the descriptors that only the child needed."""
        for source in self.sources:
            source.close()

    def _divide_namespaces(self) -> tuple[int, int]:
        """CLONE_NEW* flags for the clone, and for the child itself."""
        flags = 0
        for namespace in self.linux.namespaces:
            if not namespace.path:
                flags |= ns.FLAGS[namespace.type]
        cloned = flags & _CLONED
        if self.connects_early and flags & ns.CLONE_NEWNET:
            # It is handed out at once, so it has to be there when the clone returns.
            cloned |= ns.CLONE_NEWNET
        return cloned, flags & ~cloned & ~_LATER

    def _prepare(self, pid: int, arena: Arena) -> None:
        """The parent's part, while the child makes its namespaces and then waits."""
        linux, process = self.linux, self.process
        if self.cgroups and self.cgroup is None:
            self.cgroup = groups.create(self.sandbox)
        if self.cgroup is not None:
            self.warnings += self.cgroup.warnings
        self.sources.append(open_base(self.sandbox.root, slots.BASE))
        shown = _open_sources(self.sandbox, self.sources)
        limits, raised = effective_limits(process.rlimits, self.warnings)
        joins = self.cgroup.join_fds() if self.cgroup is not None else ()
        parked = self.parked or self.connects_late
        host = describe_host(self.cgroup, len(joins), limits, parked=parked)
        host = self._describe_detachment(host)
        arena.load(compose_init(self.sandbox, shown, host).segments)
        for index, fd in enumerate(joins):
            arena.set_slot(slots.JOIN + index, fd)
        if not process.terminal:
            for slot, fd in fill_stdio(self.stdio, process, linux).items():
                arena.set_slot(slot, fd)
        if any(item.type == "user" and not item.path for item in linux.namespaces):
            map_ids(pid, linux)
        self._map_sources(pid, arena)
        adjust(pid, process, limits, raised, self.warnings)
        if self.connects_early:
            self._connect(pid)
        if self.detachment is not None:
            self.detachment.on_namespaces(pid)

    def _describe_detachment(self, host: Host) -> Host:
        detachment, root = self.detachment, self.sandbox.root
        if detachment is None:
            return host
        stage = ""
        if detachment.on_mounts is not None and isinstance(root, DirectoryRoot):
            stage = root.path
        return host._replace(detached=True, preserved=detachment.preserved, stage=stage)

    def _map_sources(self, pid: int, arena: Arena) -> None:
        userns_fd = _open_user_namespace(pid, self.linux)
        try:
            for source in self.sources:
                source.prepare(userns_fd, self.warnings)
                arena.set_slot(source.slot, source.fd)
                if source.place == "/proc":
                    arena.set_slot(slots.PROC, source.fd)
        finally:
            if userns_fd >= 0:
                os.close(userns_fd)


def _open_sources(sandbox: SandboxSpec, sources: list[Source]) -> dict[str, Source]:
    """Open bind sources (by path in the container) and make device nodes."""
    spec = sandbox.spec
    linux = spec.linux
    assert linux is not None
    shown: dict[str, Source] = {}
    new = inner_namespaces(linux)
    queues = next((item.path for item in linux.namespaces if item.type == "ipc"), "")
    slot = slots.SOURCE
    for mount in spec.mounts:
        path = host_path(mount, new)
        if mount.type == "mqueue" and queues:
            sources.append(open_queues(mount, queues, slot))
        elif path and os.path.isdir(path):
            sources.append(open_host_tree(mount, path, slot))
        elif opened_by_parent(mount):
            sources.append(open_bind(mount, slot))
        else:
            continue
        shown[mount.destination] = sources[-1]
        slot += 1
    nodes = made_by_parent(linux)
    if nodes:
        sources.append(make_devices(nodes, linux, slots.DEVICES))
    return shown


def describe_host(
    cgroup: Cgroup | None, joins: int, limits: tuple[tuple[int, int, int], ...], *, parked: bool
) -> Host:
    """What the plan depends on, of this machine and this launch."""
    if cgroup is None:
        return Host(joins, (), unified=False, limits=limits, parked=parked)
    machine = groups.manager().hierarchy
    if machine.mode == "v2":
        return Host(joins, (), unified=True, limits=limits, parked=parked)
    shown = hierarchies(machine, cgroup.paths())
    return Host(joins, shown, unified=False, limits=limits, parked=parked)


def _open_namespaces(linux: Linux) -> list[tuple[int, str]]:
    opened: list[tuple[int, str]] = []
    try:
        for namespace in linux.namespaces:
            if namespace.path:
                fd = os.open(namespace.path, os.O_RDONLY | os.O_CLOEXEC)
                opened.append((fd, namespace.type))
    except OSError as error:
        for fd, _ in opened:
            os.close(fd)
        raise from_os_error(error, "cannot join a namespace") from error
    return opened


def _open_user_namespace(pid: int, linux: Linux) -> int:
    """The namespace that files are ID-mapped into; -1 for the host's.

    One that the child joins is opened by its path: the child may not be there yet.
    """
    if not linux.uid_mappings:
        return -1
    path = next((item.path for item in linux.namespaces if item.type == "user"), "")
    try:
        if path:
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        return ns.open_namespace(pid, "user")
    except OSError as error:
        raise from_os_error(error, "cannot open the container's user namespace") from error


def _has_new_network(linux: Linux) -> bool:
    return any(item.type == "network" and not item.path for item in linux.namespaces)
