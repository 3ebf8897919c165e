"""The error kinds of the engine.

Every failure that leaves a package is one of these. ``message`` is one lower-case sentence that
names the object (id, path, reference); ``hint`` says what to do and may be empty. ``OSError`` stays
inside :mod:`proa.linux` and :mod:`proa.fs` callers until a package border translates it with
:func:`from_os_error`. Nothing here prints or exits: one table per front end maps ``kind`` to an
exit code or an HTTP status.
"""

from __future__ import annotations

import errno
import os


class ProaError(Exception):
    """Base of all errors that Proa raises on purpose.

    Attributes:
        kind: stable machine word (``not-found``, ``conflict`` ...), one per subclass.
        message: one sentence, lower case, naming the object.
        hint: what the user can do about it; empty when there is nothing to say.
    """

    kind = "internal"

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}: {self.hint}" if self.hint else self.message


class NotFound(ProaError):
    """The named object does not exist."""

    kind = "not-found"


class Conflict(ProaError):
    """The object's state or another object forbids the operation (name in use, running ...)."""

    kind = "conflict"


class Invalid(ProaError):
    """The caller's words are wrong: a flag, a size, a reference, a document."""

    kind = "invalid"


class Forbidden(ProaError):
    """The caller lacks a permission or a capability."""

    kind = "forbidden"


class Unauthorized(ProaError):
    """Credentials are missing or were refused by the other side."""

    kind = "unauthorized"


class Unavailable(ProaError):
    """A peer, a tool or a device is not there right now."""

    kind = "unavailable"


class Unsupported(ProaError):
    """This kernel, machine or isolation cannot do it."""

    kind = "unsupported"


class Exhausted(ProaError):
    """A resource ran out: disk, inodes, processes, descriptors, addresses."""

    kind = "exhausted"


class TimedOut(ProaError):
    """A bounded wait ran out."""

    kind = "timeout"


class Corrupt(ProaError):
    """Stored or received data is not what it claims to be."""

    kind = "corrupt"


class CommandNotFound(ProaError):
    """The container's command does not exist in its root (exit code 127)."""

    kind = "command-not-found"


class CommandNotExecutable(ProaError):
    """The container's command exists and cannot be executed (exit code 126)."""

    kind = "command-not-executable"


class Internal(ProaError):
    """A defect of Proa or an unforeseen answer of the kernel; the message carries the step."""

    kind = "internal"


_BY_ERRNO: dict[int, type[ProaError]] = {
    errno.ENOENT: NotFound,
    errno.EEXIST: Conflict,
    errno.EBUSY: Conflict,
    errno.EINVAL: Invalid,
    errno.ENAMETOOLONG: Invalid,
    errno.ENOTDIR: Invalid,
    errno.EACCES: Forbidden,
    errno.EPERM: Forbidden,
    errno.ENOSYS: Unsupported,
    errno.EOPNOTSUPP: Unsupported,
    errno.ENODEV: Unsupported,
    errno.ENOSPC: Exhausted,
    errno.EDQUOT: Exhausted,
    errno.EMFILE: Exhausted,
    errno.ENFILE: Exhausted,
    errno.ENOMEM: Exhausted,
    errno.EAGAIN: Exhausted,
    errno.ETIMEDOUT: TimedOut,
    errno.ECONNREFUSED: Unavailable,
    errno.ECONNRESET: Unavailable,
    errno.EPIPE: Unavailable,
}

_HINTS: dict[int, str] = {
    errno.ENOSPC: "free disk space or inodes on that filesystem, then try again",
    errno.EDQUOT: "the disk quota is used up; free space, then try again",
    errno.EMFILE: "raise the open file limit (ulimit -n)",
    errno.EACCES: "run as root or grant access to that path",
    errno.EPERM: "run as root or grant the missing capability",
}


def from_os_error(error: OSError, doing: str, hint: str = "") -> ProaError:
    """Translate an ``OSError`` at a package border.

    Args:
        error: what the kernel said; its ``filename`` is named when there is one.
        doing: lower-case words that name the object, e.g. ``cannot mount the layers of web``.
        hint: overrides the default hint of the error number.
    """
    kind = _BY_ERRNO.get(error.errno or 0, Internal)
    name = error.filename
    if isinstance(name, bytes):
        name = os.fsdecode(name)
    where = f" ({name})" if isinstance(name, str) and name and name not in doing else ""
    reason = os.strerror(error.errno).lower() if error.errno else str(error)
    return kind(f"{doing}{where}: {reason}", hint or _HINTS.get(error.errno or 0, ""))
