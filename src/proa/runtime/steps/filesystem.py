"""Mounts of a spec: filesystems made for the container, and sources shown in it."""

from __future__ import annotations

import os
from functools import lru_cache

from proa.linux import mount as api
from proa.linux.syscalls import AT_EMPTY_PATH
from proa.oci.spec import Mount
from proa.runtime import slots
from proa.runtime.plan import Argument, Result, Segment, Slot, Steps
from proa.runtime.steps import target
from proa.runtime.steps.options import MountOptions, parse_options

_KEPT = {"/proc": slots.PROC, "/dev": slots.DEV}
"""Mounts that later segments reach through a slot: their content is certain to be the kernel's."""


def make(
    steps: Steps,
    name: str,
    kind: str,
    options: MountOptions,
    *,
    source: str = "",
    context_into: int = 0,
    into: int = 0,
) -> Result:
    """Make a filesystem; the result is its detached mount."""
    context: Argument = steps.add(
        name, "fsopen", kind.encode(), api.FSOPEN_CLOEXEC, into=context_into
    )
    if context_into:
        context = Slot(context_into)
    data = options.data if not source else (("source", source), *options.data)
    for key, value in data:
        if value is None:
            arguments: tuple[Argument, ...] = (api.FSCONFIG_SET_FLAG, os.fsencode(key), None, 0)
        else:
            arguments = (api.FSCONFIG_SET_STRING, os.fsencode(key), os.fsencode(value), 0)
        steps.add(f"{name} ({key})", "fsconfig", context, *arguments)
    steps.add(name, "fsconfig", context, api.FSCONFIG_CMD_CREATE, None, None, 0)
    mounted = steps.add(
        name,
        "fsmount",
        context,
        api.FSMOUNT_CLOEXEC,
        (options.attr_set | options.recursive_set),
        into=into,
    )
    steps.add(name, "close", context, into=context_into)
    return mounted


@lru_cache(maxsize=64)
def filesystem(mount: Mount) -> Segment:
    """A filesystem of its own: proc, sysfs, tmpfs, mqueue, cgroup2 ..."""
    name = f"mount {mount.destination}"
    steps = Steps()
    options = parse_options(mount.options)
    into = _KEPT.get(mount.destination, 0)
    made = make(steps, name, mount.type, options, source=mount.source, into=into)
    target.attach(steps, name, made, mount.destination, directory=True)
    if not into:
        steps.add(name, "close", made)
    return steps.compile(name)


@lru_cache(maxsize=4)
def make_devpts(mount: Mount, *, terminal: bool) -> Segment:
    """Make the container's devpts while descriptors are shared, and open a pty's master in it."""
    steps = Steps()
    options = parse_options(mount.options)
    make(
        steps,
        f"mount {mount.destination}",
        "devpts",
        options,
        source=mount.source,
        context_into=slots.DEVPTS_CONTEXT,
        into=slots.DEVPTS,
    )
    if terminal:
        open_master(steps)
    return steps.compile("devpts")


def open_master(steps: Steps) -> None:
    """Open a new pty of the container's devpts; the parent takes the master over."""
    steps.add(
        "open the terminal",
        "openat",
        Slot(slots.DEVPTS),
        b"ptmx",
        os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC,
        into=slots.MASTER,
    )


@lru_cache(maxsize=16)
def attach_slot(destination: str, slot: int, *, directory: bool) -> Segment:
    """Attach a detached mount from a slot: a bind source, or devpts."""
    name = f"mount {destination}"
    steps = Steps()
    target.attach(steps, name, Slot(slot), destination, directory=directory)
    return steps.compile(name)


@lru_cache(maxsize=8)
def cgroup_v1(mount: Mount, hierarchies: tuple[tuple[str, str], ...]) -> Segment:
    """A tmpfs with one directory for each v1 hierarchy, as systemd lays them out.

    Args:
        mount: the spec's mount of type ``cgroup``.
        hierarchies: directory name and mount options (``cpu,cpuacct``, ``name=systemd``) of each.
    """
    name = f"mount {mount.destination}"
    options = parse_options(mount.options)
    attributes = options.attr_set
    steps = Steps()
    holder = make(
        steps,
        name,
        "tmpfs",
        MountOptions(attr_set=attributes & ~api.MOUNT_ATTR_RDONLY, data=(("mode", "755"),)),
        source="tmpfs",
    )
    target.attach(steps, name, holder, mount.destination, directory=True)
    for directory, words in hierarchies:
        path = os.fsencode(directory)
        part = f"{name}/{directory}"
        data = tuple([_option(word) for word in words.split(",")])
        made = make(
            steps,
            part,
            "cgroup",
            MountOptions(attr_set=attributes, data=data),
            source="cgroup",
        )
        steps.add(part, "mkdirat", holder, path, 0o755)
        place = steps.add(part, "openat", holder, path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        target.move(steps, part, made, place)
        for word in words.split(","):
            if word != directory and "=" not in word:
                steps.add(part, "symlinkat", path, holder, word.encode())
    if attributes & api.MOUNT_ATTR_RDONLY:
        steps.add(
            name,
            "mount_setattr",
            holder,
            b"",
            AT_EMPTY_PATH,
            api.pack_mount_attr(attr_set=api.MOUNT_ATTR_RDONLY),
            api.MOUNT_ATTR_SIZE,
        )
    return steps.compile(name)


def _option(word: str) -> tuple[str, str | None]:
    key, separator, value = word.partition("=")
    return key, value if separator else None
