"""Tables, chains, rules and sets of nf_tables over nfnetlink.

A :class:`Batch` is one transaction: the kernel takes all of it or nothing. Rules are made of
:mod:`proa.linux.netlink.nftexpressions`. Data types are only for ``nft`` to print with; the kernel
keeps them and compares bytes.

Source: ``linux/netfilter/nf_tables.h``, ``linux/netfilter/nfnetlink.h``.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import NamedTuple

from proa.linux.netlink.attributes import (
    attr,
    attr_be32,
    attr_be64,
    attr_text,
    nest,
    parse,
    parse_list,
    text,
)
from proa.linux.netlink.nftexpressions import verdict_data
from proa.linux.netlink.socket import (
    NLM_F_APPEND,
    NLM_F_CREATE,
    NLM_F_EXCL,
    Netlink,
    Request,
)

FAMILY_INET = 1
FAMILY_IPV4 = 2
FAMILY_BRIDGE = 7

HOOK_PREROUTING = 0
HOOK_INPUT = 1
HOOK_FORWARD = 2
HOOK_OUTPUT = 3
HOOK_POSTROUTING = 4

PRIORITY_RAW = -300
PRIORITY_DSTNAT = -100
PRIORITY_FILTER = 0
PRIORITY_SRCNAT = 100

GROUP_NFTABLES = 7
"""Multicast group of changes (NFNLGRP_NFTABLES)."""

TYPE_IPV4 = 7
TYPE_IPV6 = 8
TYPE_ETHER = 9
TYPE_PROTOCOL = 12
TYPE_SERVICE = 13
TYPE_IFNAME = 41

_LENGTHS = {
    TYPE_IPV4: 4, TYPE_IPV6: 16, TYPE_ETHER: 6, TYPE_PROTOCOL: 1, TYPE_SERVICE: 2, TYPE_IFNAME: 16,
}  # fmt: skip

_SUBSYSTEM = 10 << 8
NFT_MSG_NEWTABLE = _SUBSYSTEM | 0
NFT_MSG_GETTABLE = _SUBSYSTEM | 1
NFT_MSG_DELTABLE = _SUBSYSTEM | 2
NFT_MSG_NEWCHAIN = _SUBSYSTEM | 3
NFT_MSG_GETCHAIN = _SUBSYSTEM | 4
NFT_MSG_DELCHAIN = _SUBSYSTEM | 5
NFT_MSG_NEWRULE = _SUBSYSTEM | 6
NFT_MSG_DELRULE = _SUBSYSTEM | 8
NFT_MSG_NEWSET = _SUBSYSTEM | 9
NFT_MSG_DELSET = _SUBSYSTEM | 11
NFT_MSG_NEWSETELEM = _SUBSYSTEM | 12
NFT_MSG_GETSETELEM = _SUBSYSTEM | 13
NFT_MSG_DELSETELEM = _SUBSYSTEM | 14
_BATCH_BEGIN = 0x10
_BATCH_END = 0x11

_SET_INTERVAL = 0x4
_SET_MAP = 0x8
_SET_TIMEOUT = 0x10
_DATA_VERDICT = 0xFFFFFF00
_ELEMENT_INTERVAL_END = 1
_TYPE_BITS = 6
_HOST_ORDER_KEY = b"\0\4\1\0\0\0"
"""User data that makes ``nft`` print a set of interface names (libnftnl: key byte order, host)."""
_BPF_LOAD_HALF = 0x28
_BPF_JUMP_EQUAL = 0x15
_BPF_RETURN = 0x06
_TYPE_OFFSET = 4


def watch_deletions(nl: Netlink) -> None:
    """Make a socket receive the deletions of tables, chains, rules and sets, and nothing else.

    The kernel sends a transaction's changes in one message after the other within few datagrams,
    and the filter sees a datagram's first: rules go first when a table goes. New and deleted
    elements, which come and go with every container, wake nobody.

    Raises:
        OSError: the kernel refuses the filter.
    """
    kinds = (NFT_MSG_DELTABLE, NFT_MSG_DELCHAIN, NFT_MSG_DELRULE, NFT_MSG_DELSET)
    program = [(_BPF_LOAD_HALF, 0, 0, _TYPE_OFFSET)]
    for left, kind in zip(range(len(kinds), 0, -1), kinds, strict=True):
        # The filter loads in network order what netlink keeps in the machine's.
        program.append(
            (_BPF_JUMP_EQUAL, left, 0, int.from_bytes(kind.to_bytes(2, "little"), "big"))
        )
    program += [(_BPF_RETURN, 0, 0, 0), (_BPF_RETURN, 0, 0, 0xFFFF)]
    nl.attach_filter(program)
    nl.subscribe(GROUP_NFTABLES)


class Element(NamedTuple):
    """An element of a set: its key, a map's value, the end of an interval (exclusive)."""

    key: bytes
    value: bytes = b""
    end: bytes = b""
    timeout_s: float = 0.0
    jump: str = ""


class BaseChain(NamedTuple):
    """A base chain as listed.

    Attributes:
        hook: HOOK_*; -1 for a chain that is only jumped to.
        drops: its policy is drop.
    """

    family: int
    table: str
    name: str
    hook: int
    drops: bool


class Batch:
    """Changes of one family's table that happen together."""

    def __init__(self, table: str, family: int = FAMILY_INET) -> None:
        self._table = table
        self._family = family
        self._requests: list[Request] = []
        self._set_ids = 0

    def add_table(self, *, exclusive: bool = False) -> None:
        """Make the table; with ``exclusive`` it must not exist yet."""
        flags = NLM_F_CREATE | (NLM_F_EXCL if exclusive else 0)
        self._add(NFT_MSG_NEWTABLE, attr_text(1, self._table), flags)

    def delete_table(self) -> None:
        """Delete the table with all that is in it."""
        self._add(NFT_MSG_DELTABLE, attr_text(1, self._table))

    def add_chain(self, name: str) -> None:
        """Make a chain that others jump to."""
        self._add(NFT_MSG_NEWCHAIN, attr_text(1, self._table) + attr_text(3, name), NLM_F_CREATE)

    def add_base_chain(self, name: str, kind: str, hook: int, priority: int) -> None:
        """Make a chain that the kernel calls: ``filter`` or ``nat``, policy accept."""
        self._add(
            NFT_MSG_NEWCHAIN,
            attr_text(1, self._table)
            + attr_text(3, name)
            + nest(4, attr_be32(1, hook), attr_be32(2, priority))
            + attr_text(7, kind),
            NLM_F_CREATE,
        )

    def flush_chain(self, name: str) -> None:
        """Delete the rules of a chain."""
        self._add(NFT_MSG_DELRULE, attr_text(1, self._table) + attr_text(2, name))

    def delete_chain(self, name: str) -> None:
        """Delete an empty chain."""
        self._add(NFT_MSG_DELCHAIN, attr_text(1, self._table) + attr_text(3, name))

    def add_rule(self, chain: str, *expressions: bytes) -> None:
        """Append a rule."""
        self._add(
            NFT_MSG_NEWRULE,
            attr_text(1, self._table) + attr_text(2, chain) + nest(4, *expressions),
            NLM_F_CREATE | NLM_F_APPEND,
        )

    def add_set(
        self, name: str, key: tuple[int, ...], *, interval: bool = False, timeout: bool = False
    ) -> None:
        """Make a set; several key types are a concatenation."""
        flags = (_SET_INTERVAL if interval else 0) | (_SET_TIMEOUT if timeout else 0)
        self._add_set(name, key, flags)

    def add_map(self, name: str, key: tuple[int, ...], value: tuple[int, ...]) -> None:
        """Make a map from keys to values."""
        data = attr_be32(6, _type_of(value)) + attr_be32(7, _length_of(value))
        self._add_set(name, key, _SET_MAP, data)

    def add_verdict_map(self, name: str, key: tuple[int, ...]) -> None:
        """Make a map from keys to verdicts."""
        self._add_set(name, key, _SET_MAP, attr_be32(6, _DATA_VERDICT))

    def delete_set(self, name: str) -> None:
        """Delete a set or map that no rule uses."""
        self._add(NFT_MSG_DELSET, attr_text(1, self._table) + attr_text(2, name))

    def add_elements(self, name: str, elements: Iterable[Element]) -> None:
        """Add elements; those that are there already stay."""
        self._elements(NFT_MSG_NEWSETELEM, name, elements, NLM_F_CREATE)

    def delete_elements(self, name: str, elements: Iterable[Element]) -> None:
        """Delete elements; one that is not there fails the batch with ENOENT."""
        self._elements(NFT_MSG_DELSETELEM, name, elements, 0)

    def commit(self, nl: Netlink) -> None:
        """Make the changes; nothing is sent for an empty batch.

        Raises:
            OSError: what the kernel answered; nothing was changed.
        """
        if not self._requests:
            return
        marker = struct.pack(">BBH", 0, 0, 10)
        begin = Request(_BATCH_BEGIN, marker, acknowledged=False)
        end = Request(_BATCH_END, marker, acknowledged=False)
        nl.send((begin, *self._requests, end))

    def _add(self, kind: int, payload: bytes, flags: int = 0) -> None:
        self._requests.append(Request(kind, _header(self._family) + payload, flags))

    def _add_set(self, name: str, key: tuple[int, ...], flags: int, data: bytes = b"") -> None:
        self._set_ids += 1
        self._add(
            NFT_MSG_NEWSET,
            attr_text(1, self._table)
            + attr_text(2, name)
            + attr_be32(3, flags)
            + attr_be32(4, _type_of(key))
            + attr_be32(5, _length_of(key))
            + data
            + attr_be32(10, self._set_ids)
            + (attr(13, _HOST_ORDER_KEY) if key == (TYPE_IFNAME,) else b""),
            NLM_F_CREATE,
        )

    def _elements(self, kind: int, name: str, elements: Iterable[Element], flags: int) -> None:
        items = b"".join(_element(element) for element in elements)
        if items:
            where = attr_text(1, self._table) + attr_text(2, name)
            self._add(kind, where + nest(3, items), flags)


