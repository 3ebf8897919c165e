"""Forgetting tracked connections over ctnetlink.

Source: ``linux/netfilter/nfnetlink_conntrack.h``. The kernel filters by itself (since 5.8), except
by IPv6 address: its comparison there is the wrong way round (seen with 6.18: the others go).
"""

from __future__ import annotations

import socket
import struct

from proa.linux.netlink.attributes import attr, nest, parse
from proa.linux.netlink.socket import Netlink, Request

_CT_GET = 1 << 8 | 1
_CT_DELETE = 1 << 8 | 2
_ORIGINAL, _REPLY = 1, 2
_TUPLE_IP, _TUPLE_PROTO = 1, 2
_IP_V4_SRC, _IP_V6_SRC = 1, 3
_PROTO_NUM, _PROTO_DST_PORT = 1, 3
_ZONE = 18
_FILTER = 25
_F_IP_SRC, _F_PROTO_NUM, _F_PROTO_DST_PORT = 1 << 0, 1 << 3, 1 << 5
_ENOENT = 2


def delete_from(nl: Netlink, address: str) -> None:
    """Forget the connections that a station opened: more of their packets are new ones.

    Args:
        nl: an nfnetlink socket.
        address: the source of the first packets, as it was before any translation.

    Raises:
        OSError: the kernel has no such filter.
    """
    _delete_by_source(nl, _ORIGINAL, address)


def delete_to(nl: Netlink, address: str) -> None:
    """Forget the connections that a station answers, also those that were led to it.

    Raises:
        OSError: the kernel has no such filter.
    """
    _delete_by_source(nl, _REPLY, address)


def delete_to_port(nl: Netlink, family: int, protocol: int, port: int) -> None:
    """Forget the connections to a port of any address.

    Args:
        nl: an nfnetlink socket.
        family: AF_INET or AF_INET6.
        protocol: 6 or 17.
        port: the destination of the first packets, as it was before any translation.

    Raises:
        OSError: the kernel has no such filter.
    """
    number, at = (
        attr(_PROTO_NUM, bytes((protocol,))),
        attr(_PROTO_DST_PORT, port.to_bytes(2, "big")),
    )
    _delete(nl, family, _ORIGINAL, nest(_TUPLE_PROTO, number, at), _F_PROTO_NUM | _F_PROTO_DST_PORT)


def _delete_by_source(nl: Netlink, direction: int, address: str) -> None:
    if ":" in address:
        _delete_listed(nl, direction, socket.inet_pton(socket.AF_INET6, address))
        return
    source = nest(_TUPLE_IP, attr(_IP_V4_SRC, socket.inet_aton(address)))
    _delete(nl, socket.AF_INET, direction, source, _F_IP_SRC)


def _delete(nl: Netlink, family: int, direction: int, tuple_of: bytes, flags: int) -> None:
    # The flags are in the machine's byte order, unlike everything else here.
    wanted = nest(_FILTER, attr(direction, flags.to_bytes(4, "little")))
    nl.request(_CT_DELETE, _header(family) + nest(direction, tuple_of) + wanted)


def _delete_listed(nl: Netlink, direction: int, source: bytes) -> None:
    requests = []
    for message in nl.dump(_CT_GET, _header(socket.AF_INET6)):
        values = parse(message.payload[4:])
        addresses = parse(parse(values.get(direction, b"")).get(_TUPLE_IP, b""))
        if addresses.get(_IP_V6_SRC) == source:
            payload = _header(socket.AF_INET6) + nest(_ORIGINAL, values[_ORIGINAL])
            if _ZONE in values:
                payload += attr(_ZONE, values[_ZONE])
            requests.append(Request(_CT_DELETE, payload))
    for request in requests:
        try:
            nl.send((request,))
        except OSError as error:
            if error.errno != _ENOENT:
                raise


def _header(family: int) -> bytes:
    return struct.pack(">BBH", family, 0, 0)
