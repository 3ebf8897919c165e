"""Which cgroup hierarchies this machine has mounted.

Three shapes exist: *v1* (a hierarchy per controller, or per set of controllers), *v2* (one unified
hierarchy) and *hybrid* (v1 with a unified hierarchy beside it that holds the controllers v1 left
over, usually none that matter). Sources: cgroups(7), admin-guide/cgroup-v1/cgroups.rst
and admin-guide/cgroup-v2.rst of the kernel.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

CONTROLLERS_V1 = frozenset(
    (
        "blkio",
        "cpu",
        "cpuacct",
        "cpuset",
        "devices",
        "freezer",
        "hugetlb",
        "memory",
        "misc",
        "net_cls",
        "net_prio",
        "perf_event",
        "pids",
        "rdma",
    )
)
"""Words among a v1 mount's options that name a controller."""

_CORE = frozenset(("cpu", "cpuset", "memory", "pids"))

Mode = Literal["none", "v1", "hybrid", "v2"]


class Hierarchy(msgspec.Struct, frozen=True, kw_only=True):
    """What is mounted, as data: tests build one over a fake tree.

    Attributes:
        v1: mount point of each v1 controller; controllers mounted together share one.
        unified: mount point of the cgroup2 filesystem, empty when it is not mounted.
        v2_controllers: controllers that the unified hierarchy offers at its root.
        disabled: controllers that the kernel has and that the boot command line switched off.
    """

    v1: Mapping[str, str] = {}
    unified: str = ""
    v2_controllers: frozenset[str] = frozenset()
    disabled: frozenset[str] = frozenset()

    @property
    def mode(self) -> Mode:
        """The shape: containers live in v1 where one of the core controllers is mounted as v1.

        A v2 machine on which somebody mounted just ``net_cls`` or ``name=systemd`` is still v2.
        """
        if self.unified:
            return "v2" if _CORE.isdisjoint(self.v1) else "hybrid"
        return "v1" if self.v1 else "none"


def load_hierarchy(proc: str = "/proc") -> Hierarchy:
    """Read the shape of this machine from ``<proc>/self/mountinfo`` and ``<proc>/cgroups``.

    Raises:
        OSError: the mount table cannot be read.
    """
    v1, unified = parse_mountinfo(_read(f"{proc}/self/mountinfo"))
    try:
        disabled = parse_disabled(_read(f"{proc}/cgroups"))
    except FileNotFoundError:  # a kernel without any v1 support
        disabled = frozenset()
    offered: frozenset[str] = frozenset()
    if unified:
        try:
            offered = frozenset(_read(f"{unified}/cgroup.controllers").split())
        except FileNotFoundError:
            unified = ""  # shadowed by a later mount
    return Hierarchy(v1=v1, unified=unified, v2_controllers=offered, disabled=disabled)


def parse_mountinfo(text: str) -> tuple[dict[str, str], str]:
    """Find the cgroup mounts in a mount table (format: proc_pid_mountinfo(5)).

    A hierarchy may be mounted several times; a mount of its root is preferred over one of a
    subtree (which is what a container without a cgroup namespace sees), and the first one wins.

    Returns:
        Mount point by v1 controller (named hierarchies such as ``name=systemd`` included), and the
        mount point of cgroup2 or an empty string.
    """
    v1: dict[str, str] = {}
    subtrees: dict[str, str] = {}
    unified = ""
    for line in text.splitlines():
        head, separator, tail = line.partition(" - ")
        if not separator or not tail.startswith("cgroup"):
            continue
        fields = head.split(" ")
        filesystem, _source, options = tail.split(" ", 2)
        root, point = _unescape(fields[3]), _unescape(fields[4])
        if filesystem == "cgroup2":
            if not unified or point == "/sys/fs/cgroup":
                unified = point
        elif filesystem == "cgroup":
            into = v1 if root == "/" else subtrees
            for word in options.split(","):
                if word in CONTROLLERS_V1 or word.startswith("name="):
                    into.setdefault(word, point)
    return subtrees | v1, unified


def parse_disabled(text: str) -> frozenset[str]:
    """Controllers with 0 in the ``enabled`` column of ``/proc/cgroups``."""
    rows = (line.split() for line in text.splitlines() if not line.startswith("#"))
    return frozenset(row[0] for row in rows if len(row) == 4 and row[3] == "0")


def _unescape(field: str) -> str:
    r"""Undo the octal escapes (``\040`` for a space) of the mount table."""
    if "\\" not in field:
        return field
    raw = field.encode("utf-8", "surrogateescape")
    parts = raw.split(b"\\")
    decoded = parts[0] + b"".join(bytes([int(part[:3], 8)]) + part[3:] for part in parts[1:])
    return decoded.decode("utf-8", "surrogateescape")


def _read(path: str) -> str:
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return file.read()
