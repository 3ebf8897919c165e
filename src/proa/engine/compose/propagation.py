"""Mount propagation of bind mounts: what the source must be for a mode to mean anything.

Source: mount_namespaces(7), "Shared subtrees"; the refusals are Docker's.
"""

from __future__ import annotations

import os

from proa.engine.config import MountConfig
from proa.errors import Invalid

_SHARED = frozenset(("shared", "rshared"))
_SLAVE = frozenset(("slave", "rslave"))


def check_propagation(mount: MountConfig) -> None:
    """Refuse a bind mount whose source cannot propagate as asked.

    Raises:
        Invalid: the source is on a mount that is private.
    """
    if mount.propagation not in _SHARED | _SLAVE:
        return
    point, fields = _find_mount(os.path.realpath(mount.source))
    shared = any(field.startswith("shared:") for field in fields)
    listens = any(field.startswith("master:") for field in fields)
    if shared or (listens and mount.propagation in _SLAVE):
        return
    kind = "a shared mount" if mount.propagation in _SHARED else "a shared or slave mount"
    raise Invalid(
        f"path {mount.source} is mounted on {point} but it is not {kind}",
        f"make it one with `mount --make-shared {point}`, or leave out the propagation",
    )


def find_deaf(mounts: tuple[MountConfig, ...], *, own_userns: bool) -> list[str]:
    """Return a sentence for each mount whose changes inside do not reach the host."""
    if not own_userns:
        return []
    return [
        f"mounts below {mount.target} do not reach the host from a user namespace of the"
        " container's own: use --userns host"
        for mount in mounts
        if mount.type == "bind" and mount.propagation in _SHARED
    ]


def _find_mount(path: str) -> tuple[str, list[str]]:
    """The mount point of a path, and the mount's optional fields (proc_pid_mountinfo(5))."""
    found, fields = "/", list[str]()
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as lines:
        for line in lines:
            words = line.split()
            point = words[4].encode().decode("unicode_escape") if "\\" in words[4] else words[4]
            inside = path == point or path.startswith(point.rstrip("/") + "/")
            if inside and len(point) >= len(found):
                found, fields = point, words[6 : words.index("-")]
    return found, fields
