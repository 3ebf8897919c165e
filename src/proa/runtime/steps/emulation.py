"""Programs of other architectures: a binfmt_misc registry of the container's own user namespace.

Since Linux 6.7; the host's registry is neither used nor changed. The interpreter is opened when its
entry is written (flag F): that is here, while paths are still the host's, so nothing in the image
can take its place. The registry lives as long as its mount, which the container sees read-only.
"""

from __future__ import annotations

import os
from functools import lru_cache

from proa.linux import mount as api
from proa.linux.binfmt import DIRECTORY
from proa.linux.syscalls import AT_EMPTY_PATH
from proa.runtime.plan import Segment, Steps
from proa.runtime.steps import filesystem, target
from proa.runtime.steps.options import MountOptions

_ATTRIBUTES = api.MOUNT_ATTR_NOSUID | api.MOUNT_ATTR_NODEV | api.MOUNT_ATTR_NOEXEC


@lru_cache(maxsize=8)
def register(registrations: tuple[str, ...]) -> Segment:
    """Mount a registry of this user namespace on the container's /proc, with these entries.

    Args:
        registrations: lines as ``register`` takes them (:mod:`proa.linux.binfmt`), ASCII.
    """
    name = "register emulators"
    steps = Steps()
    mounted = filesystem.make(
        steps, name, "binfmt_misc", MountOptions(attr_set=_ATTRIBUTES), source="binfmt_misc"
    )
    for registration in registrations:
        line = registration.encode()
        file = steps.add(
            name, "openat", mounted, b"register", os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
        )
        steps.add(name, "write", file, line, len(line))
        steps.add(name, "close", file)
    steps.add(
        name,
        "mount_setattr",
        mounted,
        b"",
        AT_EMPTY_PATH,
        api.pack_mount_attr(attr_set=api.MOUNT_ATTR_RDONLY),
        api.MOUNT_ATTR_SIZE,
    )
    target.attach(steps, name, mounted, DIRECTORY, directory=True)
    steps.add(name, "close", mounted)
    return steps.compile("emulation")
