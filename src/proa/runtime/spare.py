"""A child made ahead: it has the namespaces of a usual container and waits to be told the rest.

Making namespaces is the longest part of a launch that depends on nothing in particular. A process
that has nothing to do keeps one child that has made them; the next launch that wants just these
begins with it. It belongs to no cgroup and no container, holds nothing on disk, and the kernel ends
it with its parent.

With cgroup v2 a child is born in its container's group, which is not known yet, so there is none.
"""

from __future__ import annotations

from proa import log
from proa.errors import ProaError
from proa.linux import namespaces as ns
from proa.linux.process import CLONE_CLEAR_SIGHAND, CLONE_FILES
from proa.runtime import groups, slots
from proa.runtime import launch as launching
from proa.runtime.executors.selection import Executor
from proa.runtime.steps import begin

_CLONED = ns.CLONE_NEWUSER | ns.CLONE_NEWPID
_UNSHARED = ns.CLONE_NEWNS | ns.CLONE_NEWNET | ns.CLONE_NEWIPC | ns.CLONE_NEWUTS
NAMESPACES = _CLONED | _UNSHARED
"""CLONE_NEW* flags of what it has."""

_spare: tuple[Executor, launching.Spawned] | None = None


def keep(executor: Executor) -> None:
    """Make sure that there is a spare child.

    Raises:
        OSError: the kernel refuses; a launch would find the same.
    """
    global _spare
    if _spare is not None or groups.born_inside():
        return
    spawned = launching.spawn(
        [begin.begin(unshared=_UNSHARED, announced=True, spare=True)],
        executor=executor,
        flags=_CLONED | CLONE_CLEAR_SIGHAND | CLONE_FILES,
        cgroup_fd=-1,
        subject="a container to come",
        fill={},
        shared=slots.SHARED,
    )
    _spare = (executor, spawned)


def take(executor: Executor, namespaces: int, subject: str) -> launching.Spawned | None:
    """Hand the spare child out, if there is one of that kind.

    Args:
        executor: that it must run on.
        namespaces: CLONE_NEW* flags of what the container gets new, of those made first.
        subject: the container in the words of messages.
    """
    global _spare
    if _spare is None or namespaces != NAMESPACES or _spare[0] is not executor:
        return None
    if log.is_enabled():
        return None  # the log shows a plan when it is loaded, and all of this one is wanted
    spawned, _spare = _spare[1], None
    try:
        spawned.launch.await_namespaces()
    except ProaError:
        spawned.close()
        return None
    spawned.launch.subject = subject
    spawned.launch.load([begin.leave_host()])
    return spawned


def drop() -> None:
    """End the spare child, if there is one."""
    global _spare
    if _spare is not None:
        spawned, _spare = _spare[1], None
        spawned.launch.abort()
        spawned.close()
