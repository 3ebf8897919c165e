"""Unpacking one layer into a directory of its own, as overlayfs wants it as a lower.

Everything is made relative to the descriptor of a directory that was resolved inside the layer's
root; the last component of a path is never followed. What an entry replaces is removed first, so
that duplicates mean "the last one counts". Devices and setuid files are made as they are: the
state root is 0700 and containers mount the layer in a user namespace of their own.

The directory is staged: nobody else looks at it, and it is thrown away when anything here raises.
"""

from __future__ import annotations

import errno
import os
import stat

import msgspec

from proa.errors import Invalid
from proa.fs.tree import remove_tree
from proa.image.layers import entry as tar
from proa.image.layers import whiteout
from proa.image.layers.dircache import DirectoryCache
from proa.image.layers.entry import Entry, Refusal
from proa.image.layers.paths import PathSplitter, normalized
from proa.image.layers.reader import TarReader
from proa.image.layers.xattrs import write_xattrs
from proa.image.limits import DEFAULT, Limits

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_SPECIAL_BITS = 0o7000
_IMPLIED_MODE = 0o755
_NO_DIRECTORY = "a path through something that is no directory"
_INVALID_ID = 0xFFFFFFFF  # (uid_t) -1 means "leave it" to chown(2)


class Applied(msgspec.Struct, kw_only=True):
    """What a layer turned out to be.

    Attributes:
        size_bytes: data of regular files as stored in the archive (holes not counted).
        entries: directory entries made.
        opaque_root: the layer hides everything below it; overlayfs does not look for the mark on
            the root of a lower, so whoever stacks layers must stop here.
        implied: paths of directories without an entry of their own, parents first; they take their
            attributes from the layers below.
        links: (target, name) of hard links to files that are not in this layer.
    """

    size_bytes: int = 0
    entries: int = 0
    opaque_root: bool = False
    implied: list[bytes] = []
    links: list[tuple[bytes, bytes]] = []


