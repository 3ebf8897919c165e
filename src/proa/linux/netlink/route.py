"""Routes over rtnetlink. Sources: rtnetlink(7), ``linux/rtnetlink.h``."""

from __future__ import annotations

import socket
import struct
from typing import NamedTuple

from proa.linux.netlink.address import family_of
from proa.linux.netlink.attributes import attr, attr_u32, parse
from proa.linux.netlink.socket import NLM_F_CREATE, NLM_F_EXCL, Netlink

RTM_NEWROUTE = 24
RTM_DELROUTE = 25
RTM_GETROUTE = 26

RT_TABLE_MAIN = 254
RT_TABLE_LOCAL = 255
_RTPROT_STATIC = 4
_RT_SCOPE_UNIVERSE = 0
_RT_SCOPE_LINK = 253
_RTN_UNICAST = 1

_RTA_DST = 1
_RTA_OIF = 4
_RTA_GATEWAY = 5
_RTA_PRIORITY = 6

_RTMSG = struct.Struct("<BBBBBBBBI")


class Route(NamedTuple):
    """A unicast route of the main table; ``destination`` empty: the default route."""

    destination: str
    prefix: int
    gateway: str
    ifindex: int
    metric: int


def add(
    nl: Netlink,
    *,
    index: int,
    gateway: str = "",
    destination: str = "",
    prefix: int = 0,
    metric: int = 0,
    family: int = 0,
) -> None:
    """Add a route.

    Args:
        index: outgoing interface.
        gateway: empty: the destination is on the link.
        destination: empty: the default route; its ``family`` comes from the gateway then.
        family: where neither address says it.

    Raises:
        OSError: EEXIST, ENETUNREACH when the gateway is not on the link.
    """
    nl.request(
        RTM_NEWROUTE,
        _payload(index, gateway, destination, prefix, metric, family),
        NLM_F_CREATE | NLM_F_EXCL,
    )


def delete(
    nl: Netlink, *, index: int, gateway: str = "", destination: str = "", prefix: int = 0,
    metric: int = 0, family: int = 0,
) -> None:  # fmt: skip
    """Remove a route; the arguments are those of :func:`add`.

    Raises:
        OSError: ESRCH when there is none.
    """
    nl.request(RTM_DELROUTE, _payload(index, gateway, destination, prefix, metric, family))


def list_routes(nl: Netlink, family: int = socket.AF_INET) -> list[Route]:
    """Return the unicast routes of the main table."""
    found = []
    for message in nl.dump(RTM_GETROUTE, _RTMSG.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)):
        owner, prefix, _, _, table, _, _, kind, _ = _RTMSG.unpack_from(message.payload)
        if table != RT_TABLE_MAIN or kind != _RTN_UNICAST or owner != family:
            continue
        values = parse(message.payload[_RTMSG.size :])
        found.append(
            Route(
                destination=_text(family, values.get(_RTA_DST)),
                prefix=prefix,
                gateway=_text(family, values.get(_RTA_GATEWAY)),
                ifindex=int.from_bytes(values.get(_RTA_OIF, b""), "little"),
                metric=int.from_bytes(values.get(_RTA_PRIORITY, b""), "little"),
            )
        )
    return found


def _text(family: int, raw: bytes | None) -> str:
    return socket.inet_ntop(family, raw) if raw else ""


def _payload(
    index: int, gateway: str, destination: str, prefix: int, metric: int, family: int
) -> bytes:
    family = family or family_of(destination or gateway)
    scope = _RT_SCOPE_UNIVERSE if gateway or family == socket.AF_INET6 else _RT_SCOPE_LINK
    payload = _RTMSG.pack(
        family, prefix if destination else 0, 0, 0, RT_TABLE_MAIN, _RTPROT_STATIC, scope,
        _RTN_UNICAST, 0,
    )  # fmt: skip
    if destination:
        payload += attr(_RTA_DST, socket.inet_pton(family, destination))
    if gateway:
        payload += attr(_RTA_GATEWAY, socket.inet_pton(family, gateway))
    payload += attr_u32(_RTA_OIF, index)
    if metric:
        payload += attr_u32(_RTA_PRIORITY, metric)
    return payload
