"""Addresses of interfaces over rtnetlink. Sources: rtnetlink(7), ``linux/if_addr.h``."""

from __future__ import annotations

import socket
import struct
from typing import NamedTuple

from proa.linux.netlink.attributes import attr, attr_u32, parse
from proa.linux.netlink.socket import NLM_F_CREATE, NLM_F_EXCL, Netlink

RTM_NEWADDR = 20
RTM_DELADDR = 21
RTM_GETADDR = 22

_IFA_ADDRESS = 1
_IFA_LOCAL = 2
_IFA_BROADCAST = 4
_IFA_FLAGS = 8
_IFA_F_NODAD = 0x02

_IFADDR = struct.Struct("<BBBBI")


class Address(NamedTuple):
    """An address of an interface: ``address`` and ``prefix`` as in ``10.0.0.1/24``."""

    ifindex: int
    address: str
    prefix: int


def family_of(address: str) -> int:
    """AF_INET or AF_INET6, by the colon."""
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def add(nl: Netlink, index: int, address: str, prefix: int) -> None:
    """Give an interface an address; IPv6 without duplicate detection, which would take a second.

    Raises:
        OSError: EEXIST; EINVAL or the resolver's for a bad address.
    """
    nl.request(RTM_NEWADDR, _payload(index, address, prefix), NLM_F_CREATE | NLM_F_EXCL)


def delete(nl: Netlink, index: int, address: str, prefix: int) -> None:
    """Take an address away.

    Raises:
        OSError: EADDRNOTAVAIL when it is not there.
    """
    nl.request(RTM_DELADDR, _payload(index, address, prefix))


def list_addresses(nl: Netlink, index: int = 0) -> list[Address]:
    """Return the addresses of one interface, or of all (0)."""
    found = []
    for message in nl.dump(RTM_GETADDR, _IFADDR.pack(0, 0, 0, 0, index)):
        family, prefix, _, _, owner = _IFADDR.unpack_from(message.payload)
        values = parse(message.payload[_IFADDR.size :])
        raw = values.get(_IFA_LOCAL) or values.get(_IFA_ADDRESS)
        if raw and (not index or owner == index):
            found.append(Address(owner, socket.inet_ntop(family, raw), prefix))
    return found


def _payload(index: int, address: str, prefix: int) -> bytes:
    family = family_of(address)
    raw = socket.inet_pton(family, address)
    payload = _IFADDR.pack(family, prefix, 0, 0, index) + attr(_IFA_LOCAL, raw)
    payload += attr(_IFA_ADDRESS, raw)
    if family == socket.AF_INET6:
        return payload + attr_u32(_IFA_FLAGS, _IFA_F_NODAD)
    if prefix < 31:
        host = (1 << (32 - prefix)) - 1
        broadcast = int.from_bytes(raw, "big") | host
        payload += attr(_IFA_BROADCAST, broadcast.to_bytes(4, "big"))
    return payload
