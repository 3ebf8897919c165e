"""qemu-user registered in binfmt_misc for as long as a test runs, the host as it was afterwards."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

REGISTRY = "/proc/sys/fs/binfmt_misc"
AARCH64 = "qemu-aarch64"
INTERPRETER = "/usr/bin/qemu-aarch64-static"
AARCH64_LINE = (
    rb":qemu-aarch64:M::\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
    rb":\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:"
)
"""ELF, 64 bit, little endian, ET_EXEC or ET_DYN, EM_AARCH64 (binfmt_misc(5): name, type, offset,
magic, mask); the kernel decodes the escapes."""


@contextmanager
def registered_aarch64() -> Iterator[None]:
    """Have arm64 programs run; an entry of the machine's own is used as it is.

    Flags: O and C pass the program's descriptor and its credentials (setuid), F opens the
    interpreter now, so that nothing in a container's root can take its place.
    """
    with _mounted():
        if os.path.exists(f"{REGISTRY}/{AARCH64}"):
            yield
            return
        _write("register", AARCH64_LINE + INTERPRETER.encode() + b":OCF")
        try:
            yield
        finally:
            _write(AARCH64, b"-1")


@contextmanager
def without_aarch64() -> Iterator[None]:
    """Have no arm64 program run: an entry of the machine's own is disabled meanwhile."""
    path = f"{REGISTRY}/{AARCH64}"
    if not os.path.exists(path):
        yield
        return
    with open(path) as file:
        was_enabled = file.readline().strip() == "enabled"
    _write(AARCH64, b"0")
    try:
        yield
    finally:
        if was_enabled:
            _write(AARCH64, b"1")


@contextmanager
def _mounted() -> Iterator[None]:
    if os.path.exists(f"{REGISTRY}/register"):
        yield
        return
    subprocess.run(["mount", "-t", "binfmt_misc", "binfmt_misc", REGISTRY], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", REGISTRY], check=True)


def _write(name: str, data: bytes) -> None:
    with open(f"{REGISTRY}/{name}", "wb", buffering=0) as file:
        file.write(data)
