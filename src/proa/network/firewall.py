"""The engine's own nf_tables table: what it holds, and bringing it back.

One table of the inet family an engine. Its rules never change; what comes and goes with networks
and containers are elements of sets and maps::

    links      bridges of the engine            pairs      bridge . bridge that may talk freely
    hairpins   bridge . bridge, all of them
    internal   bridges without a way out        outgoing   bridges whose traffic is masqueraded
    open       bridges that are open to each other
    port4/6    protocol . address . port   ->   container address . port
    any4/6     protocol . port             ->   container address . port   (all host addresses)
    egress4/6  container address           ->   jump to the chain of its egress policy

In nf_tables an accept ends one table's verdict only: a packet that the host's own tables drop stays
dropped, whatever is accepted here. This table never touches another one, and has no priority over
any: published ports obey the host's forward policy.

Published ports on loopback need the bridges' ``route_localnet`` (for IPv6 see
:mod:`proa.network.proxy`); what comes from elsewhere with a loopback destination is dropped before
anything else looks at it (chain ``raw``), so that only the host itself reaches them.

Deleting something of the table by hand is noticed by every supervisor (:meth:`Firewall.watch`) and
the whole is made again from the engine's records.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterable, Sequence

import msgspec

from proa.linux.netlink import conntrack, nftables
from proa.linux.netlink import nftexpressions as nft
from proa.linux.netlink.nftables import Batch, Element
from proa.linux.netlink.socket import NETLINK_NETFILTER, Netlink
from proa.network import guard
from proa.network.egress import ContainerEgress, EgressChains
from proa.network.model import PROTOCOL_NUMBERS, Network, PortMapping

_V4, _V6 = nft.NFPROTO_IPV4, nft.NFPROTO_IPV6
_FAMILIES = (("4", _V4, nftables.TYPE_IPV4), ("6", _V6, nftables.TYPE_IPV6))
_KNOWN = nft.STATE_ESTABLISHED | nft.STATE_RELATED
_ANY = ("0.0.0.0", "::", "")
_BASE_CHAINS = (
    ("raw", "filter", nftables.HOOK_PREROUTING, nftables.PRIORITY_RAW),
    ("prerouting", "nat", nftables.HOOK_PREROUTING, nftables.PRIORITY_DSTNAT),
    ("output", "nat", nftables.HOOK_OUTPUT, nftables.PRIORITY_DSTNAT),
    ("postrouting", "nat", nftables.HOOK_POSTROUTING, nftables.PRIORITY_SRCNAT),
    ("forward", "filter", nftables.HOOK_FORWARD, nftables.PRIORITY_FILTER),
    ("input", "filter", nftables.HOOK_INPUT, nftables.PRIORITY_FILTER),
)


class PortTarget(msgspec.Struct, frozen=True):
    """A published port and the container's address that it leads to."""

    mapping: PortMapping
    address: str


class FirewallState(msgspec.Struct, frozen=True, kw_only=True):
    """All that the table holds."""

    networks: Sequence[Network] = ()
    ports: Sequence[PortTarget] = ()
    egress: Sequence[ContainerEgress] = ()


