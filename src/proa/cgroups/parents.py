"""Parent groups (``/proa``, or ``--cgroup-parent``): made once, opened once, shared by all.

Many processes create and remove containers below one parent at a time, without a lock. The rules
that make it safe:

* Whoever finds the parent missing (ENOENT) makes it again and retries, a bounded number of times.
* Whoever leaves tries to remove it; the kernel refuses while anything is in it (EBUSY). Only the
  engine's own parent with all below it, and levels that this very process made, are tried.
* A *pin* keeps the parent while the process that set it lives, so that a warm engine's ``create``
  is a single mkdir in each hierarchy.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

from proa.cgroups.node import Directory, Node
from proa.cgroups.systemd import DEFAULT_PARENT, split_path
from proa.errors import Conflict

_ATTEMPTS = 16


class Parents:
    """The prepared parents of one machine, by mount point and path.

    Args:
        mounts: mount points of the hierarchies.
        initialise: called with each level of a parent, and the level above it (None for the root
            of the hierarchy), whenever the parent is opened; must be idempotent.
        vacate: called with a level before its removal, to remove what the engine itself keeps in
            it.
    """

    def __init__(
        self,
        mounts: Iterable[str],
        initialise: Callable[[Node, Node | None], None],
        vacate: Callable[[Node], None] | None = None,
    ) -> None:
        self._mounts = tuple(dict.fromkeys(mounts))
        self._initialise = initialise
        self._vacate = vacate
        self._open: dict[tuple[str, str], Directory] = {}
        self._made_by: dict[tuple[str, str], int] = {}
        self._pins: dict[str, int] = {}

    def make(self, mount: str, path: str, name: str) -> Node:
        """Make group ``name`` below the parent ``path``, which is made when missing.

        Raises:
            FileExistsError: there is such a group.
            OSError: the kernel refuses.
        """
        for _attempt in range(_ATTEMPTS):
            node = Node(self.ensure(mount, path), name, f"{mount}{path}/{name}")
            try:
                node.mkdir()
            except FileNotFoundError:
                # Another process removed the parent after we opened it.
                self._open.pop((mount, path), None)
            else:
                return node
        raise Conflict(f"cgroup {mount}{path} is removed again and again by someone else")

    def find(self, mount: str, path: str, name: str) -> Node | None:
        """The existing group ``name`` below ``path``."""
        directory = self._open.get((mount, path))
        if directory is None or not directory.is_at(mount + path):
            self._open.pop((mount, path), None)
            try:
                directory = Directory(mount + path)
            except FileNotFoundError:
                return None
            self._open[mount, path] = directory
        node = Node(directory, name, f"{mount}{path}/{name}")
        return node if node.exists() else None

    def ensure(self, mount: str, path: str) -> Directory:
        """The parent's directory, made and initialised down from the root when it is missing."""
        directory = self._open.get((mount, path))
        if directory is not None:
            return directory
        for _attempt in range(_ATTEMPTS):
            try:
                directory = self._walk(mount, path)
            except FileNotFoundError:
                if not os.path.isdir(mount):
                    raise
            else:
                self._open[mount, path] = directory
                return directory
        raise Conflict(f"cgroup {mount}{path} is removed again and again by someone else")

    def pin(self, path: str) -> None:
        """Keep the parent until :meth:`close` of this process, or until this process ends."""
        self._pins[path] = os.getpid()

    def release(self, path: str) -> None:
        """Remove the parent in every hierarchy if it is empty, not pinned and ours to remove."""
        pinned_by = self._pins.get(path)
        if pinned_by is not None and _alive(pinned_by):
            return
        for mount in self._mounts:
            # Not only where this process opened it: a fork may have been in more hierarchies.
            self._remove(mount, path)
            directory = self._open.get((mount, path))
            if directory is not None and not directory.is_at(mount + path):
                # Another process was the last to leave.
                self._open.pop((mount, path)).close()

    def close(self) -> None:
        """Drop the pins of this process, remove what is empty, close all directories."""
        self._pins = {path: pid for path, pid in self._pins.items() if pid != os.getpid()}
        for path in {path for _mount, path in (*self._open, *self._made_by)}:
            self.release(path)
        self._open.clear()

    def _walk(self, mount: str, path: str) -> Directory:
        level = Node(Directory(mount), ".", mount)
        self._initialise(level, None)
        reached = ""
        for part in split_path(path):
            below = level.child(part)
            reached += f"/{part}"
            try:
                below.mkdir()
            except FileExistsError:
                pass
            else:
                self._made_by[mount, reached] = os.getpid()
            self._initialise(below, level)
            level = below
        return Directory(level.name, level.parent)

    def _remove(self, mount: str, path: str) -> None:
        """Remove the levels of a parent, deepest first, up to the first that stays."""
        root = Directory(mount)
        level = path
        while level:
            ours = f"{level}/".startswith(f"{DEFAULT_PARENT}/")
            ours = ours or self._made_by.get((mount, level)) == os.getpid()
            if not ours:
                return
            node = Node(root, level.lstrip("/"), mount + level)
            if self._vacate is not None:
                self._vacate(node)
            if not node.remove_vacant():
                return  # in use; whoever leaves last will try again
            gone = self._open.pop((mount, level), None)
            if gone is not None:
                gone.close()
            self._made_by.pop((mount, level), None)
            level = level.rpartition("/")[0]


def _alive(pid: int) -> bool:
    """Whether a process has that pid; a recycled pid merely delays the removal."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
