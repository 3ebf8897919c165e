"""Packets that a rule logs to a group (``nft ... log group N``), over nfnetlink.

Source: ``linux/netfilter/nfnetlink_log.h``.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from proa.linux.netlink.attributes import attr, parse, text
from proa.linux.netlink.socket import NETLINK_NETFILTER, Netlink

_NFULNL_MSG_PACKET = 4 << 8
_NFULNL_MSG_CONFIG = 4 << 8 | 1
_CFG_CMD, _CFG_MODE = 1, 2
_CMD_BIND = 1
_COPY_PACKET = 2
_NFULA_PAYLOAD = 9
_NFULA_PREFIX = 10


class LoggedPacket(NamedTuple):
    """A packet's first bytes, from the network header on, and the prefix that its rule has."""

    data: bytes
    prefix: str


class PacketLog:
    """One group; a group has one listener in a network namespace."""

    def __init__(self, group: int, *, copy_bytes: int = 64, netns_fd: int = -1) -> None:
        """Listen.

        Raises:
            OSError: EBUSY when somebody listens already.
        """
        self._nl = Netlink(NETLINK_NETFILTER, netns_fd)
        header = struct.pack(">BBH", 0, 0, group)
        try:
            self._nl.request(_NFULNL_MSG_CONFIG, header + attr(_CFG_CMD, bytes((_CMD_BIND,))))
            mode = struct.pack(">IBx", copy_bytes, _COPY_PACKET)
            self._nl.request(_NFULNL_MSG_CONFIG, header + attr(_CFG_MODE, mode))
        except BaseException:
            self._nl.close()
            raise

    @classmethod
    def adopt(cls, fd: int) -> PacketLog:
        """Take over a group's socket that another process opened."""
        adopted = cls.__new__(cls)
        adopted._nl = Netlink.adopt(fd)
        return adopted

    def fileno(self) -> int:
        """The descriptor, for polling."""
        return self._nl.fileno()

    def read(self) -> list[LoggedPacket]:
        """Return the packets that have arrived."""
        try:
            messages = self._nl.notifications()
        except OSError:
            # Some were lost: a flood; what comes next is told again.
            return []
        found = (parse(item.payload[4:]) for item in messages if item.kind == _NFULNL_MSG_PACKET)
        return [
            LoggedPacket(item.get(_NFULA_PAYLOAD, b""), text(item.get(_NFULA_PREFIX, b"")))
            for item in found
        ]

    def close(self) -> None:
        """Stop listening. Idempotent."""
        self._nl.close()
