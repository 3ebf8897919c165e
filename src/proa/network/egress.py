"""Egress policies: where one container may connect to beyond its own networks.

A restricted container's address leads to a chain of its own (``proa.network.firewall``, maps
``egress4`` and ``egress6``), from the forward hook and from the input hook, so that the host's own
services count as "beyond" too; :mod:`proa.network.guard` keeps it from using another's. The chain
returns for allowed destinations, tells the engine about others (nfnetlink_log) and rejects them.
Names are allowed as the container asks for them: the engine's resolver adds what it answers, for as
long as the answer may be kept.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence

import msgspec

from proa.errors import Invalid
from proa.linux.netlink import nftables
from proa.linux.netlink import nftexpressions as nft
from proa.linux.netlink.nftables import Batch, Element
from proa.network.guard import GuardedPort
from proa.network.model import EgressPolicy

_LOG_RATE, _LOG_BURST = 10, 20
_FIRST_GROUP, _GROUPS = 1024, 64000
_FAMILIES = (
    ("4", nft.NFPROTO_IPV4, nftables.TYPE_IPV4),
    ("6", nft.NFPROTO_IPV6, nftables.TYPE_IPV6),
)
_NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-._")


class ContainerEgress(msgspec.Struct, frozen=True, kw_only=True):
    """A container's policy and the ports of bridges that it is behind."""

    container_id: str
    ports: tuple[GuardedPort, ...]
    policy: EgressPolicy

    @property
    def addresses(self) -> tuple[str, ...]:
        """The addresses that the policy is found by."""
        return tuple(text for port in self.ports for text in port.addresses)

    @property
    def group(self) -> int:
        """nfnetlink_log group of its denied packets."""
        return log_group(self.container_id)


def log_group(container_id: str) -> int:
    """nfnetlink_log group of a container's denied packets."""
    return _FIRST_GROUP + int(container_id[:8], 16) % _GROUPS


def parse_egress(words: Sequence[str]) -> EgressPolicy:
    """Read networks, addresses and domains.

    Args:
        words: ``192.0.2.0/24``, ``2001:db8::1``, ``example.org``, ``.example.org`` (it and below).

    Raises:
        Invalid: a word is none of them.
    """
    networks: list[str] = []
    domains: list[str] = []
    for word in words:
        try:
            networks.append(str(ipaddress.ip_network(word)))
            continue
        except ValueError:
            pass
        name = word.lower().rstrip(".")
        labels = name.removeprefix(".").split(".")
        if not all(labels) or not _NAME_CHARACTERS.issuperset(name) or labels[-1].isdigit():
            raise Invalid(
                f"invalid egress rule '{word}'", "use an address, ADDRESS/PREFIX or a domain name"
            )
        domains.append(name)
    return EgressPolicy(networks=tuple(networks), domains=tuple(domains))


def allows_name(policy: EgressPolicy, name: str) -> bool:
    """Whether a policy has a name (lower case, without the last dot)."""
    return any(
        name == domain.removeprefix(".") or (domain[0] == "." and name.endswith(domain))
        for domain in policy.domains
    )


class EgressChains:
    """Composes the chain and the sets of one container into a batch."""

    def __init__(self, batch: Batch, egress: ContainerEgress) -> None:
        self._batch = batch
        self._egress = egress
        self._short = egress.container_id[:12]

    def add(self) -> None:
        """Make everything."""
        batch = self._batch
        chain = f"egress_{self._short}"
        batch.add_chain(chain)
        for suffix, family, kind in _FAMILIES:
            networks, names = self._networks(suffix), self._names(suffix)
            batch.add_set(networks, (kind,), interval=True)
            batch.add_set(names, (kind,), timeout=True)
            batch.add_elements(networks, self._intervals(suffix))
            for name in (networks, names):
                batch.add_rule(
                    chain, nft.family_is(family), nft.destination(family), nft.lookup(name),
                    nft.verdict(nft.RETURN),
                )  # fmt: skip
        batch.add_rule(chain, nft.limit(_LOG_RATE, _LOG_BURST), nft.log_to(self._egress.group, ""))
        batch.add_rule(chain, nft.counter(), nft.reject())
        for suffix, keys in self._keys():
            batch.add_elements(f"egress{suffix}", [Element(key, jump=chain) for key in keys])

    def remove(self) -> None:
        """Delete everything; fails as a whole when it is not there."""
        batch = self._batch
        for suffix, keys in self._keys():
            batch.delete_elements(f"egress{suffix}", [Element(key) for key in keys])
        batch.flush_chain(f"egress_{self._short}")
        batch.delete_chain(f"egress_{self._short}")
        for suffix, _, _ in _FAMILIES:
            batch.delete_set(self._networks(suffix))
            batch.delete_set(self._names(suffix))

    def admit(self, addresses: Iterable[str], timeout_s: float) -> None:
        """Add addresses that the resolver answered."""
        for text in addresses:
            address = ipaddress.ip_address(text)
            element = Element(address.packed, timeout_s=max(timeout_s, 1.0))
            self._batch.add_elements(self._names(str(address.version)), [element])

    def _networks(self, suffix: str) -> str:
        return f"net{suffix}_{self._short}"

    def _names(self, suffix: str) -> str:
        return f"name{suffix}_{self._short}"

    def _keys(self) -> list[tuple[str, list[bytes]]]:
        found: dict[str, list[bytes]] = {"4": [], "6": []}
        for text in self._egress.addresses:
            address = ipaddress.ip_address(text)
            found[str(address.version)].append(address.packed)
        return list(found.items())

    def _intervals(self, suffix: str) -> list[Element]:
        four: list[ipaddress.IPv4Network] = []
        six: list[ipaddress.IPv6Network] = []
        for text in self._egress.policy.networks:
            network = ipaddress.ip_network(text)
            if isinstance(network, ipaddress.IPv4Network):
                four.append(network)
            else:
                six.append(network)
        merged: Iterable[ipaddress.IPv4Network | ipaddress.IPv6Network] = (
            ipaddress.collapse_addresses(four)
            if suffix == "4"
            else ipaddress.collapse_addresses(six)
        )
        return [_interval(network) for network in merged]


def _interval(network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> Element:
    """The interval of a network; one that reaches the last address has no end."""
    first = network.network_address.packed
    last = int.from_bytes(network.broadcast_address.packed, "big") + 1
    if last >> (8 * len(first)):
        return Element(first)
    return Element(first, end=last.to_bytes(len(first), "big"))
