"""A caller's descriptors for a container in its foreground."""

from __future__ import annotations

import fcntl

import msgspec

from proa.engine.ipc import host
from proa.engine.supervisor.streams import Attachment


class Streams(msgspec.Struct, frozen=True, kw_only=True):
    """The caller's descriptors for a foreground run; -1 for none. They stay the caller's.

    Attributes:
        detach_keys: keys that leave the container running; empty: ctrl-p,ctrl-q.
        sig_proxy: hand the client's signals on to the container.
    """

    stdin_fd: int = -1
    stdout_fd: int = -1
    stderr_fd: int = -1
    detach_keys: str = ""
    sig_proxy: bool = True


def duplicate(streams: Streams) -> Attachment:
    """Return copies that somebody else may close."""
    roles = (streams.stdin_fd, streams.stdout_fd, streams.stderr_fd)
    stdin, stdout, stderr = [
        fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3) if fd >= 0 else -1 for fd in roles
    ]
    return Attachment(stdin, stdout, stderr, job=host.client_pid(), sig_proxy=streams.sig_proxy)


def present(streams: Streams) -> tuple[bool, bool, bool]:
    """Say which of the three are there."""
    return (streams.stdin_fd >= 0, streams.stdout_fd >= 0, streams.stderr_fd >= 0)
