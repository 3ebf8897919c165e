"""One more process in a running container.

The child is made with the container's pid namespace entered for the moment of the clone, joins the
cgroup and then the other namespaces through init's pidfd in one setns(2), user namespace included.
From there on it is as exposed as what runs beside it, so it does nothing but finish its plan, with
the same steps as init's from the session on. It may share the engine's address space, which is why
that is made untraceable before the first namespace is joined.

A child that shares memory cannot join a time namespace (setns(2), EUSERS). Where that namespace has
no offsets it changes nothing and is left out; where it has, the portable executor is used.
"""

from __future__ import annotations

from functools import lru_cache, partial
from typing import TYPE_CHECKING

from proa.errors import Conflict, ProaError, from_os_error
from proa.linux import namespaces as ns
from proa.linux import procfs
from proa.linux.process import CLONE_CLEAR_SIGHAND, CLONE_FILES, set_dumpable
from proa.oci.isolation import SandboxSpec, Stdio
from proa.oci.spec import Linux, Process
from proa.runtime import launch as launching
from proa.runtime import scheduling, slots
from proa.runtime.compose import Host, compose_end, compose_process
from proa.runtime.executors.arena import Arena
from proa.runtime.executors.selection import choose
from proa.runtime.handle import Handle
from proa.runtime.handover import adjust, fill_stdio
from proa.runtime.plan import Plan, Segment, Slot, Steps
from proa.runtime.rlimits import effective_limits
from proa.runtime.steps import begin, devices, filesystem, identity
from proa.runtime.validate import validate_process

if TYPE_CHECKING:
    from proa.cgroups.cgroup import Cgroup
    from proa.runtime.executors.selection import Executor


def execute(
    sandbox: SandboxSpec,
    process: Process,
    stdio: Stdio,
    init: Handle,
    cgroup: Cgroup | None,
    devpts: int,
    executor: Executor,
    *,
    preserved: int = 0,
) -> Handle:
    """Start a process beside ``init``.

    Args:
        devpts: the container's devpts, for a terminal; -1 when it has none.
        preserved: how many descriptors behind stdio the process gets.

    Raises:
        CommandNotFound, CommandNotExecutable: the command's fault.
        Conflict: a terminal was asked for and the container has no devpts, or init ends.
        Invalid: the process is malformed.
        ProaError: a step failed; nothing is left.
    """
    validate_process(process)
    linux = sandbox.spec.linux
    assert linux is not None
    subject = f"container {sandbox.id[:12]}"
    if process.terminal and devpts < 0:
        raise Conflict(f"{subject} has no devpts for a terminal")
    if linux.time_offsets:
        executor = choose("portable")
    limits, raised = effective_limits(process.rlimits, [])
    joins = cgroup.join_fds() if cgroup is not None else ()
    host = Host(len(joins), (), unified=False, limits=limits, parked=False, preserved=preserved)
    fill = {slots.INIT: init.pidfd}
    fill |= {slots.JOIN + index: fd for index, fd in enumerate(joins)}
    shared: tuple[int, ...] = ()
    if process.terminal:
        fill[slots.DEVPTS] = devpts
        shared = (slots.MASTER,)
    else:
        fill |= fill_stdio(stdio, process, linux)
    kinds = {namespace.type for namespace in linux.namespaces}
    set_dumpable(False)
    try:
        launch = launching.start(
            compose_exec(process, linux, host).segments,
            executor=executor,
            flags=CLONE_CLEAR_SIGHAND | CLONE_FILES,
            cgroup_fd=cgroup.clone_fd() if cgroup is not None else -1,
            subject=subject,
            fill=fill,
            prepare=partial(_prepare, process=process, limits=limits, raised=raised),
            entered=[(init.pidfd, "pid")] if "pid" in kinds else [],
            shared=shared,
        )
        launch.await_execution()
    except (OSError, ProaError) as error:
        if procfs.is_exiting(init.pid):
            # It took the child along, or had no namespace to give any more.
            raise Conflict(f"{subject} is not running") from error
        if isinstance(error, ProaError):
            raise
        raise from_os_error(error, f"{subject}: cannot start a process") from error
    return Handle(launch.child.pid, launch.child.pidfd, launch.master, cgroup)


def compose_exec(process: Process, linux: Linux, host: Host) -> Plan:
    """The plan of a process that joins a container."""
    kinds = tuple(sorted(namespace.type for namespace in linux.namespaces))
    affinity = process.exec_cpu_affinity
    final = affinity.final or affinity.initial if affinity is not None else ""
    segments = [
        _join(kinds, host.joins, with_time=bool(linux.time_offsets)),
        _terminal() if process.terminal else None,
        begin.separate(),
        identity.affinity(scheduling.pack_cpus(final)) if final else None,
        devices.slave() if process.terminal else None,
        *compose_process(process, linux, cwd_made=False, follow_parent=False),
        *compose_end(process, linux, host),
    ]
    return Plan([segment for segment in segments if segment is not None])


@lru_cache(maxsize=8)
def _join(kinds: tuple[str, ...], joins: int, *, with_time: bool) -> Segment:
    flags = 0
    for kind in kinds:
        if kind != "pid" and (kind != "time" or with_time):
            flags |= ns.FLAGS[kind]
    steps = Steps()
    begin.reset_signals(steps)
    begin.join_cgroups(steps, joins)
    begin.wait(steps)
    steps.add("join the container's namespaces", "setns", Slot(slots.INIT), flags)
    if "user" in kinds:
        begin.become_root(steps)
    return steps.compile("join")


@lru_cache(maxsize=1)
def _terminal() -> Segment:
    steps = Steps()
    filesystem.open_master(steps)
    return steps.compile("terminal master")


def _prepare(
    pid: int,
    arena: Arena,
    *,
    process: Process,
    limits: tuple[tuple[int, int, int], ...],
    raised: tuple[int, ...],
) -> None:
    del arena
    adjust(pid, process, limits, raised, [])
