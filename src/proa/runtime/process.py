"""Process isolation: containers as processes of this kernel, in namespaces and cgroups.

::

    sandbox = ProcessIsolation().create(spec, Stdio(0, 1, 2), start=True)
    status = sandbox.init.wait()
    sandbox.delete()

``create`` opens what the host contributes, composes the plan, starts the child and gives it its
identity; the child does the rest by itself. Call it from a thread that lives as long as the
container: init gets SIGKILL when the *thread* that created it ends.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial

from proa.cgroups.cgroup import Cgroup
from proa.errors import from_os_error
from proa.linux import namespaces as ns
from proa.oci.isolation import SandboxSpec, Stdio
from proa.oci.spec import Linux, Process
from proa.runtime import groups, slots
from proa.runtime import launch as launching
from proa.runtime.cgroupview import hierarchies
from proa.runtime.compose import Host, clone_flags, compose_init, opened_by_parent
from proa.runtime.executors.arena import Arena
from proa.runtime.executors.selection import Executor, choose
from proa.runtime.handover import adjust, fill_stdio, map_ids
from proa.runtime.rlimits import effective_limits
from proa.runtime.sandbox import ProcessSandbox
from proa.runtime.sources import Source, open_base, open_bind, open_device
from proa.runtime.validate import validate

OnNetwork = Callable[[int], None]


class ProcessIsolation:
    """Implements :class:`proa.oci.isolation.Isolation` on this kernel. Holds no state.

    Args:
        executor: ``auto``, ``native`` or ``portable``.
        cgroups: False leaves cgroups alone: no limits, no freezing, no statistics.
    """

    def __init__(self, *, executor: str = "auto", cgroups: bool = True) -> None:
        self._executor = executor
        self._cgroups = cgroups

    def create(
        self,
        sandbox: SandboxSpec,
        stdio: Stdio,
        *,
        start: bool = False,
        on_network: OnNetwork | None = None,
    ) -> ProcessSandbox:
        """Build a sandbox; see :meth:`proa.oci.isolation.Isolation.create`.

        Raises:
            Invalid, Unsupported: the spec asks for what cannot be.
            CommandNotFound, CommandNotExecutable: with ``start``, the command's fault.
            ProaError: any kind; nothing is left behind.
        """
        validate(sandbox)
        warnings: list[str] = []
        executor = _choose(self._executor)
        cgroup = groups.create(sandbox) if self._cgroups else None
        sources: list[Source] = []
        try:
            if cgroup is not None:
                warnings += cgroup.warnings
            launch = _launch(
                sandbox, stdio, executor, cgroup, sources, warnings,
                parked=not start, on_network=on_network,
            )  # fmt: skip
        except BaseException:
            if cgroup is not None:
                cgroup.delete()
            raise
        finally:
            for source in sources:
                source.close()
        return ProcessSandbox(sandbox, launch, cgroup, executor, warnings, parked=not start)


def _choose(name: str) -> Executor:
    try:
        return choose(name)
    except OSError as error:
        raise from_os_error(error, f"cannot use the {name} executor") from error


def _launch(
    sandbox: SandboxSpec,
    stdio: Stdio,
    executor: Executor,
    cgroup: Cgroup | None,
    sources: list[Source],
    warnings: list[str],
    *,
    parked: bool,
    on_network: OnNetwork | None,
) -> launching.Launch:
    """From a checked sandbox to a child that is parked, or has executed its command."""
    spec = sandbox.spec
    linux, process = spec.linux, spec.process
    assert linux is not None
    assert process is not None
    base = open_base(sandbox.root, slots.BASE)
    sources.append(base)
    shown = _open_sources(sandbox, sources)
    limits, raised = effective_limits(process.rlimits, warnings)
    joins = cgroup.join_fds() if cgroup is not None else ()
    host = describe_host(cgroup, len(joins), limits, parked=parked)
    plan = compose_init(sandbox, shown, host)
    fill = {source.slot: source.fd for source in sources}
    if not process.terminal:
        fill |= fill_stdio(stdio, process, linux)
    prepare = partial(
        _prepare, linux=linux, process=process, sources=sources, limits=limits, raised=raised,
        warnings=warnings, on_network=on_network if _has_new_network(linux) else None,
    )  # fmt: skip
    entered = _open_namespaces(linux)
    try:
        launch = launching.start(
            plan,
            executor=executor,
            flags=clone_flags(linux),
            cgroup_fd=cgroup.clone_fd() if cgroup is not None else -1,
            subject=f"container {sandbox.id[:12]}",
            fill=fill,
            prepare=prepare,
            joins=joins,
            entered=entered,
            shared=slots.SHARED,
        )
    except OSError as error:
        raise from_os_error(error, f"cannot start container {sandbox.id[:12]}") from error
    finally:
        for fd, _ in entered:
            os.close(fd)
    if parked:
        launch.await_park()
    else:
        launch.await_execution()
    return launch


def _open_sources(sandbox: SandboxSpec, sources: list[Source]) -> dict[str, Source]:
    """Open bind sources and, in a user namespace, devices; by path in the container."""
    spec = sandbox.spec
    linux = spec.linux
    assert linux is not None
    shown: dict[str, Source] = {}
    slot = slots.SOURCE
    for mount in spec.mounts:
        if opened_by_parent(mount):
            sources.append(open_bind(mount, slot))
            shown[mount.destination] = sources[-1]
            slot += 1
    if linux.uid_mappings:
        for device in linux.devices:
            if device.type != "p":
                sources.append(open_device(device, slot))
                shown[device.path] = sources[-1]
                slot += 1
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


def _prepare(
    pid: int,
    arena: Arena,
    *,
    linux: Linux,
    process: Process,
    sources: list[Source],
    limits: tuple[tuple[int, int, int], ...],
    raised: tuple[int, ...],
    warnings: list[str],
    on_network: OnNetwork | None,
) -> None:
    """Give the waiting child its identity, the mounts that belong to it, and its network."""
    del arena
    userns_fd = -1
    if linux.uid_mappings:
        map_ids(pid, linux)
        userns_fd = ns.open_namespace(pid, "user")
    try:
        for source in sources:
            source.prepare(userns_fd, warnings)
    finally:
        if userns_fd >= 0:
            os.close(userns_fd)
    adjust(pid, process, limits, raised, warnings)
    if on_network is not None:
        on_network(ns.open_namespace(pid, "network"))


def _has_new_network(linux: Linux) -> bool:
    return any(item.type == "network" and not item.path for item in linux.namespaces)
