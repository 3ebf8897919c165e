"""Ports of a bridge whose containers have an egress policy: what they send must be theirs.

A policy is found by source address, so a container that forges one (CAP_NET_RAW is a default) would
slip out of it. A second table, of the bridge family, looks at every frame that enters a bridge
through a guarded port: frames with another hardware or IP address, or in another protocol than IP
and ARP, end there and are told as denied.

The table is made with the first guarded port; without one, frames pass no rule of ours. Elements
name interfaces, so a port is guarded before it exists.
"""

from __future__ import annotations

import errno
import ipaddress
from collections.abc import Iterable

import msgspec

from proa.linux.netlink import nftables
from proa.linux.netlink import nftexpressions as nft
from proa.linux.netlink.nftables import FAMILY_BRIDGE, Batch, Element
from proa.linux.netlink.socket import Netlink

FORGED = "forged"
"""Prefix of the log entries of what was stopped here."""

_BASE_CHAIN, _PORTS = "guard", "guarded"
_PRIORITY = -300
_LOG_RATE, _LOG_BURST = 10, 20


class GuardedPort(msgspec.Struct, frozen=True, kw_only=True):
    """A port and what may come from it.

    Attributes:
        link: the interface on the host.
        mac: hardware address of the station behind it.
        addresses: its IP addresses.
        group: nfnetlink_log group for what is stopped.
    """

    link: str
    mac: str
    addresses: tuple[str, ...]
    group: int


def is_whole(nl: Netlink, table: str) -> bool:
    """Whether the table is there with its chain."""
    return any(
        chain.table == table and chain.name == _BASE_CHAIN
        for chain in nftables.list_chains(nl, FAMILY_BRIDGE)
    )


def restore(nl: Netlink, table: str, ports: Iterable[GuardedPort]) -> None:
    """Make the table anew.

    Raises:
        OSError: the kernel refuses it.
    """
    batch = Batch(table, FAMILY_BRIDGE)
    batch.add_table()
    batch.delete_table()
    _compose_base(batch)
    for port in ports:
        _compose_port(batch, port)
    batch.commit(nl)


def remove(nl: Netlink, table: str) -> None:
    """Delete the table. Idempotent."""
    batch = Batch(table, FAMILY_BRIDGE)
    batch.delete_table()
    _commit_leniently(nl, batch)


def add(nl: Netlink, table: str, ports: Iterable[GuardedPort]) -> None:
    """Guard ports that are not guarded.

    Raises:
        OSError: the kernel refuses it.
    """
    chosen = tuple(ports)
    for with_base in (False, True):
        batch = Batch(table, FAMILY_BRIDGE)
        if with_base:
            _compose_base(batch)
        for port in chosen:
            _compose_port(batch, port)
        try:
            batch.commit(nl)
        except OSError as error:
            if error.errno != errno.ENOENT or with_base:
                raise
        else:
            return


def discard(nl: Netlink, table: str, ports: Iterable[GuardedPort]) -> None:
    """Guard ports no longer. Idempotent."""
    for port in ports:
        batch = Batch(table, FAMILY_BRIDGE)
        batch.delete_elements(_PORTS, [Element(nft.interface_key(port.link))])
        batch.flush_chain(_chain(port))
        batch.delete_chain(_chain(port))
        _commit_leniently(nl, batch)


def _compose_base(batch: Batch) -> None:
    batch.add_table()
    batch.add_verdict_map(_PORTS, (nftables.TYPE_IFNAME,))
    batch.add_base_chain(_BASE_CHAIN, "filter", nftables.HOOK_PREROUTING, _PRIORITY)
    batch.add_rule(
        _BASE_CHAIN, nft.meta(nft.META_IIFNAME), nft.lookup(_PORTS, into=nft.VERDICT_REGISTER)
    )


def _compose_port(batch: Batch, port: GuardedPort) -> None:
    chain = _chain(port)
    station = bytes.fromhex(port.mac.replace(":", ""))
    own = nft.source_station() + nft.compare(station)
    four = [text for text in port.addresses if ":" not in text]
    six = [text for text in port.addresses if ":" in text]
    if six:
        six.append(link_local_of(station))
    batch.add_chain(chain)
    for text in four:
        address = ipaddress.ip_address(text).packed
        batch.add_rule(
            chain, own, nft.ether_type_is(nft.ETHERTYPE_IPV4),
            nft.source(nft.NFPROTO_IPV4), nft.compare(address), nft.verdict(nft.RETURN),
        )  # fmt: skip
        batch.add_rule(
            chain, own, nft.ether_type_is(nft.ETHERTYPE_ARP),
            nft.arp_sender(), nft.compare(station + address), nft.verdict(nft.RETURN),
        )  # fmt: skip
    for text in six:
        batch.add_rule(
            chain, own, nft.ether_type_is(nft.ETHERTYPE_IPV6), nft.source(nft.NFPROTO_IPV6),
            nft.compare(ipaddress.ip_address(text).packed), nft.verdict(nft.RETURN),
        )  # fmt: skip
    # Duplicate address detection, of which nobody needs to hear.
    batch.add_rule(
        chain, nft.ether_type_is(nft.ETHERTYPE_IPV6), nft.source(nft.NFPROTO_IPV6),
        nft.compare(bytes(16)), nft.verdict(nft.DROP),
    )  # fmt: skip
    batch.add_rule(chain, nft.limit(_LOG_RATE, _LOG_BURST), nft.log_to(port.group, FORGED))
    batch.add_rule(chain, nft.counter(), nft.verdict(nft.DROP))
    batch.add_elements(_PORTS, [Element(nft.interface_key(port.link), jump=chain)])


def link_local_of(station: bytes) -> str:
    """The link-local address that a kernel gives an interface (RFC 4291, appendix A)."""
    identifier = bytes((station[0] ^ 2,)) + station[1:3] + b"\xff\xfe" + station[3:]
    return str(ipaddress.IPv6Address(b"\xfe\x80" + bytes(6) + identifier))


def _chain(port: GuardedPort) -> str:
    return f"guard_{port.link}"


def _commit_leniently(nl: Netlink, batch: Batch) -> None:
    try:
        batch.commit(nl)
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise
