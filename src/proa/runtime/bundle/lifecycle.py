"""What can be done with a container that was created: start, kill, pause, update, delete."""

from __future__ import annotations

import errno
import os
import select

from proa.cgroups.processes import signal_listed
from proa.errors import Conflict, NotFound, ProaError, TimedOut, Unsupported, from_os_error
from proa.linux.process import pidfd_open, pidfd_send_signal
from proa.oci.resources import LinuxResources
from proa.oci.spec import Hooks, Spec
from proa.runtime import recover
from proa.runtime.bundle import hooks
from proa.runtime.bundle.execution import run_inside
from proa.runtime.bundle.status import describe, find_cgroup, read_condition
from proa.runtime.bundle.store import Record, Store, is_alive

_SIGKILL = 9
_TOKEN = bytes(8)
_EXECUTION_S = 10.0
_END_S = 10.0


def start(store: Store, container_id: str) -> list[str]:
    """Let the init of a created container execute its command.

    Returns:
        Failures of poststart hooks, which do not count.

    Raises:
        Conflict: it is not *created*.
        ProaError: a hook failed; the container has been killed.
    """
    record, spec = store.load(container_id), store.load_spec(container_id)
    _require_created(store, record, spec)
    told = spec.hooks or Hooks()
    for hook in told.start_container:
        try:
            run_inside(record, spec, hook, describe(record, spec, "created"))
        except ProaError:
            _signal(record, _SIGKILL)
            raise
    _open_gate(store.fifo(container_id))
    return hooks.run_all(told.poststart, "poststart", describe(record, spec, "running"))


def kill(store: Store, container_id: str, number: int, *, everything: bool = False) -> None:
    """Signal init, or all processes of the container.

    Raises:
        Conflict: it does not run.
    """
    record, spec = store.load(container_id), store.load_spec(container_id)
    if everything:
        try:
            signal_listed(lambda: processes(store, container_id), number)
        except OSError as error:
            raise from_os_error(error, f"cannot send signal {number} to {container_id}") from error
        return
    if not is_alive(record):
        raise Conflict("container not running")
    _signal(record, number)
    if number == _SIGKILL:
        cgroup = find_cgroup(spec)
        if cgroup is not None:
            with cgroup:
                # A frozen process takes the signal when it thaws (cgroup v1).
                if cgroup.frozen():
                    cgroup.thaw()


def delete(store: Store, container_id: str, *, force: bool = False) -> list[str]:
    """Remove a container that has stopped; one that runs only with ``force``.

    Returns:
        Failures of poststop hooks, which do not count.

    Raises:
        NotFound: there is no such container (without ``force``).
        Conflict: it runs.
    """
    try:
        record = store.load(container_id)
    except NotFound:
        if force:
            return []
        raise
    try:
        spec = store.load_spec(container_id)
    except NotFound:
        spec = Spec()
    if spec.linux is None:
        store.remove(container_id)
        return []
    condition = read_condition(store, record, spec)
    if condition not in ("stopped", "created") and not force:
        raise Conflict(f"cannot delete container {container_id} that is not stopped: {condition}")
    if is_alive(record):
        kill(store, container_id, _SIGKILL)
        await_end(record)
    recover.remove_remains(container_id, spec.linux.cgroups_path)
    store.remove(container_id)
    told = spec.hooks or Hooks()
    return hooks.run_all(told.poststop, "poststop", describe(record, spec, "stopped"))


def pause(store: Store, container_id: str) -> None:
    """Freeze a container.

    Raises:
        Conflict: it is not running.
    """
    _freeze(store, container_id, frozen=True)


def resume(store: Store, container_id: str) -> None:
    """Thaw a container.

    Raises:
        Conflict: it is not paused.
    """
    _freeze(store, container_id, frozen=False)


def update(store: Store, container_id: str, resources: LinuxResources) -> None:
    """Change limits; unset fields keep their value.

    Raises:
        Conflict: the container has stopped.
        ProaError: a limit cannot be set.
    """
    record, spec = store.load(container_id), store.load_spec(container_id)
    if not is_alive(record):
        raise Conflict("container not running")
    cgroup = find_cgroup(spec)
    if cgroup is None:
        raise Unsupported(f"container {container_id} has no cgroup")
    with cgroup:
        cgroup.update(resources)


def processes(store: Store, container_id: str) -> list[int]:
    """Host pids of all processes of a container."""
    record, spec = store.load(container_id), store.load_spec(container_id)
    cgroup = find_cgroup(spec)
    if cgroup is None:
        return [record.pid] if is_alive(record) else []
    with cgroup:
        return sorted(cgroup.pids())


def await_end(record: Record) -> None:
    """Wait until init has ended; a zombie counts: it is its parent's to reap.

    Raises:
        TimedOut: it is stuck in the kernel.
    """
    try:
        pidfd = pidfd_open(record.pid)
    except ProcessLookupError:
        return
    try:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        if is_alive(record) and not poll.poll(_END_S * 1000):
            raise TimedOut(f"the init of container {record.id} does not end")
    finally:
        os.close(pidfd)


def _require_created(store: Store, record: Record, spec: Spec) -> None:
    condition = read_condition(store, record, spec)
    if condition == "stopped":
        raise Conflict("cannot start a container that has stopped")
    if condition != "created":
        raise Conflict(f"cannot start an already {condition} container")


def _open_gate(path: str) -> None:
    """Write to init at its fifo, and wait until its execve (or its end) closes that.

    The fifo is unlinked first: of two starts, one finds it.
    """
    try:
        gate = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            os.unlink(path)
            os.write(gate, _TOKEN)
            poll = select.poll()
            poll.register(gate, 0)
            poll.poll(_EXECUTION_S * 1000)
        finally:
            os.close(gate)
    except FileNotFoundError as error:
        raise Conflict("cannot start an already running container") from error
    except OSError as error:
        if error.errno == errno.ENXIO:
            raise Conflict("cannot start a container that has stopped") from error
        raise from_os_error(error, "cannot start the container") from error


def _freeze(store: Store, container_id: str, *, frozen: bool) -> None:
    record, spec = store.load(container_id), store.load_spec(container_id)
    condition = read_condition(store, record, spec)
    if frozen and condition not in ("running", "created"):
        raise Conflict(f"container not running: {condition}")
    if not frozen and condition != "paused":
        raise Conflict("container not paused")
    cgroup = find_cgroup(spec)
    if cgroup is None:
        raise Unsupported(f"container {container_id} has no cgroup")
    with cgroup:
        if frozen:
            cgroup.freeze()
        else:
            cgroup.thaw()


def _signal(record: Record, number: int) -> None:
    """Signal init and no other process: the pidfd is opened before the look at its start time."""
    try:
        pidfd = pidfd_open(record.pid)
    except ProcessLookupError:
        return
    try:
        if is_alive(record):
            pidfd_send_signal(pidfd, number)
    except ProcessLookupError:
        pass
    except OSError as error:
        raise from_os_error(error, f"cannot send signal {number} to {record.id}") from error
    finally:
        os.close(pidfd)
