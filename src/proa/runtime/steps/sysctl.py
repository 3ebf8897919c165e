"""Kernel parameters of the container's own namespaces, written through its fresh procfs."""

from __future__ import annotations

import os
from functools import lru_cache

from proa.runtime import slots
from proa.runtime.plan import Segment, Slot, Steps


@lru_cache(maxsize=16)
def write(values: tuple[tuple[str, str], ...]) -> Segment:
    """Write each value; names have dots, ``/`` stands for a dot within a component."""
    steps = Steps()
    for key, value in values:
        name = f"set the sysctl {key}"
        raw = value.encode()
        file = steps.add(
            name,
            "openat",
            Slot(slots.PROC),
            os.fsencode(file_of(key)),
            os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC,
        )
        steps.add(name, "write", file, raw, len(raw))
        steps.add(name, "close", file)
    return steps.compile("sysctls")


def file_of(key: str) -> str:
    """Path below /proc: ``net.ipv4.ip_forward`` is ``sys/net/ipv4/ip_forward`` (sysctl.d(5))."""
    return "sys/" + key.translate({ord("."): "/", ord("/"): "."})
