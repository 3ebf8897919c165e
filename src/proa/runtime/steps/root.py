"""The root filesystem: attach it, mount the overlay, and in the end make it ``/``.

The detached mount of the root's base (ID-mapped by the parent where there is a user namespace) is
stacked on the old ``/proc``: a place that exists on every host and that everybody can reach, while
the state root may lie below directories that the container's root user cannot enter. It goes away
with the old root, in one umount: each one costs a grace period of the kernel's RCU.

The new root becomes ``/`` only when everything in it is mounted. Until then each path in it is
resolved with openat2(RESOLVE_IN_ROOT) from its descriptor. Pivoting first would not be safer: the
old root would then lie on top of the new one's ``/``, where ``..`` leads into it.
"""

from __future__ import annotations

import os
from functools import lru_cache

from proa.errors import Invalid
from proa.linux import mount as api
from proa.linux.syscalls import AT_EMPTY_PATH, AT_FDCWD
from proa.oci.isolation import OverlayRoot
from proa.runtime import slots
from proa.runtime.plan import Segment, Slot, Steps

OVERLAY_CHECK = "check that the overlay is writable"

SCAFFOLD = b"/proc"
"""Where, in the old root, mounts are attached that only have to be attached."""

DIRECTORY_SCAFFOLD = b"/sys"
"""Where a root that is its own base goes: what is stacked on it would cover the container's ``/``
for every process that joins later."""

_AT_EACCESS = 0x200
_O_PATH = os.O_PATH | os.O_CLOEXEC
_OPTIONS_MAX_BYTES = 4095
"""mount(2) takes one page of options."""

_PROPAGATION = {
    "shared": api.MS_SHARED,
    "slave": api.MS_SLAVE,
    "unbindable": api.MS_UNBINDABLE,
}


@lru_cache(maxsize=4)
def attach_base(place: bytes = SCAFFOLD) -> Segment:
    """Attach the base and make it the working directory.

    Args:
        place: where in the old root; everything attached there goes away with it.
    """
    steps = Steps()
    steps.add(
        "attach the root's directory",
        "move_mount",
        Slot(slots.BASE),
        b"",
        AT_FDCWD,
        place,
        api.MOVE_MOUNT_F_EMPTY_PATH,
    )
    steps.add("enter the root's directory", "fchdir", Slot(slots.BASE))
    return steps.compile("attach base")


@lru_cache(maxsize=1)
def directory() -> Segment:
    """The base itself is the root."""
    steps = Steps()
    steps.add("open the root", "openat", Slot(slots.BASE), b".", _O_PATH, into=slots.ROOT)
    return steps.compile("root directory")


def overlay(root: OverlayRoot) -> Segment:
    """Mount the layers; all paths are relative to the base, which is the working directory.

    Raises:
        Invalid: the layers' names do not fit what mount(2) takes.
    """
    words = [
        f"lowerdir={':'.join([_escape(lower) for lower in root.lowers])}",
        f"upperdir={_escape(root.upper)}",
        f"workdir={_escape(root.work)}",
        "userxattr",
    ]
    if root.volatile:
        words.append("volatile")
    options = os.fsencode(",".join(words))
    if len(options) > _OPTIONS_MAX_BYTES:
        raise Invalid(
            f"the {len(root.lowers)} layers below {root.base} have names of {len(options)} bytes"
            f" together, overlayfs takes {_OPTIONS_MAX_BYTES}",
            "use shorter names for the layers",
        )
    merged = os.fsencode(root.merged)
    steps = Steps()
    steps.add("mount the overlay", "mount", b"overlay", merged, b"overlay", 0, options)
    steps.add("open the root", "openat", AT_FDCWD, merged, _O_PATH, into=slots.ROOT)
    # Where it cannot make its work directory, overlayfs falls back to a read-only mount.
    steps.add(
        OVERLAY_CHECK,
        "faccessat2",
        Slot(slots.ROOT),
        b"",
        os.W_OK,
        _AT_EACCESS | AT_EMPTY_PATH,
    )
    return steps.compile("overlay")


@lru_cache(maxsize=8)
def enter(*, readonly: bool, propagation: str) -> Segment:
    """Make the new root ``/`` and let go of the old one with all that is attached in it."""
    steps = Steps()
    if readonly:
        _set_attributes(steps, "make the root read-only", attr_set=api.MOUNT_ATTR_RDONLY)
    steps.add("enter the root", "fchdir", Slot(slots.ROOT))
    steps.add("pivot to the root", "pivot_root", b".", b".")
    steps.add("detach the old root", "umount2", b".", api.MNT_DETACH)
    steps.add("enter the root", "chdir", b"/")
    if propagation in _PROPAGATION:
        _set_attributes(steps, "set the root's propagation", propagation=_PROPAGATION[propagation])
    return steps.compile("enter root")


def _set_attributes(steps: Steps, name: str, *, attr_set: int = 0, propagation: int = 0) -> None:
    steps.add(
        name,
        "mount_setattr",
        Slot(slots.ROOT),
        b"",
        AT_EMPTY_PATH,
        api.pack_mount_attr(attr_set=attr_set, propagation=propagation),
        api.MOUNT_ATTR_SIZE,
    )


def _escape(path: str) -> str:
    r"""Protect what overlayfs' options read as syntax: ``:`` between layers, ``,`` and ``\``."""
    return path.replace("\\", "\\\\").replace(":", "\\:").replace(",", "\\,")
