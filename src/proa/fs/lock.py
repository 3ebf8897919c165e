"""Advisory locks that die with their holder: flock(2) on a file or directory.

The lock belongs to the open file description, so two openings in one process exclude each other as
two processes do, and a child that inherits the descriptor keeps it locked until it, too, is gone.
"""

from __future__ import annotations

import fcntl
import os
from types import TracebackType


class Lock:
    """A held lock. Use it as a context manager, or ``release`` it; both are idempotent."""

    def __init__(self, fd: int) -> None:
        """Take ownership of a descriptor that is locked already."""
        self.fd = fd

    def release(self) -> None:
        """Unlock by closing; children that inherited the descriptor do not keep the lock."""
        if self.fd >= 0:
            fcntl.flock(self.fd, fcntl.LOCK_UN)
            os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> Lock:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


def acquire(path: str, *, shared: bool = False, create: bool = True) -> Lock:
    """Lock ``path``, waiting for whoever holds it.

    Args:
        path: a directory, or a file.
        shared: together with other shared holders.
        create: make a file (0600) when there is nothing.

    Raises:
        OSError: the path cannot be opened.
    """
    lock = _lock(path, fcntl.LOCK_SH if shared else fcntl.LOCK_EX, create)
    assert lock is not None  # only a non-blocking flock gives up
    return lock


def try_acquire(path: str, *, shared: bool = False, create: bool = True) -> Lock | None:
    """Lock ``path`` as ``acquire`` does; None when somebody else holds it now."""
    return _lock(path, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB, create)


def is_held(path: str) -> bool:
    """Say whether anybody holds a lock on ``path``; a missing path is not held."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def _lock(path: str, operation: int, create: bool) -> Lock | None:
    flags = os.O_RDONLY | os.O_CLOEXEC
    try:
        fd = os.open(path, flags | os.O_CREAT if create else flags, 0o600)
    except IsADirectoryError:
        fd = os.open(path, flags | os.O_DIRECTORY)
    try:
        fcntl.flock(fd, operation)
    except BlockingIOError:
        os.close(fd)
        return None
    except BaseException:
        os.close(fd)
        raise
    return Lock(fd)
