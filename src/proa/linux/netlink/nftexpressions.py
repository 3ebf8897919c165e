"""Expressions of nf_tables rules: what one rule does, one after the other.

Values live in registers of four bytes; a field of a concatenation takes as many whole registers as
it needs, in order. The functions are named after what ``nft`` prints.

Source: ``linux/netfilter/nf_tables.h``.
"""

from __future__ import annotations

from proa.linux.netlink.attributes import attr, attr_be32, attr_be64, attr_text, nest

FIRST_REGISTER = 8
"""NFT_REG32_00."""

VERDICT_REGISTER = 0
ACCEPT = 1
DROP = 0
JUMP = -3
RETURN = -5

META_L4PROTO = 16
META_NFPROTO = 15
META_IIFNAME = 6
META_OIFNAME = 7
META_PROTOCOL = 1

CT_STATE = 0
CT_STATUS = 2
STATE_ESTABLISHED = 2
STATE_RELATED = 4
STATUS_DNAT = 0x20

NFPROTO_IPV4 = 2
NFPROTO_IPV6 = 10

ETHERTYPE_IPV4 = 0x0800
ETHERTYPE_ARP = 0x0806
ETHERTYPE_IPV6 = 0x86DD

IFNAME_BYTES = 16

_LINK_HEADER = 0
_NETWORK_HEADER = 1
_TRANSPORT_HEADER = 2
_CMP_EQ = 0
_CMP_NEQ = 1
_RTN_LOCAL = 2


def expression(name: str, *attributes: bytes) -> bytes:
    """One element of a rule's list of expressions."""
    return nest(1, attr_text(1, name), nest(2, *attributes))


def meta(key: int, register: int = FIRST_REGISTER) -> bytes:
    """Load what the packet's context says: interface, protocol."""
    return expression("meta", attr_be32(1, register), attr_be32(2, key))


def payload(base: int, offset: int, length: int, register: int = FIRST_REGISTER) -> bytes:
    """Load bytes of the packet; ``base``: 0 link, 1 network, 2 transport header."""
    return expression(
        "payload",
        attr_be32(1, register),
        attr_be32(2, base),
        attr_be32(3, offset),
        attr_be32(4, length),
    )


def source(family: int, register: int = FIRST_REGISTER) -> bytes:
    """Load the source address."""
    return payload(_NETWORK_HEADER, *((12, 4) if family == NFPROTO_IPV4 else (8, 16)), register)


def destination(family: int, register: int = FIRST_REGISTER) -> bytes:
    """Load the destination address."""
    return payload(_NETWORK_HEADER, *((16, 4) if family == NFPROTO_IPV4 else (24, 16)), register)


def destination_port(register: int = FIRST_REGISTER) -> bytes:
    """Load the destination port of TCP, UDP or SCTP."""
    return payload(_TRANSPORT_HEADER, 2, 2, register)


def source_station(register: int = FIRST_REGISTER) -> bytes:
    """Load the sender's hardware address (in a table of the bridge family)."""
    return payload(_LINK_HEADER, 6, 6, register)


def arp_sender(register: int = FIRST_REGISTER) -> bytes:
    """Load the hardware and IPv4 address that an ARP packet claims as its sender's (RFC 826)."""
    return payload(_NETWORK_HEADER, 8, 10, register)


def ether_type_is(number: int) -> bytes:
    """Go on for frames of one protocol."""
    return meta(META_PROTOCOL) + compare(number.to_bytes(2, "big"))


def compare(value: bytes, *, equal: bool = True, register: int = FIRST_REGISTER) -> bytes:
    """Go on if the register holds ``value``."""
    return expression(
        "cmp",
        attr_be32(1, register),
        attr_be32(2, _CMP_EQ if equal else _CMP_NEQ),
        nest(3, attr(1, value)),
    )


def mask(value: bytes, register: int = FIRST_REGISTER) -> bytes:
    """Keep only the bits of ``value``."""
    return expression(
        "bitwise",
        attr_be32(1, register),
        attr_be32(2, register),
        attr_be32(3, len(value)),
        nest(4, attr(1, value)),
        nest(5, attr(1, bytes(len(value)))),
    )


def family_is(family: int) -> bytes:
    """Go on for IPv4 or IPv6 packets (in an inet table)."""
    return meta(META_NFPROTO) + compare(bytes((family,)))


