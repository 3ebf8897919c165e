"""Write limits to control files, with the kernel's refusals in the user's words."""

from __future__ import annotations

import errno

from proa.cgroups.node import Node
from proa.errors import (
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    ProaError,
    Unsupported,
    from_os_error,
)


def write_limit(node: Node, file: str, value: int | str, flag: str) -> None:
    """Write one limit.

    Args:
        node: the group.
        file: control file.
        value: what to write, in the file's own units.
        flag: what the user typed (``--memory``), for messages.

    Raises:
        Invalid, Unsupported, Conflict, Forbidden: the kernel's refusal.
    """
    try:
        node.write(file, str(value))
    except OSError as error:
        raise limit_error(error, f"{flag} {value}") from error


def limit_error(error: OSError, limit: str) -> ProaError:
    """Translate the kernel's refusal of a limit (``--memory 6291456``)."""
    where = f"({error.filename})" if error.filename else ""
    if error.errno in (errno.EINVAL, errno.ERANGE, errno.EOVERFLOW):
        return Invalid(f"{limit} is refused by the kernel {where}".rstrip())
    if error.errno == errno.EBUSY:
        return Conflict(
            f"{limit} is below what the container already uses {where}".rstrip(),
            "free some of it, stop the container, or give a higher limit",
        )
    if error.errno in (errno.ENOENT, errno.EOPNOTSUPP, errno.ENODEV):
        return Unsupported(f"{limit} cannot be held by this kernel {where}".rstrip())
    if error.errno == errno.EROFS:
        return read_only_error(error)
    if error.errno in (errno.EACCES, errno.EPERM):
        return Forbidden(
            f"{limit} may not be set {where}".rstrip(),
            "run as root, or give a --cgroup-parent that is delegated to you",
        )
    return from_os_error(error, f"cannot set {limit}")


def group_error(error: OSError, doing: str, hint: str = "") -> ProaError:
    """Translate the kernel's refusal to make, find or change a group."""
    if error.errno == errno.EROFS:
        return read_only_error(error)
    if error.errno == errno.ENODEV:
        return NotFound(f"{doing}: the group is being removed ({error.filename})")
    if error.errno == errno.ENOSPC:
        return Unsupported(
            f"{doing}: a parent group has no CPUs or memory nodes, or too many groups below it",
            "look at cpuset.cpus, cpuset.mems and cgroup.max.descendants of the parent",
        )
    return from_os_error(error, doing, hint)


def read_only_error(error: OSError) -> ProaError:
    """The hierarchy is mounted read-only: the engine itself is inside a container."""
    return Unsupported(
        f"the cgroup filesystem is mounted read-only ({error.filename})",
        "mount it read-write, or run the outer container with --privileged",
    )
