"""One directory of a cgroup hierarchy and its control files.

A :class:`Node` is named relative to its parent's descriptor, so that making a group and setting its
limits opens nothing but the files that are written. Errors are plain ``OSError`` with the absolute
path as ``filename``.

Kernel rule for all writes here: one ``write(2)`` is one command, and no ``O_TRUNC`` or ``O_CREAT``
is needed (kernfs files always exist or the controller is absent).
"""

from __future__ import annotations

import errno
import os
import time

_READ_CHUNK = 65536
_VACANT_ATTEMPTS = 12
_VACANT_RETRY_S = 0.0002


class Directory:
    """An open directory, closed when the last :class:`Node` that is named relative to it goes.

    Once it is closed for good (:meth:`close`: the directory has been removed), everything that is
    named relative to it is as absent as it was before.
    """

    __slots__ = ("_fd",)

    def __init__(self, path: str, parent: Directory | None = None) -> None:
        flags = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
        self._fd = -1
        self._fd = os.open(path, flags, dir_fd=None if parent is None else parent.fd)

    @property
    def fd(self) -> int:
        """The descriptor.

        Raises:
            FileNotFoundError: the directory was removed.
        """
        if self._fd < 0:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        return self._fd

    def close(self) -> None:
        """Close the descriptor of a directory that is gone. Idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def is_at(self, path: str) -> bool:
        """Whether the directory at ``path`` is this one still, not one made anew in its place."""
        try:
            return os.stat(path).st_ino == os.fstat(self.fd).st_ino
        except FileNotFoundError:
            return False

    def __del__(self) -> None:
        self.close()


class Node:
    """A group in one hierarchy.

    Args:
        parent: the directory that ``name`` is relative to.
        name: the group's name in it; more than one component for groups further below.
        path: its absolute path, for messages and for whoever mounts it.
    """

    __slots__ = ("name", "parent", "path")

    write_flags = os.O_WRONLY | os.O_CLOEXEC
    """Tests on a fake tree add ``O_CREAT | O_TRUNC``."""

    def __init__(self, parent: Directory, name: str, path: str) -> None:
        self.parent = parent
        self.name = name
        self.path = path

    def open(self, file: str = "", flags: int = os.O_RDONLY) -> int:
        """Open a control file, or the directory itself."""
        name = f"{self.name}/{file}" if file else self.name
        try:
            return os.open(name, flags | os.O_CLOEXEC, 0o644, dir_fd=self.parent.fd)
        except OSError as error:
            raise self._explained(error, file) from None

    def read(self, file: str) -> str:
        """The whole text of a control file."""
        fd = self.open(file)
        try:
            return read_all(fd).decode("ascii", "replace")
        except OSError as error:
            raise self._explained(error, file) from None
        finally:
            os.close(fd)

    def find(self, file: str) -> str | None:
        """The text of a control file that not every kernel has; None when it is absent."""
        try:
            return self.read(file)
        except FileNotFoundError:
            return None

    def write(self, file: str, value: str) -> None:
        """Write one command to a control file."""
        fd = self.open(file, self.write_flags)
        try:
            os.write(fd, value.encode("ascii"))
        except OSError as error:
            # Not _explained: a controller's own answer may be ENODEV (no such disk).
            error.filename = f"{self.path}/{file}"
            raise
        finally:
            os.close(fd)

    def exists(self, file: str = "") -> bool:
        """Whether the group, or a control file of it, is there."""
        name = f"{self.name}/{file}" if file else self.name
        try:
            os.stat(name, dir_fd=self.parent.fd, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    def mkdir(self) -> None:
        """Make the group (mode 0755)."""
        try:
            os.mkdir(self.name, 0o755, dir_fd=self.parent.fd)
        except OSError as error:
            raise self._explained(error) from None

    def rmdir(self) -> None:
        """Remove the group, which must have neither processes nor groups below it."""
        try:
            os.rmdir(self.name, dir_fd=self.parent.fd)
        except OSError as error:
            raise self._explained(error) from None

    def _explained(self, error: OSError, file: str = "") -> OSError:
        """The error with its path; ENODEV, which a group in removal answers, becomes ENOENT."""
        error.filename = f"{self.path}/{file}" if file else self.path
        if error.errno == errno.ENODEV:
            return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), error.filename)
        return error

    def children(self) -> list[str]:
        """Names of the groups directly below; empty when this group is gone."""
        try:
            fd = self.open(flags=os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            return []
        try:
            with os.scandir(fd) as entries:
                return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        finally:
            os.close(fd)

    def child(self, name: str) -> Node:
        """The node of a group below this one, named relative to the same directory."""
        return Node(self.parent, f"{self.name}/{name}", f"{self.path}/{name}")

    def pids(self) -> list[int]:
        """Processes in this group and below, unordered; empty when the group is gone."""
        text = self.find("cgroup.procs")
        if text is None:
            return []
        found = [int(line) for line in text.split()]
        for name in self.children():
            found += self.child(name).pids()
        return found

    def remove_vacant(self) -> bool:
        """Remove this group if nobody is in it and nothing is below it.

        A process that has been reaped still counts until its last context switch is over, so a
        refusal is believed only if the group lists something.

        Returns:
            Whether it is gone.
        """
        for attempt in range(_VACANT_ATTEMPTS):
            try:
                self.rmdir()
            except OSError as error:
                if error.errno == errno.ENOENT:
                    return True
                if error.errno not in (errno.EBUSY, errno.ENOTEMPTY):
                    raise
                if self.pids() or self.children():
                    return False
                time.sleep(_VACANT_RETRY_S * attempt)
            else:
                return True
        return False

    def remove_tree(self) -> bool:
        """Remove this group and those below it, leaf first.

        Returns:
            Whether it is gone; False while processes are in it.
        """
        for _attempt in range(2):
            try:
                self.rmdir()
            except OSError as error:
                if error.errno == errno.ENOENT:
                    return True
                if error.errno not in (errno.EBUSY, errno.ENOTEMPTY):
                    raise
            else:
                return True
            below = self.children()
            if not below:
                return False
            for name in below:
                if not self.child(name).remove_tree():
                    return False
        return False


def read_all(fd: int) -> bytes:
    """Read a control file from its descriptor to the end."""
    parts = []
    while chunk := os.read(fd, _READ_CHUNK):
        parts.append(chunk)
    return b"".join(parts)
