"""Files that are wholly there or not at all: write beside, fsync, rename, fsync the directory.

After a crash a reader sees the old content or the new one. A leftover ``.<name>.<pid>-<n>`` is
garbage of a writer that died.
"""

from __future__ import annotations

import errno
import itertools
import os

_counter = itertools.count()


def save_file(path: str, data: bytes, *, mode: int = 0o600, durable: bool = True) -> None:
    """Replace or create the file at ``path``.

    Args:
        path: its directory exists.
        data: the whole content.
        mode: exactly, whatever the umask.
        durable: also survive power loss; False is only atomic (for what can be made again).

    Raises:
        OSError: nothing was changed, no temporary file is left.
    """
    directory, name = os.path.split(path)
    temporary = os.path.join(directory, f".{name}.{os.getpid()}-{next(_counter)}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        try:
            write_all(fd, data)
            os.fchmod(fd, mode)
            if durable:
                os.fsync(fd)
        finally:
            os.close(fd)
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    if durable:
        sync_directory(directory or ".")


def load_file(path: str, limit_bytes: int | None = None) -> bytes:
    """Return the content of a file in two reads at most.

    Args:
        path: a regular file.
        limit_bytes: refuse more than that.

    Raises:
        OSError: EFBIG above the limit.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = os.fstat(fd).st_size
        if limit_bytes is not None and size > limit_bytes:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), path)
        data = os.read(fd, size + 1)
        while len(data) < size and (more := os.read(fd, size - len(data))):
            data += more
        return data
    finally:
        os.close(fd)


def sync_directory(path: str) -> None:
    """Make the names in a directory survive power loss."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_all(fd: int, data: bytes | bytearray | memoryview) -> None:
    """Write until nothing is left: write(2) may take less than it was given."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
