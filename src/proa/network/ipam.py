"""Addresses: choosing subnets for networks and addresses for containers. Pure functions.

Whoever calls them holds the database's write lock, so that what is free stays free until it is
recorded. Addresses go round: the next one after the last that was handed out. The namespace of an
ended container answers ARP for some milliseconds more, and strangers' caches remember for longer;
an address comes back as late as possible.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable, Sequence

from proa.errors import Conflict, Exhausted, Invalid
from proa.network.model import Subnet

IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

POOLS4 = (
    *(f"172.{second}.0.0/16" for second in range(30, 32)),
    *(f"10.{second}.0.0/16" for second in range(201, 255)),
)
"""Subnets for networks that ask for none; apart from Docker's (172.17 to 172.29, 192.168)."""

_PROBES = 65536


def parse_network(text: str, what: str) -> IPNetwork:
    """Read ``address/prefix``; host bits are refused.

    Raises:
        Invalid: it is no network.
    """
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise Invalid(f"invalid {what} '{text}': {error}", "use ADDRESS/PREFIX") from None


def parse_address(text: str, what: str) -> IPAddress:
    """Read an address.

    Raises:
        Invalid: it is none.
    """
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        raise Invalid(f"invalid {what} '{text}': it is no IP address") from None


def make_subnet(
    text: str, *, gateway: str = "", ip_range: str = "", reserved: Sequence[str] = ()
) -> Subnet:
    """Check and complete a subnet; the gateway is its first address unless given.

    Raises:
        Invalid: an address is not in the subnet, or the subnet is too small.
    """
    subnet = parse_network(text, "subnet")
    smallest = 30 if subnet.version == 4 else 126
    if subnet.prefixlen > smallest:
        raise Invalid(f"subnet {text} is too small", f"use a prefix of at most {smallest}")
    if ip_range:
        part = parse_network(ip_range, "ip range")
        if part.version != subnet.version or not part.subnet_of(subnet):  # type: ignore[arg-type]
            raise Invalid(f"ip range {ip_range} is not in subnet {text}")
    door = parse_address(gateway, "gateway") if gateway else subnet[1]
    for address in (door, *(parse_address(item, "address") for item in reserved)):
        if address not in subnet:
            raise Invalid(f"address {address} is not in subnet {text}")
    return Subnet(
        subnet=str(subnet),
        gateway=str(door),
        ip_range=ip_range,
        reserved=tuple(str(ipaddress.ip_address(item)) for item in reserved),
    )


def check_overlap(text: str, taken: Iterable[str]) -> None:
    """Refuse a subnet that another network has a part of.

    Raises:
        Conflict: naming the other.
    """
    subnet = ipaddress.ip_network(text)
    for other in taken:
        if subnet.overlaps(ipaddress.ip_network(other)):
            raise Conflict(
                f"subnet {text} overlaps {other}, which is in use",
                "choose another with --subnet, or leave it out",
            )


def choose_subnet4(taken: Iterable[str]) -> str:
    """Return the first pool that overlaps nothing.

    Args:
        taken: subnets of other networks and destinations of the host's routes.

    Raises:
        Exhausted: all pools are in use.
    """
    used = [ipaddress.ip_network(item) for item in taken]
    for pool in POOLS4:
        candidate = ipaddress.ip_network(pool)
        if not any(candidate.overlaps(item) for item in used if item.prefixlen):
            return pool
    raise Exhausted("no subnet is left for a new network", "give one with --subnet")


def unique_local_subnet(network_id: str) -> str:
    """Return the IPv6 subnet of a network that asks for none (RFC 4193: random, fd00::/8)."""
    prefix = 0xFD << 120 | int(network_id[:14], 16) << 64
    return str(ipaddress.IPv6Network((prefix, 64)))


def choose_address(subnet: Subnet, used: Collection[str], last: str = "", wanted: str = "") -> str:
    """Return an address for a container.

    Args:
        subnet: where.
        used: what others have.
        last: the last one handed out; the search begins behind it.
        wanted: the one that the user asked for.

    Raises:
        Conflict: the wanted one is taken.
        Invalid: it is not in the subnet.
        Exhausted: none is free.
    """
    whole = ipaddress.ip_network(subnet.subnet)
    if wanted:
        return _check_wanted(subnet, whole, used, wanted)
    part = ipaddress.ip_network(subnet.ip_range) if subnet.ip_range else whole
    first, size = int(part.network_address), part.num_addresses
    avoided = {subnet.gateway, *subnet.reserved, str(whole.network_address)}
    if whole.version == 4:
        avoided.add(str(whole.broadcast_address))
    start = int(ipaddress.ip_address(last)) - first + 1 if last else 0
    for step in range(min(size, _PROBES)):
        candidate = str(whole[(start + step) % size + first - int(whole.network_address)])
        if candidate not in avoided and candidate not in used:
            return candidate
    raise Exhausted(
        f"no address is free in {subnet.ip_range or subnet.subnet}",
        "remove containers from the network, or make one with a larger --subnet",
    )


def _check_wanted(subnet: Subnet, whole: IPNetwork, used: Collection[str], wanted: str) -> str:
    address = parse_address(wanted, "address")
    if address not in whole:
        raise Invalid(f"address {wanted} is not in subnet {subnet.subnet}")
    text = str(address)
    ends = {whole.network_address, whole.broadcast_address if whole.version == 4 else None}
    if text == subnet.gateway or address in ends:
        raise Invalid(f"address {wanted} belongs to the network itself")
    if text in used:
        raise Conflict(f"address {wanted} is in use", "choose another, or leave --ip out")
    return text


def mac_of(address: str) -> str:
    """Return the hardware address that belongs to an address: 02:42 and its last four bytes.

    The same address always has the same one, so that neighbours' caches stay right.
    """
    raw = ipaddress.ip_address(address).packed[-4:]
    return ":".join(f"{byte:02x}" for byte in b"\x02\x42" + raw)
