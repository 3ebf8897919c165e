"""Between the head of a taken-over connection and its first raw byte.

A client reads the head through a buffer and the rest from the bare socket: docker-py, and all that
is built on it, loses what arrives in the same read as the head. A daemon that is slower than its
clients never shows it. So the head is given time to be read before anything follows.
"""

from __future__ import annotations

import fcntl
import socket
import struct
import termios
import time
from typing import Final

_LONGEST_S: Final = 0.1
_FIRST_PAUSE_S: Final = 0.000_02
_LONGEST_PAUSE_S: Final = 0.001


def await_read(sock: socket.socket, timeout_s: float = _LONGEST_S) -> bool:
    """Wait until the peer of a unix socket has read all that was sent (SIOCOUTQ, unix(7)).

    Args:
        sock: connected.
        timeout_s: longest wait; a peer that does not read gets the rest anyway.

    Returns:
        Whether all was read.
    """
    deadline_s = time.monotonic() + timeout_s
    pause_s = _FIRST_PAUSE_S
    while unread_bytes(sock):
        if time.monotonic() > deadline_s:
            return False
        time.sleep(pause_s)  # no event tells that a peer has read everything
        pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
    return True


def unread_bytes(sock: socket.socket) -> int:
    """Return how much of what was sent the peer has not read; 0 where that cannot be known."""
    try:
        raw = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4))
    except OSError:
        return 0
    return int(struct.unpack("i", raw)[0])
