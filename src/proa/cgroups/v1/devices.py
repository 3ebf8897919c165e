"""v1 ``devices``: the allow list (cgroup-v1/devices.rst).

Nearly all containers have the same list, and the kernel inherits nothing useful from a parent but
its own limits, so a group per container would cost a mkdir and a dozen writes at each start for
nothing. Instead all containers with the default list are in **one** group, ``@devices`` below the
parent, whose list is written once; only a container with a list of its own gets a group of its own.

Lock order and crash rule: whoever uses ``@devices`` holds a shared ``flock`` on its ``tasks`` file
until its process is in; whoever writes the list or removes the group holds an exclusive one. A
crash between mkdir and the last write leaves a group whose list does not read as it should; the
next user that gets the exclusive lock writes it again.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable

from proa.cgroups.devices import FoldedRules, describe_access, describe_key
from proa.cgroups.node import Node
from proa.cgroups.settings import limit_error

SHARED = "@devices"
_ALLOW = "devices.allow"
_DENY = "devices.deny"
_ATTEMPTS = 8


def apply(node: Node, rules: FoldedRules) -> None:
    """Make a group's list what the rules say.

    Raises:
        Forbidden: the parent group does not have a device that is to be allowed.
    """
    _write_all(node, _ALLOW if rules.allow else _DENY, ["a"])
    lines = [f"{describe_key(key)} {describe_access(access)}" for key, access in rules.exceptions]
    _write_all(node, _DENY if rules.allow else _ALLOW, lines)


def _write_all(node: Node, file: str, lines: list[str]) -> None:
    if not lines:
        return
    fd = node.open(file, Node.write_flags)
    try:
        for line in lines:
            try:
                os.write(fd, line.encode("ascii"))
            except OSError as error:
                error.filename = f"{node.path}/{file}"
                raise limit_error(error, f"--device: access {line}") from error
    finally:
        os.close(fd)


def holds(node: Node, rules: FoldedRules) -> bool:
    """Whether a group's list reads as the rules say (only for rules that deny by default)."""
    wanted = {f"{describe_key(key)} {describe_access(access)}" for key, access in rules.exceptions}
    return set(node.read("devices.list").splitlines()) == wanted


def open_shared(
    make: Callable[[], Node], find: Callable[[], Node | None], rules: FoldedRules
) -> int:
    """Open ``tasks`` of the shared group, made and filled when it is missing.

    Args:
        make: makes the group, raising ``FileExistsError`` when it is there.
        find: finds it.
        rules: the default list.

    Returns:
        A descriptor with a shared lock, or -1 when the group is in use with another list (an
        older engine's): then the container gets a group of its own.
    """
    for _attempt in range(_ATTEMPTS):
        try:
            node = make()
        except FileExistsError:
            existing = find()
            if existing is None:
                continue
            node = existing
        try:
            fd = node.open("tasks", os.O_WRONLY)
        except FileNotFoundError:
            continue
        if _lock(fd, node, rules):
            return fd
        os.close(fd)
    return -1


def _lock(fd: int, node: Node, rules: FoldedRules) -> bool:
    """Take the shared lock on a group that still exists and has the right list."""
    fcntl.flock(fd, fcntl.LOCK_SH)
    try:
        if _is_current(fd, node) and holds(node, rules):
            return True
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is_current(fd, node) and not node.pids():
            apply(node, rules)
    except (BlockingIOError, FileNotFoundError):
        return False
    return False  # written, or lost: look again under the shared lock


def remove_shared(parent: Node) -> None:
    """Remove the shared group below a parent unless it is used."""
    node = parent.child(SHARED)
    try:
        fd = node.open("tasks", os.O_WRONLY)
    except FileNotFoundError:
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        node.remove_vacant()
    except BlockingIOError:
        return  # in use
    finally:
        os.close(fd)


def _is_current(fd: int, node: Node) -> bool:
    """Whether the open file is still the one at its path."""
    try:
        status = os.stat(f"{node.name}/tasks", dir_fd=node.parent.fd)
    except FileNotFoundError:
        return False
    return status.st_ino == os.fstat(fd).st_ino