def has_table(nl: Netlink, table: str, family: int = FAMILY_INET) -> bool:
    """Whether a table exists."""
    try:
        nl.get(NFT_MSG_GETTABLE, _header(family) + attr_text(1, table))
    except OSError as error:
        if error.errno == 2:  # ENOENT
            return False
        raise
    return True


def list_tables(nl: Netlink, family: int = 0) -> list[str]:
    """Names of a family's tables; 0: of all families."""
    return [
        text(parse(message.payload[4:]).get(1, b""))
        for message in nl.dump(NFT_MSG_GETTABLE, _header(family))
    ]


def list_chains(nl: Netlink, family: int = 0) -> list[BaseChain]:
    """Chains of a family; 0: of all families."""
    found = []
    for message in nl.dump(NFT_MSG_GETCHAIN, _header(family)):
        values = parse(message.payload[4:])
        hook = parse(values.get(4, b""))
        found.append(
            BaseChain(
                family=message.payload[0],
                table=text(values.get(1, b"")),
                name=text(values.get(3, b"")),
                hook=int.from_bytes(hook[1], "big") if 1 in hook else -1,
                drops=5 in values and int.from_bytes(values[5], "big") == 0,
            )
        )
    return found


def list_elements(
    nl: Netlink, table: str, name: str, family: int = FAMILY_INET
) -> list[tuple[bytes, bytes]]:
    """Keys and values of a set's elements; empty when there is no such set."""
    found = []
    query = _header(family) + attr_text(1, table) + attr_text(2, name)
    try:
        messages = nl.dump(NFT_MSG_GETSETELEM, query)
    except OSError as error:
        if error.errno == 2:  # ENOENT
            return []
        raise
    for message in messages:
        for _, item in parse_list(parse(message.payload[4:]).get(3, b"")):
            values = parse(item)
            key = parse(values.get(1, b"")).get(1, b"")
            found.append((key, parse(values.get(2, b"")).get(1, b"")))
    return found


def _header(family: int) -> bytes:
    return bytes((family, 0, 0, 0))


def _type_of(types: tuple[int, ...]) -> int:
    number = 0
    for item in types:
        number = number << _TYPE_BITS | item
    return number


def _length_of(types: tuple[int, ...]) -> int:
    if len(types) == 1:
        return _LENGTHS[types[0]]
    return sum((_LENGTHS[item] + 3) // 4 * 4 for item in types)


def _element(element: Element) -> bytes:
    value = b""
    if element.jump:
        value = nest(2, verdict_data(-3, element.jump))
    elif element.value:
        value = nest(2, attr(1, element.value))
    timeout = attr_be64(4, int(element.timeout_s * 1000)) if element.timeout_s else b""
    item = nest(1, nest(1, attr(1, element.key)), value, timeout)
    if element.end:
        end = nest(1, attr(1, element.end))
        item += nest(1, attr_be32(3, _ELEMENT_INTERVAL_END) + end)
    return item
