"""The process that this one is: a worker of the zygote, or somebody's program.

A worker that runs ``proa run`` becomes the container's supervisor itself instead of asking for one;
:data:`current` is how the verbs find out.
"""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import struct
from collections.abc import Callable
from typing import Protocol

from proa.engine.berths import Berth

_CREDENTIALS = struct.Struct("iII")
"""struct ucred: pid, uid, gid (unix(7))."""


class Host(Protocol):
    """What a verb may ask of the worker that it runs in."""

    @property
    def peer(self) -> socket.socket | None:
        """Connection to the client, None once it has been hung up."""

    def settle(self) -> None:
        """This worker's container is to be torn down after the answer: it may park again."""

    def take_berth(self) -> Berth | None:
        """Return the directory that was made ahead for a container, if there is one."""

    def give_berth(self, berth: Berth) -> None:
        """Keep a directory for the next container."""

    def defer(self, action: Callable[[], object]) -> None:
        """Run ``action`` once the client has its answer."""


current: Host | None = None
"""The worker that this process is, if it is one."""


def client_pid() -> int:
    """The process whose request is served here: the worker's client, or this very one."""
    if current is None or current.peer is None:
        return os.getpid()
    data = current.peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid: int = _CREDENTIALS.unpack(data)[0]
    return pid


def release_input(peer: socket.socket) -> None:
    """Stop interrupting this process when the client speaks: a loop reads the socket now."""
    flags = fcntl.fcntl(peer.fileno(), fcntl.F_GETFL)
    fcntl.fcntl(peer.fileno(), fcntl.F_SETFL, flags & ~os.O_ASYNC)
    signal.signal(signal.SIGIO, signal.SIG_IGN)
