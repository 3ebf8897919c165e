"""``exec``: one more process in a container that another process created."""

from __future__ import annotations

import os

import msgspec

from proa.errors import Conflict, TimedOut, Unavailable
from proa.linux.process import pidfd_open
from proa.oci.isolation import DirectoryRoot, SandboxSpec, Stdio
from proa.oci.spec import Hook, Process, Spec
from proa.oci.state import State
from proa.runtime.adopt import FosterHandle
from proa.runtime.bundle import capabilities
from proa.runtime.bundle.console import open_devpts
from proa.runtime.bundle.status import find_cgroup
from proa.runtime.bundle.store import Record, is_alive
from proa.runtime.execute import execute
from proa.runtime.executors.selection import choose
from proa.runtime.handle import Handle


def enter(
    record: Record, spec: Spec, process: Process, stdio: Stdio, *, preserved: int = 0
) -> Handle:
    """Start a process beside the container's init.

    Raises:
        Conflict: init does not run.
        CommandNotFound, CommandNotExecutable: the command's fault.
        ProaError: a step failed; nothing is left.
    """
    try:
        pidfd = pidfd_open(record.pid) if record.pid > 0 else -1
    except ProcessLookupError:
        pidfd = -1
    if pidfd < 0 or not is_alive(record):
        raise Conflict("cannot exec in a stopped container")
    assert spec.linux is not None
    process, _missing = capabilities.limit(process, spec.linux)
    devpts = open_devpts(record.pid) if process.terminal else -1
    cgroup = find_cgroup(spec)
    init = FosterHandle(record.pid, pidfd, -1, cgroup)
    sandbox = SandboxSpec(
        id=record.id,
        spec=spec,
        root=DirectoryRoot(path=record.rootfs),
        bundle=record.bundle,
    )
    try:
        return execute(
            sandbox, process, stdio, init, cgroup, devpts, choose("auto"), preserved=preserved
        )
    finally:
        init.close()
        if devpts >= 0:
            os.close(devpts)


def run_inside(record: Record, spec: Spec, hook: Hook, state: State) -> None:
    """Run a startContainer hook: in the container, as what its process will be.

    Raises:
        Unavailable: it did not exit with 0.
        TimedOut: it was killed after its time.
    """
    import select

    assert spec.process is not None
    process = msgspec.structs.replace(
        spec.process,
        args=(hook.path, *hook.args[1:]),
        env=hook.env,
        terminal=False,
    )
    read_end, write_end = os.pipe2(os.O_CLOEXEC)
    try:
        with open(os.devnull, "wb") as nowhere:
            output = nowhere.fileno()
            handle = enter(record, spec, process, Stdio(read_end, output, output))
        # A pipe holds 64 KiB: this does not wait for a hook that does not read.
        os.write(write_end, msgspec.json.encode(state))
    finally:
        os.close(read_end)
        os.close(write_end)
    poll = select.poll()
    poll.register(handle.pidfd, select.POLLIN)
    limit = None if hook.timeout is None else hook.timeout * 1000
    late = not poll.poll(limit)
    if late:
        handle.signal(9)
    code = handle.wait().code
    handle.close()
    name = f"startContainer hook ({hook.path})"
    if late:
        raise TimedOut(f"{name} was killed after {hook.timeout} s")
    if code:
        raise Unavailable(f"error running {name}: exit status {code}")
