"""Open directories of a tree that is being unpacked, and the times they are to keep.

Entries come in the order of the tree, so the directory of one is mostly that of the last. A
directory's time changes with every name made in it: its time is taken when it is opened and put
back when it leaves the cache, which bounds memory whatever the number of directories.
"""

from __future__ import annotations

import os

from proa.fs.rootpath import open_directory

_SIZE = 32  # descriptors; a few levels of a tree and the targets of hard links


class DirectoryCache:
    """Maps paths inside a root to open descriptors. Close it to restore the last times."""

    def __init__(self, root_fd: int) -> None:
        """Resolve inside ``root_fd``, which stays the caller's."""
        self._root_fd = root_fd
        self._open: dict[bytes, tuple[int, int]] = {}  # path -> descriptor, inode
        self._mtime_ns: dict[int, int] = {}  # inode -> time to restore

    def get(self, path: bytes) -> int:
        """Return a descriptor of the directory ``path``; it stays the cache's.

        Symbolic links on the way are followed inside the root.

        Raises:
            OSError: as open(2).
        """
        found = self._open.get(path)
        if found is not None:
            return found[0]
        fd = open_directory(self._root_fd, path)
        if len(self._open) >= _SIZE:
            self._evict(next(iter(self._open)))
        status = os.fstat(fd)
        self._open[path] = (fd, status.st_ino)
        # Two paths may lead to one directory; the first that was opened saw the right time.
        self._mtime_ns.setdefault(status.st_ino, status.st_mtime_ns)
        return fd

    def set_mtime(self, fd: int, mtime_ns: int) -> None:
        """Give the directory ``fd`` a time that it keeps."""
        os.utime(fd, ns=(mtime_ns, mtime_ns))
        inode = os.fstat(fd).st_ino
        if inode in self._mtime_ns:
            self._mtime_ns[inode] = mtime_ns

    def clear(self) -> None:
        """Forget all: some path may mean another directory from now on."""
        for path in list(self._open):
            self._evict(path)

    def _evict(self, path: bytes) -> None:
        fd, inode = self._open.pop(path)
        try:
            if not any(other == inode for _, other in self._open.values()):
                mtime_ns = self._mtime_ns.pop(inode)
                os.utime(fd, ns=(mtime_ns, mtime_ns))
        finally:
            os.close(fd)
