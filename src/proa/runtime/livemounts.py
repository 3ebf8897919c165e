"""Mounts that come and go while the container runs.

What is mounted is made by the engine outside, as at a start: a detached, ID-mapped copy of the host
directory. The place is found from outside too, through the root of the container's init and with
the one resolver, so no link leads out of it, and what is missing of it is made as the container's
own root. Only a mount namespace takes mounts from one of its own, so a child with a plan of a few
system calls joins it for the last step and ends; nothing else runs in there.

Sources: move_mount(2), umount2(2), setns(2).
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from proa.errors import Conflict, Invalid, from_os_error
from proa.fs import rootpath
from proa.linux import mount as api
from proa.linux import namespaces as ns
from proa.linux.fsids import acting_as
from proa.linux.process import CLONE_CLEAR_SIGHAND, wait_pidfd
from proa.oci.spec import Linux, Mount
from proa.runtime import slots
from proa.runtime.executors.arena import Arena
from proa.runtime.executors.selection import Executor
from proa.runtime.handle import Handle
from proa.runtime.handover import to_host
from proa.runtime.plan import Slot, Steps
from proa.runtime.sources import open_bind

_UMOUNT_NOFOLLOW = 8
_TARGET = slots.ROOT
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def attach(mount: Mount, init: Handle, linux: Linux, executor: Executor, subject: str) -> list[str]:
    """Bind a host directory or file into a running container.

    Args:
        mount: a bind mount; its destination is made if it is missing.
        init: the container's first process.
        linux: its namespaces and ids.
        executor: for the last step.
        subject: the container in the words of messages.

    Returns:
        Warnings.

    Raises:
        NotFound: the source does not exist.
        Conflict: a file where a directory is to be, or the other way round; init has ended.
        ProaError: the kernel refused.
    """
    warnings: list[str] = []
    source = open_bind(mount, slots.SOURCE)
    try:
        userns_fd = ns.open_namespace(init.pid, "user") if linux.uid_mappings else -1
        try:
            source.prepare(userns_fd, warnings)
        finally:
            if userns_fd >= 0:
                os.close(userns_fd)
        what = f"{subject}: cannot mount {mount.source} at {mount.destination}"
        with _root(init, subject) as root:
            target = _open_place(root, mount.destination, linux, what, directory=source.directory)
        try:
            steps = Steps()
            _enter(steps)
            how = api.MOVE_MOUNT_F_EMPTY_PATH | api.MOVE_MOUNT_T_EMPTY_PATH
            steps.add(
                "attach the mount", "move_mount", Slot(slots.SOURCE), b"", Slot(_TARGET), b"", how
            )
            filled = {slots.SOURCE: source.fd, _TARGET: target}
            _run(steps, filled, init, executor, what)
        finally:
            os.close(target)
    except FileNotFoundError as error:
        raise Conflict(f"{subject} is not running") from error
    finally:
        source.close()
    return warnings


def detach(destination: str, init: Handle, executor: Executor, subject: str) -> None:
    """Take a mount away from a running container; files that are open there stay open.

    One that the container has taken away itself is no error.

    Raises:
        Conflict: init has ended.
        ProaError: the kernel refused.
    """
    what = f"{subject}: cannot remove the mount at {destination}"
    with _root(init, subject) as root:
        try:
            parent, name = rootpath.open_parent(root, destination)
        except FileNotFoundError:
            return
        except OSError as error:
            raise from_os_error(error, what) from error
    try:
        steps = Steps()
        _enter(steps)
        steps.add("go to the mount's parent", "fchdir", Slot(_TARGET))
        steps.add(
            "detach the mount", "umount2", os.fsencode(name), api.MNT_DETACH | _UMOUNT_NOFOLLOW,
            tolerate=(errno.EINVAL, errno.ENOENT),
        )  # fmt: skip
        _run(steps, {_TARGET: parent}, init, executor, what)
    finally:
        os.close(parent)


def _enter(steps: Steps) -> None:
    steps.add("join the container's mounts", "setns", Slot(slots.INIT), ns.CLONE_NEWNS)


def _run(steps: Steps, filled: dict[int, int], init: Handle, executor: Executor, what: str) -> None:
    """Let a child work through the steps and wait for its end."""
    steps.add("end", "exit_group", 0)
    arena = Arena(shared=executor.SEPARATE_MEMORY)
    try:
        arena.load((steps.compile("mount"),))
        for slot, fd in (*filled.items(), (slots.INIT, init.pidfd)):
            arena.set_slot(slot, fd)
        # A copy of the descriptors, not a share: the child opens none.
        child = executor.spawn(arena, CLONE_CLEAR_SIGHAND)
        try:
            end = wait_pidfd(child.pidfd)
        finally:
            os.close(child.pidfd)
        failure = arena.failure()
        if failure is not None:
            raise OSError(failure.errno, os.strerror(failure.errno))
        if end != (0, 0):
            raise OSError(errno.EINTR, os.strerror(errno.EINTR))
    except ProcessLookupError as error:
        raise Conflict(f"{what}: it is not running") from error
    except OSError as error:
        raise from_os_error(error, what) from error
    finally:
        arena.close()


@contextmanager
def _root(init: Handle, subject: str) -> Iterator[int]:
    """The container's root; the pid is init's as long as nobody has reaped it."""
    try:
        root = os.open(f"/proc/{init.pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise Conflict(f"{subject} is not running") from error
    try:
        yield root
    finally:
        os.close(root)


def _open_place(root: int, path: str, linux: Linux, what: str, *, directory: bool) -> int:
    """Open what is to be mounted over; what is missing of it is made as the container's root."""
    uid = to_host(0, linux.uid_mappings)
    actor = acting_as(uid, to_host(0, linux.gid_mappings)) if linux.uid_mappings else nullcontext()
    try:
        with actor:
            fd = _ensure(root, path, directory=directory)
    except (NotADirectoryError, FileExistsError) as error:
        raise Conflict(f"{what}: a directory and a file do not fit") from error
    except OSError as error:
        raise from_os_error(error, what) from error
    if stat.S_ISDIR(os.fstat(fd).st_mode) is not directory:
        os.close(fd)
        raise Conflict(f"{what}: a directory and a file do not fit")
    if _is_of_the_kernel(root, fd):
        os.close(fd)
        raise Invalid(f"{what}: the place leads to the kernel's files")
    return fd


def _ensure(root: int, path: str, *, directory: bool) -> int:
    if directory:
        return rootpath.ensure_directory(root, path)
    try:
        return rootpath.open_in_root(root, path, os.O_PATH)
    except FileNotFoundError:
        pass
    parent_path, name = rootpath.split_last(path)
    parent = rootpath.ensure_directory(root, parent_path)
    try:
        os.close(os.open(name, _CREATE, 0o644, dir_fd=parent))
        return os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    finally:
        os.close(parent)


def _is_of_the_kernel(root: int, fd: int) -> bool:
    """Whether the place is in the container's /proc: what is mounted there would be believed."""
    try:
        proc = rootpath.open_in_root(root, "proc", os.O_PATH)
    except OSError:
        return False
    try:
        return os.fstat(proc).st_dev == os.fstat(fd).st_dev != os.fstat(root).st_dev
    finally:
        os.close(proc)
