"""Packing a layer: the tar of a directory as overlayfs keeps it, the inverse of ``apply``.

The upper directory of a container holds what it changed; whiteouts and opaque marks go back to the
form that archives have. Order and content depend on nothing but the tree, so that the same change
always gives the same digest.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Container, Iterator

from proa.image.layers import entry as tar
from proa.image.layers import whiteout
from proa.image.layers.entry import Entry
from proa.image.layers.writer import TarWriter, Write
from proa.image.layers.xattrs import read_xattrs

_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_READ_BYTES = 1024 * 1024


def write_layer(root: str | int, write: Write, *, omit: Container[bytes] = frozenset()) -> None:
    """Write the tar of everything below ``root``, the root's own attributes included.

    Sockets are left out: they mean nothing without their process.

    Args:
        root: path or descriptor of the directory; nothing in it changes meanwhile.
        write: takes the pieces of the tar.
        omit: paths below the root, without a slash at the end, that are left out.

    Raises:
        OSError: something cannot be read.
        ValueError: a file changed its size while it was read.
    """
    fd = os.open(root, _OPEN_DIRECTORY) if isinstance(root, str) else os.dup(root)
    try:
        packer = _Packer(TarWriter(write), omit)
        packer.pack_root(fd)
    finally:
        os.close(fd)


class _Packer:
    def __init__(self, writer: TarWriter, omit: Container[bytes]) -> None:
        self._writer = writer
        self._omit = omit
        self._linked: dict[tuple[int, int], bytes] = {}

    def pack_root(self, fd: int) -> None:
        status = os.fstat(fd)
        self._writer.add(_entry(b"./", tar.DIRECTORY, status, read_xattrs(fd)))
        self._pack_below(fd, b"")
        self._writer.close()

    def _pack_below(self, top_fd: int, top: bytes) -> None:
        # A stack of paths, opened one at a time from the root, never of descriptors: a container
        # may nest directories deeper than any table of descriptors.
        pending = [top]
        while pending:
            path = pending.pop()
            fd = _open_below(top_fd, path)
            try:
                if whiteout.is_opaque(fd):
                    marker = path + whiteout.OPAQUE_MARKER
                    self._writer.add(Entry(marker, tar.REGULAR, mode=0))
                names = sorted(os.fsencode(name) for name in os.listdir(fd))
                directories = [path + n + b"/" for n in names if self._pack(fd, path, n)]
                pending.extend(reversed(directories))
            finally:
                os.close(fd)

    def _pack(self, parent_fd: int, parent: bytes, name: bytes) -> bool:
        """Write one entry; True for a directory, whose content is still to come."""
        path = parent + name
        if path in self._omit:
            return False
        status = os.stat(name, dir_fd=parent_fd, follow_symlinks=False)
        mode = status.st_mode
        if whiteout.is_whiteout(mode, status.st_rdev):
            hidden = parent + whiteout.PREFIX + name
            self._writer.add(Entry(hidden, tar.REGULAR, mode=0))
            return False
        if stat.S_ISDIR(mode):
            fd = os.open(name, _OPEN_DIRECTORY, dir_fd=parent_fd)
            try:
                self._writer.add(_entry(path + b"/", tar.DIRECTORY, status, read_xattrs(fd)))
            finally:
                os.close(fd)
            return True
        if stat.S_ISSOCK(mode):
            return False
        if status.st_nlink > 1:
            first = self._linked.setdefault((status.st_dev, status.st_ino), path)
            if first != path:
                self._writer.add(_entry(path, tar.LINK, status, None, link=first))
                return False
        if stat.S_ISREG(mode):
            self._pack_file(parent_fd, path, name, status)
        elif stat.S_ISLNK(mode):
            target = os.readlink(name, dir_fd=parent_fd)
            self._writer.add(_entry(path, tar.SYMLINK, status, None, link=os.fsencode(target)))
        else:
            kinds = {stat.S_IFCHR: tar.CHARACTER, stat.S_IFBLK: tar.BLOCK, stat.S_IFIFO: tar.FIFO}
            self._writer.add(_entry(path, kinds[stat.S_IFMT(mode)], status, None))
        return False

    def _pack_file(self, parent_fd: int, path: bytes, name: bytes, status: os.stat_result) -> None:
        fd = os.open(name, _OPEN_FILE, dir_fd=parent_fd)
        try:
            entry = _entry(path, tar.REGULAR, status, read_xattrs(fd))
            self._writer.add(entry, _pieces(fd))
        finally:
            os.close(fd)


def _entry(
    name: bytes,
    kind: bytes,
    status: os.stat_result,
    xattrs: dict[str, bytes] | None,
    link: bytes = b"",
) -> Entry:
    is_device = kind in (tar.CHARACTER, tar.BLOCK)
    return Entry(
        name,
        kind,
        mode=stat.S_IMODE(status.st_mode),
        uid=status.st_uid,
        gid=status.st_gid,
        size=status.st_size if kind == tar.REGULAR else 0,
        mtime_ns=status.st_mtime_ns,
        link=link,
        major=os.major(status.st_rdev) if is_device else 0,
        minor=os.minor(status.st_rdev) if is_device else 0,
        xattrs=xattrs,
    )


def _pieces(fd: int) -> Iterator[bytes]:
    while piece := os.read(fd, _READ_BYTES):
        yield piece


def _open_below(top_fd: int, path: bytes) -> int:
    """Open a directory below the top, in steps that each fit PATH_MAX, following no link."""
    fd = os.dup(top_fd)
    for name in path.split(b"/"):
        if name:
            try:
                below = os.open(name, _OPEN_DIRECTORY, dir_fd=fd)
            finally:
                os.close(fd)
            fd = below
    return fd
