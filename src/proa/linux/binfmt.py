"""binfmt_misc: programs of other kinds, run by an interpreter.

Source: Documentation/admin-guide/binfmt-misc.rst of the kernel.

The initial user namespace has one registry; since Linux 6.7 every user namespace may have its own,
which then stands for all namespaces below it. A registry lives as long as it is mounted somewhere.
"""

from __future__ import annotations

import os
from typing import NamedTuple

DIRECTORY = "/proc/sys/fs/binfmt_misc"
"""Where the initial user namespace's registry is mounted."""

_CONTROLS = ("register", "status")


class Handler(NamedTuple):
    """One entry: files whose first bytes are ``magic`` under ``mask`` are run by ``interpreter``.

    Flags: ``O`` the interpreter gets the program's descriptor, ``C`` and its credentials, ``P`` its
    argv[0], ``F`` the interpreter was opened when the entry was made, so that it is the same in
    every mount namespace.
    """

    name: str
    magic: bytes
    mask: bytes
    interpreter: str
    flags: str
    enabled: bool = True

    def matches(self, header: bytes) -> bool:
        """Say whether a file that begins with ``header`` is of this kind."""
        if len(header) < len(self.magic):
            return False
        mask = self.mask or b"\xff" * len(self.magic)
        return all(
            (found ^ wanted) & bits == 0
            for found, wanted, bits in zip(header, self.magic, mask, strict=False)
        )

    def registration(self) -> bytes:
        """Return what is written to ``register``."""
        fields = (b"", os.fsencode(self.name), b"M", b"0", _escape(self.magic), _escape(self.mask))
        return b":".join((*fields, os.fsencode(self.interpreter), self.flags.encode()))


def is_mounted(directory: str = DIRECTORY) -> bool:
    """Say whether the registry can be written to."""
    return os.path.exists(f"{directory}/register")


def read_handlers(directory: str = DIRECTORY) -> list[Handler]:
    """Return the entries that recognize programs by their first bytes.

    Raises:
        OSError: the registry cannot be read; one that is not mounted is empty.
    """
    handlers = []
    try:
        names = sorted(os.listdir(directory))
    except FileNotFoundError:
        return []
    for name in names:
        if name in _CONTROLS:
            continue
        try:
            with open(f"{directory}/{name}", encoding="utf-8", errors="surrogateescape") as file:
                handler = _parse(name, file.read())
        except FileNotFoundError:
            continue
        if handler is not None:
            handlers.append(handler)
    return handlers


def register(handler: Handler, directory: str = DIRECTORY) -> None:
    """Add an entry.

    Raises:
        OSError: EEXIST: the name is in use; ENOENT: there is no such interpreter; EPERM.
    """
    _write(f"{directory}/register", handler.registration())


def unregister(name: str, directory: str = DIRECTORY) -> None:
    """Remove an entry.

    Raises:
        OSError: ENOENT: there is none; EPERM.
    """
    _write(f"{directory}/{name}", b"-1")


def _parse(name: str, text: str) -> Handler | None:
    lines = text.splitlines()
    words = dict(line.partition(" ")[::2] for line in lines if " " in line)
    if words.get("offset", "0") != "0" or "magic" not in words:
        return None
    return Handler(
        name=name,
        magic=bytes.fromhex(words["magic"]),
        mask=bytes.fromhex(words.get("mask", "")),
        interpreter=words.get("interpreter", ""),
        flags=words.get("flags:", ""),
        enabled=lines[:1] == ["enabled"],
    )


def _escape(data: bytes) -> bytes:
    return b"".join(b"\\x%02x" % byte for byte in data)


def _write(path: str, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, data)
    finally:
        os.close(fd)