def interface_is(key: int, name: str, *, equal: bool = True) -> bytes:
    """Go on if the interface has (not) this name."""
    return meta(key) + compare(interface_key(name), equal=equal)


def destination_is_loopback() -> bytes:
    """Go on for 127.0.0.0/8 as destination; the family must be known to be IPv4."""
    return destination(NFPROTO_IPV4) + mask(b"\xff\0\0\0") + compare(b"\x7f\0\0\0")


def source_is_loopback() -> bytes:
    """Go on for 127.0.0.0/8 as source; the family must be known to be IPv4."""
    return source(NFPROTO_IPV4) + mask(b"\xff\0\0\0") + compare(b"\x7f\0\0\0")


def destination_is_local() -> bytes:
    """Go on if the destination is an address of this host."""
    fib = expression("fib", attr_be32(1, FIRST_REGISTER), attr_be32(2, 3), attr_be32(3, 2))
    return fib + compare(_RTN_LOCAL.to_bytes(4, "little"))


def connection_has(key: int, bits: int) -> bytes:
    """Go on if the connection's state or status has any of the bits."""
    return (
        expression("ct", attr_be32(1, FIRST_REGISTER), attr_be32(2, key))
        + mask(bits.to_bytes(4, "little"))
        + compare(bytes(4), equal=False)
    )


def lookup(
    name: str, *, register: int = FIRST_REGISTER, into: int | None = None, invert: bool = False
) -> bytes:
    """Go on if the key from ``register`` on is in the set; a map's value goes to ``into``."""
    return expression(
        "lookup",
        attr_text(1, name),
        attr_be32(2, register),
        b"" if into is None else attr_be32(3, into),
        attr_be32(5, 1) if invert else b"",
    )


def dnat(family: int, address: int, port: int) -> bytes:
    """Rewrite the destination with the address and port in two registers."""
    return expression(
        "nat",
        attr_be32(1, 1),
        attr_be32(2, family),
        attr_be32(3, address),
        attr_be32(5, port),
    )


def dnat_to(family: int, address: bytes, port: int) -> bytes:
    """Rewrite the destination to a fixed address and port."""
    at_port = FIRST_REGISTER + (len(address) + 3) // 4
    return (
        _load(FIRST_REGISTER, address)
        + _load(at_port, port.to_bytes(2, "big"))
        + dnat(family, FIRST_REGISTER, at_port)
    )


def masquerade() -> bytes:
    """Rewrite the source to the outgoing interface's address."""
    return expression("masq")


def counter() -> bytes:
    """Count packets and bytes."""
    return expression("counter")


def log_to(group: int, prefix: str) -> bytes:
    """Send a copy of the packet's first bytes to an nfnetlink_log group."""
    return expression(
        "log",
        attr(1, group.to_bytes(2, "big")),
        attr_text(2, prefix),
        attr_be32(3, 64),
    )


def limit(rate: int, burst: int) -> bytes:
    """Go on for at most ``rate`` packets a second."""
    return expression(
        "limit",
        attr_be64(1, rate),
        attr_be64(2, 1),
        attr_be32(3, burst),
        attr_be32(4, 0),
    )


def reject() -> bytes:
    """Drop the packet and say "administratively prohibited"."""
    return expression("reject", attr_be32(1, 2), attr(2, bytes((3,))))


def verdict(code: int, chain: str = "") -> bytes:
    """End the rule: ACCEPT, DROP, RETURN, or JUMP to a chain."""
    return expression(
        "immediate", attr_be32(1, VERDICT_REGISTER), nest(2, verdict_data(code, chain))
    )


def verdict_data(code: int, chain: str = "") -> bytes:
    """A verdict as data: of an immediate, or of a map's element."""
    return nest(2, attr_be32(1, code), attr_text(2, chain) if chain else b"")


def interface_key(name: str) -> bytes:
    """An interface's name as it is compared: padded to 16 bytes."""
    return name.encode().ljust(IFNAME_BYTES, b"\0")


def concatenate(*fields: bytes) -> bytes:
    """A key of several fields, each padded to whole registers."""
    return b"".join(field + bytes(-len(field) % 4) for field in fields)


def _load(register: int, value: bytes) -> bytes:
    return expression("immediate", attr_be32(1, register), nest(2, attr(1, value)))