class Firewall:
    """One engine's table in one network namespace (the host's)."""

    def __init__(
        self, table: str, load: Callable[[], FirewallState], nl: Netlink | None = None
    ) -> None:
        """Describe the table; nothing is made yet.

        Args:
            table: its name.
            load: returns what the table shall hold, when it has to be made.
            nl: an nfnetlink socket in the host's namespace; None: one of its own.
        """
        self.table = table
        self._load = load
        self._nl = nl

    @property
    def nl(self) -> Netlink:
        """The socket that changes go through."""
        if self._nl is None:
            self._nl = Netlink(NETLINK_NETFILTER)
        return self._nl

    def ensure(self) -> bool:
        """Make the table unless it is whole; returns whether it had to be made.

        Raises:
            OSError: the kernel refuses it.
        """
        whole, guarded = self._is_whole(), guard.is_whole(self.nl, self.table)
        if whole and guarded:
            return False
        state = self._load()
        if whole and not state.egress:
            return False
        self._restore(state)
        return True

    def _restore(self, state: FirewallState) -> None:
        if state.egress:
            guarded_ports = (port for egress in state.egress for port in egress.ports)
            guard.restore(self.nl, self.table, guarded_ports)
        batch = Batch(self.table)
        batch.add_table()
        batch.delete_table()
        _compose_table(batch, state)
        batch.commit(self.nl)

    def remove(self) -> None:
        """Delete the table. Idempotent."""
        batch = Batch(self.table)
        batch.add_table()
        batch.delete_table()
        batch.commit(self.nl)
        guard.remove(self.nl, self.table)

    def add_networks(self, networks: Sequence[Network]) -> None:
        """Let the rules apply to bridges. Idempotent."""

        def compose(batch: Batch) -> None:
            for network in networks:
                _add_network(batch, network)

        self._change(compose)

    def remove_network(self, network: Network) -> None:
        """Forget a bridge. Idempotent."""
        key = nft.interface_key(network.link)
        for name, element in (
            ("links", key), ("pairs", key * 2), ("hairpins", key * 2), ("internal", key),
            ("outgoing", key), ("open", key),
        ):  # fmt: skip
            self._delete(name, [Element(element)])

    def publish(self, ports: Iterable[PortTarget]) -> None:
        """Lead host ports to containers. Idempotent.

        Who sends datagrams to a port all the time is led there too: the kernel translates a flow as
        it translated its first packet, which came before the port was published.
        """
        targets = tuple(ports)
        if targets:
            self._change(lambda batch: _add_ports(batch, targets))
            self._forget_flows(item for item in targets if item.mapping.protocol == "udp")

    def unpublish(self, ports: Iterable[PortTarget]) -> None:
        """Take host ports back, and end what goes through them. Idempotent."""
        targets = tuple(ports)
        for target in targets:
            name, element = _port_element(target)
            self._delete(name, [Element(element.key)])
        self._forget_flows(targets)

    def restrict(self, egress: ContainerEgress) -> None:
        """Enforce a container's egress policy. Idempotent."""
        self.unrestrict(egress)
        guard.add(self.nl, self.table, egress.ports)
        self._change(lambda batch: EgressChains(batch, egress).add())

    def unrestrict(self, egress: ContainerEgress) -> None:
        """Forget a container's egress policy. Idempotent."""
        batch = Batch(self.table)
        EgressChains(batch, egress).remove()
        self._commit_leniently(batch)
        guard.discard(self.nl, self.table, egress.ports)

    def admit(self, egress: ContainerEgress, addresses: Iterable[str], timeout_s: float) -> None:
        """Let a restricted container reach addresses for a while (answers of the resolver)."""
        batch = Batch(self.table)
        EgressChains(batch, egress).admit(addresses, timeout_s)
        self._commit_leniently(batch)

    def cut(self, egress: ContainerEgress) -> None:
        """Let a new policy decide about the connections that the container has already."""
        try:
            for address in egress.addresses:
                conntrack.delete_from(self.nl, address)
        except OSError:
            # Before Linux 5.8: they go on.
            return

    def watch(self) -> Netlink:
        """Return a socket that becomes readable when somebody deletes rules or tables."""
        nl = Netlink(NETLINK_NETFILTER)
        nftables.watch_deletions(nl)
        return nl

    def close(self) -> None:
        """Close the socket. Idempotent."""
        if self._nl is not None:
            self._nl.close()
            self._nl = None

    def _is_whole(self) -> bool:
        found = {
            chain.name
            for chain in nftables.list_chains(self.nl, nftables.FAMILY_INET)
            if chain.table == self.table
        }
        return found.issuperset(name for name, *_ in _BASE_CHAINS)

    def _change(self, compose: Callable[[Batch], None]) -> None:
        """Commit a change; when something is missing, make the table whole first.

        It may be all, or what an earlier version of the engine did not have.
        """
        for attempt in (0, 1):
            batch = Batch(self.table)
            compose(batch)
            try:
                batch.commit(self.nl)
            except OSError as error:
                if error.errno != errno.ENOENT or attempt:
                    raise
                self._restore(self._load())
            else:
                return

    def _forget_flows(self, targets: Iterable[PortTarget]) -> None:
        try:
            for target in targets:
                mapping = target.mapping
                conntrack.delete_to_port(
                    self.nl,
                    socket.AF_INET6 if ":" in target.address else socket.AF_INET,
                    PROTOCOL_NUMBERS[mapping.protocol],
                    mapping.host_port,
                )
        except OSError:
            # Before Linux 5.8: flows end by themselves, after minutes without a packet.
            return

    def _delete(self, name: str, elements: list[Element]) -> None:
        batch = Batch(self.table)
        batch.delete_elements(name, elements)
        self._commit_leniently(batch)

    def _commit_leniently(self, batch: Batch) -> None:
        try:
            batch.commit(self.nl)
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise


def _compose_table(batch: Batch, state: FirewallState) -> None:
    batch.add_table()
    interface, service, protocol = (
        nftables.TYPE_IFNAME, nftables.TYPE_SERVICE, nftables.TYPE_PROTOCOL,
    )  # fmt: skip
    for name in ("links", "internal", "outgoing", "open"):
        batch.add_set(name, (interface,))
    for name in ("pairs", "hairpins"):
        batch.add_set(name, (interface, interface))
    for suffix, _, kind in _FAMILIES:
        batch.add_map(f"port{suffix}", (protocol, kind, service), (kind, service))
        batch.add_map(f"any{suffix}", (protocol, service), (kind, service))
        batch.add_verdict_map(f"egress{suffix}", (kind,))
    for name, kind_of, hook, priority in _BASE_CHAINS:
        batch.add_base_chain(name, kind_of, hook, priority)
    _compose_nat(batch)
    _compose_filter(batch)
    for network in state.networks:
        _add_network(batch, network)
    _add_ports(batch, state.ports)
    for egress in state.egress:
        EgressChains(batch, egress).add()


def _compose_nat(batch: Batch) -> None:
    four = nft.family_is(_V4)
    # From outside nobody may mean our loopback; the kernel would have dropped it without us.
    batch.add_rule(
        "raw", four, nft.destination_is_loopback(),
        nft.interface_is(nft.META_IIFNAME, "lo", equal=False), nft.verdict(nft.DROP),
    )  # fmt: skip
    for chain in ("prerouting", "output"):
        for suffix, family, _ in _FAMILIES:
            _compose_dnat(batch, chain, suffix, family)
    both = nft.meta(nft.META_IIFNAME) + nft.meta(nft.META_OIFNAME, nft.FIRST_REGISTER + 4)
    to_container = nft.meta(nft.META_OIFNAME) + nft.lookup("links")
    batch.add_rule("postrouting", four, nft.source_is_loopback(), to_container, nft.masquerade())
    # A container that reaches a neighbour, or itself, through the host must get the answer from
    # the host: the neighbour would answer directly, from an address that was never asked.
    batch.add_rule(
        "postrouting", both, nft.lookup("hairpins"),
        nft.connection_has(nft.CT_STATUS, nft.STATUS_DNAT), nft.masquerade(),
    )  # fmt: skip
    batch.add_rule(
        "postrouting", nft.meta(nft.META_IIFNAME), nft.lookup("outgoing"),
        nft.meta(nft.META_OIFNAME), nft.lookup("links", invert=True), nft.masquerade(),
    )  # fmt: skip


def _compose_dnat(batch: Batch, chain: str, suffix: str, family: int) -> None:
    first = nft.FIRST_REGISTER
    registers = 1 if family == _V4 else 4
    here = nft.family_is(family) + nft.destination_is_local()
    if chain == "output" and family == _V6:
        # Those for [::1] cannot be led elsewhere; proa.network.proxy passes them on.
        here += nft.destination(family) + nft.compare(bytes(15) + b"\1", equal=False)
    target = nft.dnat(family, first, first + registers)
    batch.add_rule(
        chain,
        here,
        nft.meta(nft.META_L4PROTO),
        nft.destination(family, first + 1),
        nft.destination_port(first + 1 + registers),
        nft.lookup(f"port{suffix}", into=first),
        target,
    )
    batch.add_rule(
        chain,
        here,
        nft.meta(nft.META_L4PROTO),
        nft.destination_port(first + 1),
        nft.lookup(f"any{suffix}", into=first),
        target,
    )


def _compose_filter(batch: Batch) -> None:
    both = nft.meta(nft.META_IIFNAME) + nft.meta(nft.META_OIFNAME, nft.FIRST_REGISTER + 4)
    incoming, outgoing = nft.meta(nft.META_IIFNAME), nft.meta(nft.META_OIFNAME)
    dnat = nft.connection_has(nft.CT_STATUS, nft.STATUS_DNAT)
    # Bridged packets pass here too where bridge-nf-call-iptables is on.
    batch.add_rule("forward", both, nft.lookup("pairs"), nft.verdict(nft.ACCEPT))
    batch.add_rule("forward", incoming, nft.lookup("internal"), nft.verdict(nft.DROP))
    batch.add_rule("forward", outgoing, nft.lookup("internal"), nft.verdict(nft.DROP))
    for chain in ("forward", "input"):
        batch.add_rule(chain, nft.connection_has(nft.CT_STATE, _KNOWN), nft.verdict(nft.ACCEPT))
        for suffix, family, _ in _FAMILIES:
            batch.add_rule(
                chain, nft.family_is(family), nft.source(family),
                nft.lookup(f"egress{suffix}", into=nft.VERDICT_REGISTER),
            )  # fmt: skip
    batch.add_rule("forward", outgoing, nft.lookup("links"), dnat, nft.verdict(nft.ACCEPT))
    batch.add_rule(
        "forward", incoming, nft.lookup("open"), outgoing, nft.lookup("open"),
        nft.verdict(nft.ACCEPT),
    )  # fmt: skip
    batch.add_rule("forward", outgoing, nft.lookup("links"), nft.counter(), nft.verdict(nft.DROP))


def _add_network(batch: Batch, network: Network) -> None:
    key = nft.interface_key(network.link)
    batch.add_elements("links", [Element(key)])
    batch.add_elements("hairpins", [Element(key * 2)])
    if network.talks:
        batch.add_elements("pairs", [Element(key * 2)])
    if not network.isolated:
        batch.add_elements("open", [Element(key)])
    if network.internal:
        batch.add_elements("internal", [Element(key)])
    elif network.masquerade:
        batch.add_elements("outgoing", [Element(key)])


def _add_ports(batch: Batch, targets: Iterable[PortTarget]) -> None:
    for target in targets:
        name, element = _port_element(target)
        batch.add_elements(name, [element])


def _port_element(target: PortTarget) -> tuple[str, Element]:
    mapping = target.mapping
    six = ":" in target.address
    kind = socket.AF_INET6 if six else socket.AF_INET
    suffix = "6" if six else "4"
    protocol = bytes((PROTOCOL_NUMBERS[mapping.protocol],))
    port = mapping.host_port.to_bytes(2, "big")
    value = nft.concatenate(
        socket.inet_pton(kind, target.address), mapping.container_port.to_bytes(2, "big")
    )
    if mapping.host_ip in _ANY:
        return f"any{suffix}", Element(nft.concatenate(protocol, port), value)
    address = socket.inet_pton(kind, mapping.host_ip)
    return f"port{suffix}", Element(nft.concatenate(protocol, address, port), value)
