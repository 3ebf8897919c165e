"""What the engine's records say to a container that asks for names, and what is said of it."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence

from proa.engine.config import ContainerConfig
from proa.engine.containerevents import container_event
from proa.engine.context import Context
from proa.engine.model import ContainerRecord, EventRecord
from proa.linux.netlink.nflog import LoggedPacket
from proa.network import resolvconf
from proa.network.egress import allows_name, parse_egress
from proa.network.guard import FORGED
from proa.network.model import Network

_PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmpv6"}

View = Callable[[], tuple[ContainerConfig, dict[str, Network]]]


class ContainerNames:
    """Implements :class:`proa.network.dns.resolver.Names` for one container."""

    def __init__(
        self, context: Context, view: View, admit: Callable[[Sequence[str], int], None]
    ) -> None:
        """Answer for a container.

        Args:
            view: returns its configuration and networks as they are now.
            admit: lets addresses pass its egress policy for so many seconds.
        """
        self._context = context
        self._view = view
        self._admit = admit

    def addresses(self, name: str) -> Sequence[str]:
        """Addresses of a container on the asker's networks; ``name.network`` is understood too."""
        networks = self._resolving()
        if not networks:
            return ()
        found = self._context.state.networks.resolve(list(networks), name)
        if not found and "." in name:
            host, _, suffix = name.rpartition(".")
            ids = [item.id for item in networks.values() if item.name.lower() == suffix]
            found = self._context.state.networks.resolve(ids, host) if ids else []
        return [address for _, *both in found for address in both if address]

    def name(self, address: str) -> str:
        """``container.network`` of an address; empty: none."""
        found = self._context.state.networks.resolve_address(list(self._resolving()), address)
        return ".".join(found) if found is not None else ""

    def owns(self, address: str) -> bool:
        """Whether an address belongs to the asker's networks."""
        number = ipaddress.ip_address(address)
        return any(
            number in ipaddress.ip_network(subnet.subnet)
            for network in self._resolving().values()
            for subnet in (network.subnet4, network.subnet6)
            if subnet is not None
        )

    def servers(self) -> Sequence[str]:
        """``--dns``, or the host's; none for a container that is only on internal networks."""
        config, networks = self._view()
        if all(network.internal for network in networks.values()):
            return ()
        return config.dns or resolvconf.load_host().servers

    def may_ask(self, name: str) -> bool:
        """With an egress policy only the names in it: a question can carry data out."""
        config, _ = self._view()
        return config.egress is None or allows_name(parse_egress(config.egress), name)

    def admit(self, name: str, addresses: Sequence[str], ttl_s: int) -> None:
        """Let answered addresses pass; only names of the policy come here."""
        del name
        config, _ = self._view()
        if config.egress is not None:
            self._admit(addresses, ttl_s)

    def _resolving(self) -> dict[str, Network]:
        return {key: item for key, item in self._view()[1].items() if item.resolves}


def denied_event(record: ContainerRecord, logged: LoggedPacket) -> EventRecord | None:
    """Describe a packet that an egress policy stopped; None when it cannot be read."""
    packet = logged.data
    if len(packet) >= 20 and packet[0] >> 4 == 4:
        protocol, source, destination = packet[9], packet[12:16], packet[16:20]
        transport = packet[(packet[0] & 15) * 4 :]
    elif len(packet) >= 40 and packet[0] >> 4 == 6:
        protocol, source, destination = packet[6], packet[8:24], packet[24:40]
        transport = packet[40:]
    else:
        return None
    attributes = {
        "destination": str(ipaddress.ip_address(destination)),
        "protocol": _PROTOCOLS.get(protocol, str(protocol)),
    }
    if protocol in (6, 17) and len(transport) >= 4:
        attributes["port"] = str(int.from_bytes(transport[2:4], "big"))
    if logged.prefix == FORGED:
        attributes["forged_source"] = str(ipaddress.ip_address(source))
    return container_event(record, "egress_denied", attributes)
