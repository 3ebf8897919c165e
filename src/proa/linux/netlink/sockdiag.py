"""Which sockets there are, over sock_diag(7)."""

from __future__ import annotations

import socket
import struct

from proa.linux.netlink.socket import Netlink

NETLINK_SOCK_DIAG = 4

_SOCK_DIAG_BY_FAMILY = 20
_TCP_LISTEN, _TCP_TIME_WAIT, _TCP_CLOSE = 10, 6, 7
_LINGERING = 0xFFF & ~(1 << _TCP_LISTEN | 1 << _TCP_TIME_WAIT | 1 << _TCP_CLOSE)


def has_connections(netns_fd: int) -> bool:
    """Whether a namespace has TCP connections; those that end keep it alive without any process.

    Raises:
        OSError: the kernel has no inet_diag.
    """
    with Netlink(NETLINK_SOCK_DIAG, netns_fd) as nl:
        return any(
            nl.dump(
                _SOCK_DIAG_BY_FAMILY,
                struct.pack("<BBxxI48x", family, socket.IPPROTO_TCP, _LINGERING),
            )
            for family in (socket.AF_INET, socket.AF_INET6)
        )
