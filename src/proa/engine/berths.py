"""Container directories made ahead, and taken back from containers that left nothing in them.

A *berth* holds what the directory of every container begins with::

    berths/<name>/upper work hostname hosts resolv.conf      files empty or to be overwritten

A parked worker makes one while it has nothing to do; creating a container then is one rename. The
directory of a container that is removed at its end goes back if the container changed nothing: the
filesystem makes and removes inodes slowly, ext4 above all where many were removed a moment ago.

Lock and crash rule are those of ``containers/<id>``: whoever made it holds the lock (flock) as long
as it lives; a berth with a free lock is nobody's and is removed at the next look.
"""

from __future__ import annotations

import fcntl
import os
import stat

import msgspec

from proa.engine.compose.files import NAMES
from proa.engine.layout import Layout
from proa.errors import ProaError, from_os_error
from proa.fs import tree
from proa.linux.inodeflags import InodeFlags, read_inode_flags

UPPER_MODE = 0o755
_ATTEMPTS = 5
_NAME_BYTES = 8
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_FILE_MODE = 0o644
_PLAIN = InodeFlags(0, 0)


class Berth(msgspec.Struct, frozen=True):
    """A directory for a container that is not there yet, and its lock."""

    path: str
    lock: int


def prepare(layout: Layout) -> Berth | None:
    """Make a berth; None where that is impossible: who needs the directory will say why."""
    path = _new_path(layout)
    try:
        lock = make_directory(layout, path)
    except ProaError:
        return None
    try:
        for name in NAMES:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            os.close(os.open(name, flags, _FILE_MODE, dir_fd=lock))
    except OSError:
        discard(Berth(path, lock))
        return None
    return Berth(path, lock)


def occupy(berth: Berth, directory: str) -> int:
    """Make a berth the directory of a container; return its lock.

    Raises:
        ProaError: it cannot be moved; it is gone.
    """
    try:
        os.rename(berth.path, directory)
        os.utime("upper", dir_fd=berth.lock)
    except OSError as error:
        discard(berth)
        raise from_os_error(error, f"cannot make {directory}") from error
    return berth.lock


def vacate(layout: Layout, directory: str, lock: int) -> Berth | None:
    """Take a directory back that no container needs any more; None: it is gone.

    Args:
        layout: where berths are.
        directory: of the container, whose record and mounts are gone.
        lock: held on it; it stays open in any case.

    Raises:
        OSError: it can neither be taken back nor removed.
    """
    try:
        if _strip(lock):
            berth = Berth(_new_path(layout), lock)
            os.rename(directory, berth.path)
            return berth
    except OSError:
        pass  # whatever it is, a fresh directory does not have it
    tree.remove_tree(directory)
    return None


def discard(berth: Berth) -> None:
    """Remove a berth. Idempotent; what cannot be removed now is removed at the next look."""
    try:
        tree.remove_tree(berth.path)
        os.close(berth.lock)
    except OSError:
        pass


def remove_abandoned(layout: Layout) -> None:
    """Remove the berths of dead processes."""
    try:
        names = os.listdir(layout.berths)
    except FileNotFoundError:
        return
    for name in names:
        path = f"{layout.berths}/{name}"
        try:
            lock = os.open(path, _DIRECTORY)
        except OSError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            tree.remove_tree(path)
        except OSError:
            continue  # its owner lives; or the next look tries again
        finally:
            os.close(lock)


def make_directory(layout: Layout, directory: str) -> int:
    """Make and lock a container's directory with its writable layer; return the lock.

    A recovery that looks between the two takes the directory for what a crash left and removes it:
    then it is made again.

    Raises:
        ProaError: it cannot be made; nothing of it is left.
    """
    for attempt in range(_ATTEMPTS):
        try:
            os.mkdir(directory, 0o700)
            lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            if attempt == _ATTEMPTS - 1:
                raise from_os_error(error, f"cannot make {directory}") from error
            layout.ensure()
            continue
        except OSError as error:
            raise from_os_error(error, f"cannot make {directory}") from error
        fcntl.flock(lock, fcntl.LOCK_EX)
        if os.fstat(lock).st_nlink:
            break
        os.close(lock)
    try:
        for name in ("upper", "work"):
            os.mkdir(name, UPPER_MODE, dir_fd=lock)
    except OSError as error:
        tree.remove_tree(directory)
        os.close(lock)
        raise from_os_error(error, f"cannot make {directory}") from error
    return lock


def _new_path(layout: Layout) -> str:
    return f"{layout.berths}/{os.urandom(_NAME_BYTES).hex()}"


def _strip(directory: int) -> bool:
    """Remove what the engine put there; whether what the container could change is as new."""
    if not _is_as_made("upper", directory, _DIRECTORY, stat.S_IFDIR | UPPER_MODE):
        return False
    kept = {"upper", "work", *NAMES}
    for name in NAMES:
        if not _is_as_made(name, directory, _FILE, stat.S_IFREG | _FILE_MODE):
            return False
    for name in os.listdir(directory):
        if name not in kept:
            tree.remove_tree(name, dir_fd=directory)
    tree.empty_tree("work", dir_fd=directory)
    return True


def _is_as_made(name: str, directory: int, flags: int, mode: int) -> bool:
    fd = os.open(name, flags, dir_fd=directory)
    try:
        info = os.fstat(fd)
        return (
            (info.st_mode, info.st_uid, info.st_gid) == (mode, 0, 0)
            and (info.st_nlink == 1 if stat.S_ISREG(mode) else not os.listdir(fd))
            and not os.listxattr(fd)
            and read_inode_flags(fd) == _PLAIN
        )
    finally:
        os.close(fd)
