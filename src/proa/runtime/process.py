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
import stat
from functools import partial

from proa.cgroups.cgroup import Cgroup
from proa.cgroups.manager import CgroupManager
from proa.cgroups.systemd import cgroup_path
from proa.errors import from_os_error
from proa.linux import namespaces as ns
from proa.linux.procfs import write_process_file
from proa.oci.isolation import SandboxSpec, Stdio
from proa.oci.spec import Linux, LinuxIDMapping, Process
from proa.runtime import launch as launching
from proa.runtime import slots
from proa.runtime.cgroupview import hierarchies
from proa.runtime.compose import Host, clone_flags, compose_init, opened_by_parent
from proa.runtime.executors.arena import Arena
from proa.runtime.executors.selection import Executor, choose
from proa.runtime.rlimits import effective_limits, raise_limits
from proa.runtime.sandbox import ProcessSandbox
from proa.runtime.sources import Source, open_base, open_bind, open_device
from proa.runtime.validate import validate

_manager: CgroupManager | None = None


class ProcessIsolation:
    """Implements :class:`proa.oci.isolation.Isolation` on this kernel. Holds no state.

    Args:
        executor: ``auto``, ``native`` or ``portable``.
        cgroups: False leaves cgroups alone: no limits, no freezing, no statistics.
    """

    def __init__(self, *, executor: str = "auto", cgroups: bool = True) -> None:
        self._executor = executor
        self._cgroups = cgroups

    def create(self, sandbox: SandboxSpec, stdio: Stdio, *, start: bool = False) -> ProcessSandbox:
        """Build a sandbox; see :meth:`proa.oci.isolation.Isolation.create`.

        Raises:
            Invalid, Unsupported: the spec asks for what cannot be.
            CommandNotFound, CommandNotExecutable: with ``start``, the command's fault.
            ProaError: any kind; nothing is left behind.
        """
        validate(sandbox)
        warnings: list[str] = []
        executor = _choose(self._executor)
        cgroup = _create_cgroup(sandbox) if self._cgroups else None
        sources: list[Source] = []
        try:
            if cgroup is not None:
                warnings += cgroup.warnings
            launch = _launch(sandbox, stdio, executor, cgroup, sources, warnings, parked=not start)
        except BaseException:
            if cgroup is not None:
                cgroup.delete()
            raise
        finally:
            for source in sources:
                source.close()
        return ProcessSandbox(sandbox, launch, cgroup, executor, warnings, parked=not start)


def manager() -> CgroupManager:
    """The process' cgroup manager."""
    global _manager
    if _manager is None:
        _manager = CgroupManager()
    return _manager


def _choose(name: str) -> Executor:
    try:
        return choose(name)
    except OSError as error:
        raise from_os_error(error, f"cannot use the {name} executor") from error


def _create_cgroup(sandbox: SandboxSpec) -> Cgroup:
    linux = sandbox.spec.linux
    assert linux is not None
    path = linux.cgroups_path
    if not path.startswith("/"):
        path = cgroup_path(path, sandbox.id)
    return manager().create(path, linux.resources)


def _launch(
    sandbox: SandboxSpec,
    stdio: Stdio,
    executor: Executor,
    cgroup: Cgroup | None,
    sources: list[Source],
    warnings: list[str],
    *,
    parked: bool,
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
    host = _describe_host(cgroup, len(joins), limits, parked=parked)
    plan = compose_init(sandbox, shown, host)
    fill = {source.slot: source.fd for source in sources}
    if not process.terminal:
        fill |= dict(zip((slots.STDIN, slots.STDOUT, slots.STDERR), _fds(stdio), strict=True))
        own_pipes(_fds(stdio), process, linux)
    prepare = partial(
        _prepare, linux=linux, process=process, sources=sources, limits=limits, raised=raised,
        warnings=warnings,
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


def _describe_host(
    cgroup: Cgroup | None, joins: int, limits: tuple[tuple[int, int, int], ...], *, parked: bool
) -> Host:
    if cgroup is None:
        return Host(joins, (), unified=False, limits=limits, parked=parked)
    machine = manager().hierarchy
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
) -> None:
    """Give the waiting child its identity, and the mounts that belong to it."""
    del arena
    userns_fd = -1
    if linux.uid_mappings:
        write_process_file(pid, "uid_map", format_mappings(linux.uid_mappings))
        write_process_file(pid, "gid_map", format_mappings(linux.gid_mappings))
        userns_fd = ns.open_namespace(pid, "user")
    try:
        for source in sources:
            source.prepare(userns_fd, warnings)
    finally:
        if userns_fd >= 0:
            os.close(userns_fd)
    adjust(pid, process, limits, raised, warnings)


def adjust(
    pid: int,
    process: Process,
    limits: tuple[tuple[int, int, int], ...],
    raised: tuple[int, ...],
    warnings: list[str],
) -> None:
    """What only the engine may do for a waiting child: raise limits, set the OOM score.

    Raises:
        OSError: a limit cannot be raised.
    """
    if raised:
        raise_limits(pid, limits, raised)
    if process.oom_score_adj is not None:
        try:
            write_process_file(pid, "oom_score_adj", str(process.oom_score_adj))
        except PermissionError:
            warnings.append(
                f"oom_score_adj {process.oom_score_adj} cannot be set: lowering it needs"
                " CAP_SYS_RESOURCE"
            )


def format_mappings(mappings: tuple[LinuxIDMapping, ...]) -> str:
    """Lines for uid_map and gid_map (user_namespaces(7))."""
    return "".join([f"{m.container_id} {m.host_id} {m.size}\n" for m in mappings])


def own_pipes(fds: tuple[int, ...], process: Process, linux: Linux) -> None:
    """Make the container's user the owner of the pipes that become its stdio.

    Otherwise it could not open /dev/stdout, which leads to the pipe by name. Other kinds of files
    (a terminal, a file of the caller's) stay as they are.
    """
    uid = _to_host(process.user.uid, linux.uid_mappings)
    gid = _to_host(process.user.gid, linux.gid_mappings)
    for fd in fds:
        if stat.S_ISFIFO(os.fstat(fd).st_mode):
            try:
                os.fchown(fd, uid, gid)
            except OSError:
                continue


def _to_host(number: int, mappings: tuple[LinuxIDMapping, ...]) -> int:
    for mapping in mappings:
        if 0 <= number - mapping.container_id < mapping.size:
            return mapping.host_id + number - mapping.container_id
    return number if not mappings else -1


def _fds(stdio: Stdio) -> tuple[int, int, int]:
    return stdio.stdin, stdio.stdout, stdio.stderr
