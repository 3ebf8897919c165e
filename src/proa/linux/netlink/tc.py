"""Traffic control over rtnetlink: a token bucket, and sending what arrives through another device.

Sources: tc-tbf(8), tc-u32(8), tc-mirred(8), ``linux/pkt_sched.h``, ``linux/pkt_cls.h``,
``linux/tc_act/tc_mirred.h``. Rates are bytes a second.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from proa.linux.netlink.attributes import attr, attr_text, attr_u32, nest, parse, text
from proa.linux.netlink.socket import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    Netlink,
)

RTM_NEWQDISC = 36
RTM_DELQDISC = 37
RTM_GETQDISC = 38
RTM_NEWTFILTER = 44

_TC_H_ROOT = 0xFFFFFFFF
_TC_H_INGRESS = 0xFFFFFFF1
_INGRESS_HANDLE = 0xFFFF0000
_ROOT_HANDLE = 0x00010000
_ETH_P_ALL = 0x0003
_TCA_KIND = 1
_TCA_OPTIONS = 2
_TCA_TBF_PARMS = 1
_TCA_TBF_RATE64 = 4
_TCA_TBF_BURST = 6
_LINKLAYER_ETHERNET = 1
_TCA_U32_SEL = 5
_TCA_U32_ACT = 7
_TCA_ACT_KIND = 1
_TCA_ACT_OPTIONS = 2
_TCA_MIRRED_PARMS = 2
_TCA_EGRESS_REDIR = 1
_TC_ACT_STOLEN = 4
_U32_TERMINAL = 1
_U32_MAX = 0xFFFFFFFF

_TCMSG = struct.Struct("<BxxxiIII")
_RATESPEC = struct.Struct("<BBHhHI")
_TBF = struct.Struct("<III")
_MIRRED = struct.Struct("<IIiiiiI")
_US_PER_S = 1_000_000
_TICKS_PER_US = 15.625
"""psched ticks of 64 ns (``/proc/net/psched``: the same on every kernel since 2.6.31)."""


class Qdisc(NamedTuple):
    """A queueing discipline; ``rate_bytes`` is 0 unless it is a token bucket."""

    ifindex: int
    kind: str
    ingress: bool
    rate_bytes: int


def set_rate(
    nl: Netlink, index: int, rate_bytes: int, *, burst_bytes: int, limit_bytes: int
) -> None:
    """Let at most ``rate_bytes`` a second leave through an interface (a tbf at its root).

    Args:
        burst_bytes: what may leave at once; at least the largest packet.
        limit_bytes: what waits at most; more is dropped.

    Raises:
        OSError: EINVAL, ENODEV.
    """
    rate = _RATESPEC.pack(0, _LINKLAYER_ETHERNET, 0, -1, 0, min(rate_bytes, _U32_MAX))
    buffer = int(burst_bytes * _US_PER_S / rate_bytes * _TICKS_PER_US)
    parameters = rate + bytes(_RATESPEC.size) + _TBF.pack(limit_bytes, min(buffer, _U32_MAX), 0)
    options = attr(_TCA_TBF_PARMS, parameters) + attr_u32(_TCA_TBF_BURST, burst_bytes)
    if rate_bytes > _U32_MAX:
        options += attr(_TCA_TBF_RATE64, rate_bytes.to_bytes(8, "little"))
    payload = (
        _TCMSG.pack(0, index, _ROOT_HANDLE, _TC_H_ROOT, 0)
        + attr_text(_TCA_KIND, "tbf")
        + nest(_TCA_OPTIONS, options)
    )
    nl.request(RTM_NEWQDISC, payload, NLM_F_CREATE | NLM_F_REPLACE)


def clear_root(nl: Netlink, index: int) -> None:
    """Remove the discipline at an interface's root. Idempotent."""
    _delete(nl, index, _TC_H_ROOT)


def redirect_ingress(nl: Netlink, index: int, target: int) -> None:
    """Send all that arrives on one interface through another one (an ifb) first.

    Raises:
        OSError: EEXIST when it is redirected already.
    """
    ingress = _TCMSG.pack(0, index, _INGRESS_HANDLE, _TC_H_INGRESS, 0)
    nl.request(RTM_NEWQDISC, ingress + attr_text(_TCA_KIND, "ingress"), NLM_F_CREATE | NLM_F_EXCL)
    mirred = _MIRRED.pack(0, 0, _TC_ACT_STOLEN, 0, 0, _TCA_EGRESS_REDIR, target)
    action = nest(
        1,
        attr_text(_TCA_ACT_KIND, "mirred"),
        nest(_TCA_ACT_OPTIONS, attr(_TCA_MIRRED_PARMS, mirred)),
    )
    # One key with an empty mask matches everything (struct tc_u32_sel and tc_u32_key).
    selector = struct.pack("<BBBBHHhhI", _U32_TERMINAL, 0, 1, 0, 0, 0, 0, 0, 0) + bytes(16)
    payload = (
        _TCMSG.pack(0, index, 0, _INGRESS_HANDLE, 1 << 16 | _ETH_P_ALL << 8)
        + attr_text(_TCA_KIND, "u32")
        + nest(_TCA_OPTIONS, attr(_TCA_U32_SEL, selector), nest(_TCA_U32_ACT, action))
    )
    nl.request(RTM_NEWTFILTER, payload, NLM_F_CREATE | NLM_F_EXCL)


def clear_ingress(nl: Netlink, index: int) -> None:
    """Let what arrives on an interface pass as it is again. Idempotent."""
    _delete(nl, index, _TC_H_INGRESS)


def list_qdiscs(nl: Netlink, index: int) -> list[Qdisc]:
    """Return the disciplines of one interface."""
    found = []
    for message in nl.dump(RTM_GETQDISC, _TCMSG.pack(0, index, 0, 0, 0)):
        _, owner, _, parent, _ = _TCMSG.unpack_from(message.payload)
        if owner != index:
            continue
        values = parse(message.payload[_TCMSG.size :])
        kind = text(values.get(_TCA_KIND, b""))
        found.append(Qdisc(owner, kind, parent == _TC_H_INGRESS, _rate_of(kind, values)))
    return found


def _rate_of(kind: str, values: dict[int, bytes]) -> int:
    if kind != "tbf":
        return 0
    options = parse(values.get(_TCA_OPTIONS, b""))
    if _TCA_TBF_RATE64 in options:
        return int.from_bytes(options[_TCA_TBF_RATE64], "little")
    return int(_RATESPEC.unpack_from(options[_TCA_TBF_PARMS])[5])


def _delete(nl: Netlink, index: int, parent: int) -> None:
    try:
        nl.request(RTM_DELQDISC, _TCMSG.pack(0, index, 0, parent, 0))
    except OSError as error:
        if error.errno not in (2, 22):  # ENOENT, EINVAL: there is none
            raise
