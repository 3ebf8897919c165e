"""Cgroup paths, with systemd's slice names understood.

Proa drives cgroupfs itself and does not talk to systemd. A slice given as ``--cgroup-parent`` is
only *named* in systemd's way: ``a-b.slice`` lies in ``a.slice`` (systemd.slice(5)).
"""

from __future__ import annotations

from proa.errors import Invalid

DEFAULT_PARENT = "/proa"
_NAME_MAX = 255


def expand_slice(name: str) -> str:
    """Path of a slice: ``foo-bar.slice`` is ``/foo.slice/foo-bar.slice``, ``-.slice`` the root.

    Raises:
        Invalid: not a slice name.
    """
    stem = name.removesuffix(".slice")
    if stem == "-":
        return "/"
    if stem == name or "/" in name or not all(stem.split("-")):
        raise Invalid(
            f"--cgroup-parent {name!r} is not a slice name",
            "slices are written like app.slice or app-web.slice",
        )
    path = ""
    words = stem.split("-")
    for count in range(1, len(words) + 1):
        path += "/" + "-".join(words[:count]) + ".slice"
    return path


def cgroup_path(parent: str, container_id: str) -> str:
    """Path of a container's group below the roots of the hierarchies.

    Args:
        parent: ``--cgroup-parent``: empty for the default, a slice's name, or a path (a relative
            one counts from the root, as Docker has it).
        container_id: last component.

    Raises:
        Invalid: the parent is no usable path.
    """
    if not parent:
        return f"{DEFAULT_PARENT}/{container_id}"
    if parent.endswith(".slice") and "/" not in parent:
        return f"{expand_slice(parent).rstrip('/')}/{container_id}"
    return "/" + "/".join((*split_path(parent), container_id))


def split_path(path: str) -> list[str]:
    """Components of a cgroup path.

    Raises:
        Invalid: a component could leave the hierarchy or hide a group of the engine.
    """
    components = [part for part in path.split("/") if part]
    for part in components:
        if part in (".", "..") or len(part) > _NAME_MAX or not part.isprintable():
            raise Invalid(
                f"cgroup path {path!r} has an unusable component {part[:40]!r}",
                "use plain directory names without . and ..",
            )
        if part.startswith("@"):
            raise Invalid(f"cgroup path {path!r}: names that begin with @ are Proa's own")
    return components
