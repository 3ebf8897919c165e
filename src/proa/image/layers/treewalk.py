"""The objects of a tree, or of a stack of layers as overlayfs shows it, one after another.

What is walked may change meanwhile and may be hostile: every step is relative to a descriptor and
follows no link, and a file is looked at before it is opened for reading (opening a device or a FIFO
does things).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence

from proa.image.layers import entry as tar
from proa.image.layers import whiteout
from proa.image.layers.entry import Entry
from proa.image.layers.xattrs import read_xattrs

Item = tuple[Entry, int]
"""An object, and a descriptor of a regular file's data; -1 for others. Valid until the next."""

_LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NOBODY = 65534
_IDS = 65536
_KINDS = {
    stat.S_IFREG: tar.REGULAR,
    stat.S_IFLNK: tar.SYMLINK,
    stat.S_IFDIR: tar.DIRECTORY,
    stat.S_IFCHR: tar.CHARACTER,
    stat.S_IFBLK: tar.BLOCK,
    stat.S_IFIFO: tar.FIFO,
}


class Walker:
    """Walks trees; hard links among all that it has seen are entries of their own kind."""

    def __init__(self, *, shift: int = 0, xattrs: bool = True) -> None:
        """Prepare.

        Args:
            shift: subtracted from owners; ids outside its range become nobody's.
            xattrs: read extended attributes.
        """
        self._shift = shift
        self._xattrs = xattrs
        self._linked: dict[tuple[int, int], bytes] = {}

    def walk(self, fd: int, name: bytes) -> Iterator[Item]:
        """Yield one object (O_PATH) as ``name``; a directory with all below it.

        Raises:
            OSError: something cannot be read.
        """
        status = os.fstat(fd)
        if stat.S_ISDIR(status.st_mode):
            yield self._entry(name + b"/", status, self._read_xattrs(fd)), -1
            yield from self.walk_below([fd], name + b"/")
        else:
            yield from self._walk_file(fd, name, status)

    def walk_below(self, stack: Sequence[int], prefix: bytes) -> Iterator[Item]:
        """Yield what is below a directory.

        Args:
            stack: the directory in every layer that has it (O_PATH), uppermost first.
            prefix: stands before every name.
        """
        # Paths, opened again from the top one at a time: a tree may be deeper than the table of
        # descriptors is long.
        pending = [b""]
        while pending:
            path = pending.pop()
            level = _open_level(stack, path)
            try:
                directories = []
                for name, holder in sorted(_visible(level).items()):
                    try:
                        fd = os.open(name, _LOOK, dir_fd=holder)
                    except FileNotFoundError:
                        continue  # it was removed meanwhile
                    try:
                        status = os.fstat(fd)
                        below = path + name
                        if stat.S_ISDIR(status.st_mode):
                            yield (
                                self._entry(prefix + below + b"/", status, self._read_xattrs(fd)),
                                -1,
                            )
                            directories.append(below + b"/")
                        else:
                            yield from self._walk_file(fd, prefix + below, status)
                    finally:
                        os.close(fd)
                pending.extend(reversed(directories))
            finally:
                for fd in level:
                    os.close(fd)

    def _walk_file(self, fd: int, name: bytes, status: os.stat_result) -> Iterator[Item]:
        mode = status.st_mode
        if stat.S_ISSOCK(mode):
            return  # it means nothing without its process
        if status.st_nlink > 1:
            first = self._linked.setdefault((status.st_dev, status.st_ino), name)
            if first != name:
                yield self._entry(name, status, None, link=first, kind=tar.LINK), -1
                return
        if stat.S_ISLNK(mode):
            target = os.fsencode(os.readlink("", dir_fd=fd))
            yield self._entry(name, status, None, link=target), -1
        elif stat.S_ISREG(mode):
            # Through the descriptor: the name may mean something else by now.
            data = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)
            try:
                yield self._entry(name, status, _read_xattrs(data) if self._xattrs else None), data
            finally:
                os.close(data)
        else:
            yield self._entry(name, status, None), -1

    def _entry(
        self,
        name: bytes,
        status: os.stat_result,
        xattrs: dict[str, bytes] | None,
        *,
        link: bytes = b"",
        kind: bytes = b"",
    ) -> Entry:
        kind = kind or _KINDS[stat.S_IFMT(status.st_mode)]
        is_device = kind in (tar.CHARACTER, tar.BLOCK)
        return Entry(
            name,
            kind,
            mode=stat.S_IMODE(status.st_mode),
            uid=self._own_id(status.st_uid),
            gid=self._own_id(status.st_gid),
            size=status.st_size if kind == tar.REGULAR else 0,
            mtime_ns=status.st_mtime_ns,
            link=link,
            major=os.major(status.st_rdev) if is_device else 0,
            minor=os.minor(status.st_rdev) if is_device else 0,
            xattrs=xattrs,
        )

    def _read_xattrs(self, fd: int) -> dict[str, bytes] | None:
        return _xattrs(fd) if self._xattrs else None

    def _own_id(self, number: int) -> int:
        if not self._shift:
            return number
        own = number - self._shift
        return own if 0 <= own < _IDS else _NOBODY


def _xattrs(fd: int) -> dict[str, bytes] | None:
    """Attributes of an O_PATH descriptor; none where they cannot be had."""
    path = f"/proc/self/fd/{fd}"
    try:
        readable = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        return _read_xattrs(readable)
    finally:
        os.close(readable)


def _read_xattrs(fd: int) -> dict[str, bytes] | None:
    try:
        return read_xattrs(fd) or None
    except OSError:
        return None


def _open_level(stack: Sequence[int], path: bytes) -> list[int]:
    """Open the directory ``path`` of a stack in every layer where it shows through."""
    level = [os.dup(fd) for fd in stack]
    for name in filter(None, path.split(b"/")):
        below: list[int] = []
        try:
            for fd in level:
                try:
                    status = os.stat(name, dir_fd=fd, follow_symlinks=False)
                    if not stat.S_ISDIR(status.st_mode):
                        break
                    below.append(os.open(name, _DIRECTORY, dir_fd=fd))
                except (FileNotFoundError, NotADirectoryError):
                    continue
                if len(stack) > 1 and whiteout.is_opaque(below[-1]):
                    break
        finally:
            for fd in level:
                os.close(fd)
        level = below
    return level


def _visible(level: Sequence[int]) -> dict[bytes, int]:
    """Names of a merged directory, each with the layer that it comes from."""
    found: dict[bytes, int] = {}
    hidden: set[bytes] = set()
    layered = len(level) > 1
    for fd in level:
        for name in map(os.fsencode, os.listdir(f"/proc/self/fd/{fd}")):
            if name in found or name in hidden:
                continue
            if layered:
                status = os.stat(name, dir_fd=fd, follow_symlinks=False)
                if whiteout.is_whiteout(status.st_mode, status.st_rdev):
                    hidden.add(name)
                    continue
            found[name] = fd
    return found
