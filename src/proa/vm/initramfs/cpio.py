"""Archives in the form that the kernel unpacks at boot (cpio "newc").

Source: the kernel's ``Documentation/driver-api/early-userspace/buffer-format.rst``. All fields are
eight hexadecimal digits; names and contents are padded to four bytes.
"""

from __future__ import annotations

import os
import stat

_MAGIC = b"070701"
_ALIGNMENT = 4


class CpioWriter:
    """Collects an archive in memory; parents of what is added are made as needed.

    Paths are absolute or relative to the archive's root. Everything belongs to root, and nothing
    carries a time: the same contents always give the same bytes.
    """

    def __init__(self) -> None:
        self._data = bytearray()
        self._count = 0
        self._directories: set[str] = {""}

    def add_directory(self, path: str, mode: int = 0o755) -> None:
        """Add a directory; one that is there already stays as it is."""
        path = path.strip("/")
        if path in self._directories:
            return
        self._add_parent(path)
        self._directories.add(path)
        self._append(path, stat.S_IFDIR | mode)

    def add_file(self, path: str, content: bytes, mode: int = 0o644) -> None:
        """Add a regular file."""
        self._add_parent(path)
        self._append(path, stat.S_IFREG | mode, content)

    def add_link(self, path: str, target: str) -> None:
        """Add a symbolic link."""
        self._add_parent(path)
        self._append(path, stat.S_IFLNK | 0o777, os.fsencode(target))

    def add_character_device(self, path: str, major: int, minor: int, mode: int = 0o600) -> None:
        """Add a device node."""
        self._add_parent(path)
        self._append(path, stat.S_IFCHR | mode, device=(major, minor))

    def finish(self) -> bytes:
        """Return the archive with its trailer."""
        self._append("TRAILER!!!", 0)
        return bytes(self._data)

    def _add_parent(self, path: str) -> None:
        parent = os.path.dirname(path.strip("/"))
        if parent:
            self.add_directory(parent)

    def _append(
        self, path: str, mode: int, content: bytes = b"", device: tuple[int, int] = (0, 0)
    ) -> None:
        self._count += 1
        name = os.fsencode(path.strip("/")) + b"\0"
        links = 2 if stat.S_ISDIR(mode) else 1
        # inode, mode, uid, gid, links, time, size, device, device of the node, name, checksum
        fields = (
            self._count, mode, 0, 0, links, 0, len(content), 0, 0, *device, len(name), 0,
        )  # fmt: skip
        self._data += _MAGIC + b"".join([b"%08x" % field for field in fields]) + name
        self._pad()
        self._data += content
        self._pad()

    def _pad(self) -> None:
        self._data += bytes(-len(self._data) % _ALIGNMENT)
