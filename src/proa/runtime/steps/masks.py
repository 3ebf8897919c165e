"""Masked and read-only paths: what of /proc and /sys a container neither sees nor changes.

Masked files are covered by the host's /dev/null, taken from the old root, masked directories by one
empty read-only tmpfs that all of them share. A path that this kernel does not have is left out when
the child finds it missing, never because it was missing once before.
"""

from __future__ import annotations

import errno
import os
from functools import lru_cache

from proa.linux import mount as api
from proa.linux.syscalls import AT_EMPTY_PATH, AT_FDCWD, AT_RECURSIVE
from proa.runtime import slots
from proa.runtime.plan import Result, Segment, Slot, Steps
from proa.runtime.steps import filesystem, target
from proa.runtime.steps.options import MountOptions
from proa.runtime.steps.root import SCAFFOLD

_FILES = frozenset(
    (
        "/proc/interrupts",
        "/proc/kcore",
        "/proc/keys",
        "/proc/latency_stats",
        "/proc/sched_debug",
        "/proc/timer_list",
        "/proc/timer_stats",
    )
)
"""Known to be files. Only a guess at what to try first: the kernel refuses the wrong kind."""

_MISSING = (errno.ENOENT, errno.ENOTDIR)
_CLONE = api.OPEN_TREE_CLONE | api.OPEN_TREE_CLOEXEC
_SEALED = (
    api.MOUNT_ATTR_RDONLY | api.MOUNT_ATTR_NOSUID | api.MOUNT_ATTR_NODEV | api.MOUNT_ATTR_NOEXEC
)


@lru_cache(maxsize=8)
def masks(masked: tuple[str, ...], readonly: tuple[str, ...]) -> Segment:
    """Cover ``masked`` and make ``readonly`` so."""
    steps = Steps()
    if masked:
        filesystem.make(
            steps,
            "make the empty directory",
            "tmpfs",
            MountOptions(attr_set=_SEALED, data=(("size", "0"), ("mode", "755"))),
            source="tmpfs",
            into=slots.EMPTY,
        )
        # Attached, it ends with the old root; a detached mount costs a grace period when closed.
        steps.add(
            "make the empty directory",
            "move_mount",
            Slot(slots.EMPTY),
            b"",
            AT_FDCWD,
            SCAFFOLD,
            api.MOVE_MOUNT_F_EMPTY_PATH,
        )
    for path in masked:
        _mask(steps, path)
    for path in readonly:
        _make_readonly(steps, path)
    return steps.compile("masks")


def _mask(steps: Steps, path: str) -> None:
    name = f"mask {path}"
    kinds = ("file", "directory") if path in _FILES else ("directory", "file")
    # Four steps follow, two for each kind of cover.
    place = target.open_path(
        steps, name, path, os.O_PATH, tolerate=_MISSING, skip=4, skip_on="error"
    )
    _cover(steps, name, _copy(steps, name, kinds[0]), place, kinds[0])
    _cover(steps, name, _copy(steps, name, kinds[1]), place, "")


def _copy(steps: Steps, name: str, kind: str) -> Result:
    if kind == "file":
        return steps.add(name, "open_tree", AT_FDCWD, b"/dev/null", _CLONE)
    return steps.add(name, "open_tree", Slot(slots.EMPTY), b"", _CLONE | AT_EMPTY_PATH)


def _cover(steps: Steps, name: str, cover: Result, place: Result, first: str) -> None:
    """Attach a cover; the first one tried skips the other when the kernel takes it."""
    steps.add(
        name,
        "move_mount",
        cover,
        b"",
        place,
        b"",
        api.MOVE_MOUNT_F_EMPTY_PATH | api.MOVE_MOUNT_T_EMPTY_PATH,
        tolerate=(errno.ENOTDIR,) if first else (),
        skip=2 if first else 0,
        skip_on="success" if first else "",
    )


def _make_readonly(steps: Steps, path: str) -> None:
    name = f"make {path} read-only"
    place = target.open_path(
        steps, name, path, os.O_PATH, tolerate=_MISSING, skip=3, skip_on="error"
    )
    tree = steps.add(name, "open_tree", place, b"", _CLONE | AT_EMPTY_PATH | AT_RECURSIVE)
    steps.add(
        name,
        "mount_setattr",
        tree,
        b"",
        AT_EMPTY_PATH | AT_RECURSIVE,
        api.pack_mount_attr(attr_set=api.MOUNT_ATTR_RDONLY),
        api.MOUNT_ATTR_SIZE,
    )
    target.move(steps, name, tree, place)