class Applier:
    """Applies the entries of one archive to one directory."""

    def __init__(self, root_fd: int, what: str, limits: Limits = DEFAULT) -> None:
        """Fill the empty directory ``root_fd``; ``what`` names the layer in messages."""
        self._what = what
        self._limits = limits
        self._root_fd = root_fd
        self._directories = DirectoryCache(root_fd)
        self._umask = _umask()
        self._owner = (os.geteuid(), os.getegid())
        self._implied: dict[bytes, None] = {}
        self._implied_bytes = 0
        self._root_described = False
        self._stale = False
        self._paths = PathSplitter(limits)
        self.applied = Applied()

    def run(self, reader: TarReader) -> Applied:
        """Apply all entries.

        Raises:
            Invalid, Corrupt: hostile or damaged; the message names the entry.
            OSError: the disk's own reasons (ENOSPC ...).
        """
        try:
            for entry in reader:
                try:
                    self._apply(entry, reader)
                except Refusal as error:
                    raise self._refuse(entry, str(error)) from error
                except OSError as error:
                    if error.errno in _ARCHIVES_FAULT:
                        raise self._refuse(entry, os.strerror(error.errno).lower()) from error
                    raise
        finally:
            self._directories.clear()
        root = () if self._root_described else (b"",)
        self.applied.implied = [*root, *self._implied]
        return self.applied

    def _apply(self, entry: Entry, reader: TarReader) -> None:
        if self._stale:
            self._directories.clear()
            self._stale = False
        parent, name = self._paths.split(entry.name)
        self._count()
        if not name:
            self._apply_root(entry)
            return
        parent_fd = self._parent(parent, entry)
        if not name.startswith(whiteout.PREFIX):
            self._make(parent_fd, name, entry, reader)
            return
        kind, hidden = whiteout.classify(name)
        if kind == "opaque":
            if parent:
                os.setxattr(parent_fd, whiteout.OPAQUE_XATTR, whiteout.OPAQUE_VALUE)
            else:
                self.applied.opaque_root = True
        elif kind == "whiteout":
            self._hide(parent_fd, hidden)
        elif kind == "invalid":
            raise Refusal("a whiteout of nothing")

    def _parent(self, path: bytes, entry: Entry) -> int:
        try:
            return self._directories.get(path)
        except FileNotFoundError:
            self._imply(path, entry)
        except NotADirectoryError:
            raise Refusal(_NO_DIRECTORY) from None
        return self._directories.get(path)

    def _imply(self, path: bytes, entry: Entry) -> None:
        """Make the directories on the way that no entry has described (yet)."""
        parts = path.split(b"/")
        for depth in range(1, len(parts) + 1):
            prefix = b"/".join(parts[:depth])
            try:
                self._directories.get(prefix)
                continue
            except FileNotFoundError:
                pass
            parent_fd = self._directories.get(b"/".join(parts[: depth - 1]))
            self._count()
            self._keep(len(prefix))
            self._mkdir(parent_fd, parts[depth - 1], _IMPLIED_MODE, implied=True)
            fd = self._directories.get(prefix)
            self._directories.set_mtime(fd, entry.mtime_ns)
            self._implied[prefix] = None

    def _make(self, parent_fd: int, name: bytes, entry: Entry, reader: TarReader) -> None:
        kind = entry.kind
        if kind == tar.REGULAR:
            self._make_file(parent_fd, name, entry, reader)
        elif kind == tar.DIRECTORY:
            self._make_directory(parent_fd, name, entry)
        elif kind == tar.SYMLINK:
            self._make_symlink(parent_fd, name, entry)
        elif kind == tar.LINK:
            self._make_link(parent_fd, name, entry)
        elif kind in (tar.CHARACTER, tar.BLOCK, tar.FIFO):
            self._make_node(parent_fd, name, entry)
        else:
            raise Refusal(f"the unknown type {kind!r}")

    def _make_file(self, parent_fd: int, name: bytes, entry: Entry, reader: TarReader) -> None:
        mode = entry.mode
        try:
            fd = os.open(name, _CREATE, mode & 0o777, dir_fd=parent_fd)
        except FileExistsError:
            self._replace(parent_fd, name)
            fd = os.open(name, _CREATE, mode & 0o777, dir_fd=parent_fd)
        try:
            if entry.extents is None:
                if entry.size:
                    reader.copy_data(fd, entry.size)
            else:
                _write_sparse(fd, entry, reader)
            self._describe(fd, entry, exact=not mode & (_SPECIAL_BITS | self._umask))
            os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))
        finally:
            os.close(fd)
        self.applied.size_bytes += entry.size

    def _make_directory(self, parent_fd: int, name: bytes, entry: Entry) -> None:
        created = self._mkdir(parent_fd, name, entry.mode & 0o777)
        fd = os.open(name, _OPEN_DIRECTORY, dir_fd=parent_fd)
        try:
            exact = created and not entry.mode & (_SPECIAL_BITS | self._umask)
            self._describe(fd, entry, exact=exact)
            if created:
                os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))
            else:
                self._directories.set_mtime(fd, entry.mtime_ns)
        finally:
            os.close(fd)
        if not created:
            self._forget_implied(entry.name)

    def _mkdir(self, parent_fd: int, name: bytes, mode: int, *, implied: bool = False) -> bool:
        """Make a directory; False when there is one already.

        An entry replaces what is there; a directory that is only implied does not.
        """
        try:
            os.mkdir(name, mode, dir_fd=parent_fd)
        except FileExistsError:
            status = os.stat(name, dir_fd=parent_fd, follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                return False
            hidden = whiteout.is_whiteout(status.st_mode, status.st_rdev)
            if implied and not hidden:
                raise Refusal(_NO_DIRECTORY) from None
            self._replace(parent_fd, name)
            os.mkdir(name, mode, dir_fd=parent_fd)
            if hidden:
                # A whiteout means the parents' entry only; with this directory in its place it
                # must not be merged with theirs.
                fd = os.open(name, _OPEN_DIRECTORY, dir_fd=parent_fd)
                try:
                    os.setxattr(fd, whiteout.OPAQUE_XATTR, whiteout.OPAQUE_VALUE)
                finally:
                    os.close(fd)
        return True

    def _make_symlink(self, parent_fd: int, name: bytes, entry: Entry) -> None:
        try:
            os.symlink(entry.link, name, dir_fd=parent_fd)
        except FileExistsError:
            self._replace(parent_fd, name)
            os.symlink(entry.link, name, dir_fd=parent_fd)
        self._describe_name(parent_fd, name, entry)

    def _make_link(self, parent_fd: int, name: bytes, entry: Entry) -> None:
        target_parent, target = self._paths.split(entry.link)
        if not target or target.startswith(whiteout.PREFIX):
            raise Refusal("a hard link to no file")
        try:
            target_fd = self._directories.get(target_parent)
            status = os.stat(target, dir_fd=target_fd, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            self._defer_link(target_parent, target, entry)
            return
        if stat.S_ISDIR(status.st_mode):
            raise Refusal("a hard link to a directory")
        if whiteout.is_whiteout(status.st_mode, status.st_rdev):
            raise Refusal("a hard link to a file that the layer removes")
        try:
            existing = os.stat(name, dir_fd=parent_fd, follow_symlinks=False)
        except FileNotFoundError:
            pass
        else:
            if (existing.st_dev, existing.st_ino) == (status.st_dev, status.st_ino):
                return
            self._replace(parent_fd, name)
            # What was replaced may have been on the way to the target.
            self._directories.clear()
            parent_fd = self._directories.get(self._paths.split(entry.name)[0])
            target_fd = self._directories.get(target_parent)
        os.link(target, name, src_dir_fd=target_fd, dst_dir_fd=parent_fd, follow_symlinks=False)

    def _defer_link(self, target_parent: bytes, target: bytes, entry: Entry) -> None:
        path = target_parent + b"/" + target if target_parent else target
        self._keep(len(path) + len(entry.name))
        self.applied.links.append((path, entry.name))

    def _make_node(self, parent_fd: int, name: bytes, entry: Entry) -> None:
        kinds = {tar.CHARACTER: stat.S_IFCHR, tar.BLOCK: stat.S_IFBLK, tar.FIFO: stat.S_IFIFO}
        mode = kinds[entry.kind] | entry.mode & 0o777
        if not (0 <= entry.major < 1 << 12 and 0 <= entry.minor < 1 << 20):
            raise Refusal(f"the device number {entry.major}:{entry.minor}")
        device = os.makedev(entry.major, entry.minor)
        if whiteout.is_whiteout(mode, device):
            raise Refusal("a character device 0:0, which overlayfs takes for a whiteout")
        try:
            os.mknod(name, mode, device, dir_fd=parent_fd)
        except FileExistsError:
            self._replace(parent_fd, name)
            os.mknod(name, mode, device, dir_fd=parent_fd)
        self._describe_name(parent_fd, name, entry)
        if entry.mode & (_SPECIAL_BITS | self._umask):
            os.chmod(name, entry.mode, dir_fd=parent_fd)

    def _hide(self, parent_fd: int, name: bytes) -> None:
        """Make a whiteout; what this layer itself has under the name stays (OCI image spec)."""
        try:
            os.mknod(name, stat.S_IFCHR, whiteout.DEVICE, dir_fd=parent_fd)
        except FileExistsError:
            try:
                fd = os.open(name, _OPEN_DIRECTORY, dir_fd=parent_fd)
            except OSError as error:
                if error.errno not in (errno.ENOTDIR, errno.ELOOP):
                    raise
                return
            try:
                os.setxattr(fd, whiteout.OPAQUE_XATTR, whiteout.OPAQUE_VALUE)
            finally:
                os.close(fd)

    def _apply_root(self, entry: Entry) -> None:
        if entry.kind != tar.DIRECTORY:
            raise Refusal("a root that is no directory")
        fd = self._directories.get(b"")
        self._describe(fd, entry, exact=False)
        self._directories.set_mtime(fd, entry.mtime_ns)
        self._root_described = True

    def _describe(self, fd: int, entry: Entry, *, exact: bool) -> None:
        """Give an open file its owner, mode (unless ``exact`` already) and attributes."""
        self._check_owner(entry)
        if (entry.uid, entry.gid) != self._owner:
            os.fchown(fd, entry.uid, entry.gid)
        if not exact:
            os.fchmod(fd, entry.mode)
        if entry.xattrs:
            write_xattrs(fd, entry.xattrs)

    def _describe_name(self, parent_fd: int, name: bytes, entry: Entry) -> None:
        self._check_owner(entry)
        if (entry.uid, entry.gid) != self._owner:
            os.chown(name, entry.uid, entry.gid, dir_fd=parent_fd, follow_symlinks=False)
        times = (entry.mtime_ns, entry.mtime_ns)
        os.utime(name, ns=times, dir_fd=parent_fd, follow_symlinks=False)

    def _check_owner(self, entry: Entry) -> None:
        if not (0 <= entry.uid < _INVALID_ID and 0 <= entry.gid < _INVALID_ID):
            raise Refusal(f"the owner {entry.uid}:{entry.gid}")

    def _replace(self, parent_fd: int, name: bytes) -> None:
        """Remove what a later entry takes the place of."""
        status = os.stat(name, dir_fd=parent_fd, follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            remove_tree(os.fsdecode(name), dir_fd=parent_fd)
        else:
            os.unlink(name, dir_fd=parent_fd)
        # A path through it means something else now. The cache's descriptors are in use until the
        # entry is done.
        self._stale = self._stale or stat.S_ISDIR(status.st_mode) or stat.S_ISLNK(status.st_mode)

    def _forget_implied(self, name: bytes) -> None:
        if self._implied:
            path = b"/".join(normalized(name))
            self._implied.pop(path, None)

    def _keep(self, size_bytes: int) -> None:
        self._implied_bytes += size_bytes
        if self._implied_bytes > self._limits.implied_bytes:
            raise Refusal("too many directories or link targets without an entry")

    def _count(self) -> None:
        self.applied.entries += 1
        if self.applied.entries > self._limits.entries:
            raise Refusal(f"more than {self._limits.entries} entries")

    def _refuse(self, entry: Entry, why: str) -> Invalid:
        name = entry.name[:200].decode("utf-8", "replace")
        return Invalid(f"{self._what} is refused: {name!r} has {why}")


_ARCHIVES_FAULT = frozenset(
    {
        errno.ENOENT,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.ELOOP,
        errno.EINVAL,
        errno.ENAMETOOLONG,
        errno.EFBIG,
        errno.EMLINK,
        errno.EEXIST,
    }
)


def _write_sparse(fd: int, entry: Entry, reader: TarReader) -> None:
    extents = entry.extents or []
    for offset, length in zip(extents[::2], extents[1::2], strict=True):
        os.lseek(fd, offset, os.SEEK_SET)
        reader.copy_data(fd, length)
    os.ftruncate(fd, entry.real_size)


def _umask() -> int:
    """Read the umask without changing it: umask(2) can only swap, which other threads would see."""
    with open("/proc/self/status", "rb") as status:
        for line in status:
            if line.startswith(b"Umask:"):
                return int(line.split()[1], 8)
    return 0o777
