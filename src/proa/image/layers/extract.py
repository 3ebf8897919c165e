"""From a tar or a tree to files, into a directory that somebody else may be changing.

Two kinds of destinations. In a *container's root* links on the way are the container's own business
and are followed, inside that root. On the *host* the archive comes from a container: below the
directory that the user named no link is followed, so that an archive cannot lead out of it.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable
from typing import Protocol

import msgspec

from proa.errors import Conflict, Invalid
from proa.fs.rootpath import open_directory
from proa.image.layers import entry as tar
from proa.image.layers.entry import Entry, Refusal
from proa.image.layers.reader import TarReader
from proa.image.layers.stream import ByteStream
from proa.image.layers.treewalk import Item
from proa.image.layers.xattrs import write_xattrs
from proa.linux.openat2 import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, openat2

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_SPECIAL_BITS = 0o7000
_SMALL_BYTES = 256 * 1024


class Ownership(msgspec.Struct, frozen=True, kw_only=True):
    """Whose the files become.

    Attributes:
        uid, gid: None: as the archive says, setuid bits, attributes and devices included; else
            theirs, without setuid bits and attributes when ``strip``.
        shift: added to ids of the archive.
        strip: take away what gives rights: setuid and setgid bits, file capabilities, devices.
    """

    uid: int | None = None
    gid: int | None = None
    shift: int = 0
    strip: bool = False


class Destination(msgspec.Struct, frozen=True, kw_only=True):
    """Where an archive goes.

    Attributes:
        root_fd: what is resolved against.
        path: the directory below the root; ``.`` for the root itself.
        follow: follow links on the way, inside the root; otherwise none.
    """

    root_fd: int
    path: str = "."
    follow: bool = False

    def open(self, below: bytes) -> int:
        """Open a directory below the destination."""
        whole = os.fsencode(self.path) + b"/" + below if below else os.fsencode(self.path)
        if self.follow:
            return open_directory(self.root_fd, whole)
        return openat2(
            self.root_fd,
            whole,
            os.O_RDONLY | os.O_DIRECTORY,
            RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS,
        )


def unpack(
    pieces: Iterable[bytes], destination: Destination, ownership: Ownership, what: str
) -> None:
    """Unpack a whole archive; what was made stays when a later entry is refused.

    Args:
        pieces: the archive, uncompressed.
        destination: an existing directory.
        ownership: whose the files become.
        what: names the archive in messages.

    Raises:
        Invalid: an entry with ``..``, or of an unknown kind.
        Conflict: a directory where a file is, or the other way round.
        Corrupt: no tar, or cut short.
        OSError: the disk's own reasons.
    """
    reader = TarReader(ByteStream(iter(pieces), what), what)
    unpacker = _Unpacker(destination, ownership, what)
    try:
        for entry in reader:
            unpacker.make(entry, reader)
        unpacker.finish()
    finally:
        unpacker.close()


def copy(items: Iterable[Item], destination: Destination, ownership: Ownership, what: str) -> None:
    """Copy walked objects: what :func:`unpack` makes of their archive, without making that.

    Args:
        items: names are relative to the destination.
        destination, ownership, what: as for :func:`unpack`.

    Raises:
        Invalid, Conflict, OSError: as :func:`unpack`.
    """
    unpacker = _Unpacker(destination, ownership, what)
    try:
        for entry, data in items:
            unpacker.make(entry, _File(data))
        unpacker.finish()
    finally:
        unpacker.close()


class _Data(Protocol):
    """Where the data of an entry comes from."""

    def copy_data(self, fd: int, size: int) -> None:
        """Write the next ``size`` bytes to ``fd``."""


class _File:
    """An open file as the data of an entry; one that has become shorter is filled with zeros."""

    __slots__ = ("_fd",)

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def copy_data(self, fd: int, size: int) -> None:
        if size <= _SMALL_BYTES:
            data = os.read(self._fd, size) if size else b""
            if len(data) < size:
                data = data.ljust(size, b"\0")
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
            return
        at = 0
        while at < size and (piece := self._find_data(at, size)):
            start, end = piece
            os.lseek(fd, start, os.SEEK_SET)
            at = start
            while at < end and (sent := os.sendfile(fd, self._fd, at, end - at)):
                at += sent
            if at < end:
                break
        os.ftruncate(fd, size)

    def _find_data(self, at: int, size: int) -> tuple[int, int] | None:
        """The next stretch of data from ``at``; holes stay holes."""
        try:
            start = os.lseek(self._fd, at, os.SEEK_DATA)
            end = os.lseek(self._fd, start, os.SEEK_HOLE)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return None
            return at, size
        return (start, min(end, size)) if start < size else None


class _Unpacker:
    def __init__(self, destination: Destination, ownership: Ownership, what: str) -> None:
        self._destination = destination
        self._ownership = ownership
        self._what = what
        self._parent = (b"", destination.open(b""))
        self._times: dict[bytes, int] = {}

    def close(self) -> None:
        os.close(self._parent[1])

    def finish(self) -> None:
        """Directories get their times last: making names in them changed those."""
        for path, mtime_ns in reversed(self._times.items()):
            try:
                fd = self._destination.open(path)
            except OSError:
                continue  # the container has removed or replaced it meanwhile
            try:
                os.utime(fd, ns=(mtime_ns, mtime_ns))
            finally:
                os.close(fd)

    def make(self, entry: Entry, reader: _Data) -> None:
        parts = self._split(entry.name, entry)
        if not parts:
            return
        parent_fd, name = self._open_parent(parts[:-1]), parts[-1]
        kind = entry.kind
        if kind == tar.DIRECTORY:
            self._make_directory(parent_fd, name, entry)
            self._times[b"/".join(parts)] = entry.mtime_ns
            return
        if kind == tar.REGULAR:
            self._make_file(parent_fd, name, entry, reader)
            return
        self._clear_way(parent_fd, name, entry)
        if kind == tar.SYMLINK:
            os.symlink(entry.link, name, dir_fd=parent_fd)
            self._describe_name(parent_fd, name, entry)
        elif kind == tar.LINK:
            self._make_link(parent_fd, name, entry)
        elif kind in (tar.CHARACTER, tar.BLOCK, tar.FIFO):
            self._make_node(parent_fd, name, entry)
        else:
            raise self._refuse(entry, f"the unknown type {kind!r}")

    def _split(self, path: bytes, entry: Entry) -> list[bytes]:
        parts = [part for part in path.split(b"/") if part not in (b"", b".")]
        if b".." in parts or b"\0" in path:
            raise self._refuse(entry, "a path with '..' or a NUL byte")
        return parts

    def _open_parent(self, parts: list[bytes]) -> int:
        path = b"/".join(parts)
        if self._parent[0] == path:
            return self._parent[1]
        try:
            fd = self._destination.open(path)
        except FileNotFoundError:
            fd = self._make_missing(parts)
        os.close(self._parent[1])
        self._parent = (path, fd)
        return fd

    def _make_missing(self, parts: list[bytes]) -> int:
        """Make the directories that no entry has described."""
        current = self._destination.open(b"")
        for depth in range(1, len(parts) + 1):
            try:
                below = self._destination.open(b"/".join(parts[:depth]))
            except FileNotFoundError:
                os.mkdir(parts[depth - 1], 0o755, dir_fd=current)
                below = os.open(parts[depth - 1], _DIRECTORY, dir_fd=current)
                self._own(below, None)
            finally:
                os.close(current)
            current = below
        return current

    def _clear_way(self, parent_fd: int, name: bytes, entry: Entry) -> None:
        try:
            status = os.stat(name, dir_fd=parent_fd, follow_symlinks=False)
        except FileNotFoundError:
            return
        if stat.S_ISDIR(status.st_mode):
            raise Conflict(f"cannot overwrite directory {_shown(entry)!r} with a non-directory")
        os.unlink(name, dir_fd=parent_fd)

    def _make_directory(self, parent_fd: int, name: bytes, entry: Entry) -> None:
        try:
            os.mkdir(name, 0o700, dir_fd=parent_fd)
            created = True
        except FileExistsError:
            created = False
        try:
            fd = os.open(name, _DIRECTORY, dir_fd=parent_fd)
        except OSError as error:
            if error.errno not in (errno.ENOTDIR, errno.ELOOP):
                raise
            if self._destination.follow and _leads_to_directory(self, entry):
                return
            raise Conflict(
                f"cannot overwrite non-directory {_shown(entry)!r} with a directory"
            ) from error
        try:
            if created or self._ownership.uid is None:
                self._own(fd, entry)
                os.fchmod(fd, self._mode(entry))
                self._write_xattrs(fd, entry)
        finally:
            os.close(fd)

    def _make_file(self, parent_fd: int, name: bytes, entry: Entry, reader: _Data) -> None:
        try:
            fd = os.open(name, _CREATE, 0o600, dir_fd=parent_fd)
        except FileExistsError:
            self._clear_way(parent_fd, name, entry)
            fd = os.open(name, _CREATE, 0o600, dir_fd=parent_fd)
        try:
            if entry.extents is None:
                reader.copy_data(fd, entry.size)
            else:
                for offset, length in zip(entry.extents[::2], entry.extents[1::2], strict=True):
                    os.lseek(fd, offset, os.SEEK_SET)
                    reader.copy_data(fd, length)
                os.ftruncate(fd, entry.real_size)
            self._own(fd, entry)
            os.fchmod(fd, self._mode(entry))
            self._write_xattrs(fd, entry)
            os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))
        finally:
            os.close(fd)

    def _make_link(self, parent_fd: int, name: bytes, entry: Entry) -> None:
        *parents, target = self._split(entry.link, entry) or [b""]
        if not target:
            raise self._refuse(entry, "a hard link to no file")
        target_fd = self._destination.open(b"/".join(parents))
        try:
            os.link(target, name, src_dir_fd=target_fd, dst_dir_fd=parent_fd, follow_symlinks=False)
        finally:
            os.close(target_fd)

    def _make_node(self, parent_fd: int, name: bytes, entry: Entry) -> None:
        if self._ownership.strip and entry.kind != tar.FIFO:
            raise self._refuse(entry, "a device; copy it with --archive, or leave it out")
        kinds = {tar.CHARACTER: stat.S_IFCHR, tar.BLOCK: stat.S_IFBLK, tar.FIFO: stat.S_IFIFO}
        device = os.makedev(entry.major, entry.minor)
        os.mknod(name, kinds[entry.kind] | 0o600, device, dir_fd=parent_fd)
        os.chmod(name, self._mode(entry), dir_fd=parent_fd)
        self._describe_name(parent_fd, name, entry)

    def _describe_name(self, parent_fd: int, name: bytes, entry: Entry) -> None:
        uid, gid = self._ids(entry)
        os.chown(name, uid, gid, dir_fd=parent_fd, follow_symlinks=False)
        times = (entry.mtime_ns, entry.mtime_ns)
        os.utime(name, ns=times, dir_fd=parent_fd, follow_symlinks=False)

    def _own(self, fd: int, entry: Entry | None) -> None:
        uid, gid = self._ids(entry)
        status = os.fstat(fd)
        if (uid, gid) != (status.st_uid, status.st_gid):
            os.fchown(fd, uid, gid)

    def _ids(self, entry: Entry | None) -> tuple[int, int]:
        owner = self._ownership
        uid = (entry.uid if entry else 0) if owner.uid is None else owner.uid
        gid = (entry.gid if entry else 0) if owner.gid is None else owner.gid
        return uid + owner.shift, gid + owner.shift

    def _mode(self, entry: Entry) -> int:
        return entry.mode & ~_SPECIAL_BITS if self._ownership.strip else entry.mode & 0o7777

    def _write_xattrs(self, fd: int, entry: Entry) -> None:
        if not entry.xattrs or self._ownership.strip:
            return
        try:
            write_xattrs(fd, entry.xattrs)
        except Refusal as refusal:
            raise self._refuse(entry, str(refusal)) from refusal
        except OSError as error:
            # A filesystem without attributes takes the file without them, as cp(1) does.
            if error.errno not in (errno.EOPNOTSUPP, errno.EPERM):
                raise

    def _refuse(self, entry: Entry, why: str) -> Invalid:
        name = entry.name[:200].decode("utf-8", "replace")
        return Invalid(f"{self._what} is refused: {name!r} has {why}")


def _shown(entry: Entry) -> str:
    return entry.name.rstrip(b"/")[:200].decode("utf-8", "replace")


def _leads_to_directory(unpacker: _Unpacker, entry: Entry) -> bool:
    """A link to a directory, where the archive has a directory, stands for it (``/lib``)."""
    try:
        os.close(unpacker._destination.open(entry.name.strip(b"/")))
    except OSError:
        return False
    return True
