"""The engine's firewall table, filled from the engine's records."""

from __future__ import annotations

from proa.engine.attachments import mac_of
from proa.engine.context import Context
from proa.engine.model import ContainerRecord
from proa.engine.state import Endpoint
from proa.linux.netlink import link
from proa.linux.netlink.socket import Netlink
from proa.network import names
from proa.network.egress import ContainerEgress, log_group, parse_egress
from proa.network.firewall import Firewall, FirewallState, PortTarget
from proa.network.guard import GuardedPort
from proa.network.model import Network, PortMapping
from proa.network.portmap import LOOPBACK6


def open_firewall(context: Context) -> Firewall:
    """Return the engine's table, described; the caller closes it."""
    return Firewall(names.table_name(context.layout.root), lambda: load_state(context))


def load_state(context: Context) -> FirewallState:
    """Return all that the table shall hold now."""
    tables = context.state.networks
    networks = [item for item in tables.list() if item.driver == "bridge"]
    ports: list[PortTarget] = []
    egress: list[ContainerEgress] = []
    endpoints: dict[str, list[Endpoint]] = {}
    for network in networks:
        for endpoint in tables.endpoints_on(network.id):
            if endpoint.address4 or endpoint.address6:
                endpoints.setdefault(endpoint.container_id, []).append(endpoint)
    by_id = {network.id: network for network in networks}
    for published in tables.ports():
        owned = endpoints.get(published.container_id, [])
        target = port_target(published.mapping, owned, by_id)
        if target is not None:
            ports.append(target)
    for container_id, owned in endpoints.items():
        record = context.state.containers.find(container_id)
        restricted = container_egress(record, owned) if record is not None else None
        if restricted is not None:
            egress.append(restricted)
    return FirewallState(networks=networks, ports=ports, egress=egress)


def port_target(
    mapping: PortMapping, endpoints: list[Endpoint], networks: dict[str, Network]
) -> PortTarget | None:
    """Where the firewall leads a port: the first network of the family that is not internal."""
    if mapping.host_ip == LOOPBACK6:
        return None
    address = _published_address(endpoints, networks, six=":" in mapping.host_ip)
    return PortTarget(mapping, address) if address else None


def proxy_target(
    mapping: PortMapping, endpoints: list[Endpoint], networks: dict[str, Network]
) -> tuple[str, int] | None:
    """Where the proxy of a port leads: address and port, IPv6 where there is any."""
    for six in (True, False):
        address = _published_address(endpoints, networks, six=six)
        if address:
            return address, mapping.container_port
    return None


def _published_address(
    endpoints: list[Endpoint], networks: dict[str, Network], *, six: bool
) -> str:
    for endpoint in sorted(endpoints, key=lambda item: item.position):
        network = networks.get(endpoint.network_id)
        if network is None or network.internal or network.driver != "bridge":
            continue
        address = endpoint.address6 if six else endpoint.address4
        if address:
            return address
    return ""


def container_egress(record: ContainerRecord, endpoints: list[Endpoint]) -> ContainerEgress | None:
    """A container's egress policy with its addresses; None without one."""
    if record.config.egress is None:
        return None
    ports = (
        GuardedPort(
            link=names.veth_link(record.id, item.network_id),
            mac=mac_of(item),
            addresses=tuple(text for text in (item.address4, item.address6) if text),
            group=log_group(record.id),
        )
        for item in endpoints
        if item.address4 or item.address6
    )
    return ContainerEgress(
        container_id=record.id,
        ports=tuple(ports),
        policy=parse_egress(record.config.egress),
    )


def forget_network(context: Context, network: Network) -> None:
    """Take a removed network out of the table.

    Raises:
        OSError: the kernel refuses it.
    """
    firewall = open_firewall(context)
    try:
        firewall.remove_network(network)
    finally:
        firewall.close()


def take_down(context: Context) -> None:
    """Remove the table.

    Raises:
        OSError: the kernel refuses it.
    """
    firewall = open_firewall(context)
    try:
        firewall.remove()
    finally:
        firewall.close()


def clear_remains(context: Context, record: ContainerRecord) -> None:
    """Remove from the host what a container whose supervisor is dead left there.

    Elements and shapers do not go with its namespace, and that may outlive it. Call it before the
    end is recorded: the records of its ports and addresses go with that.
    """
    tables = context.state.networks
    endpoints = tables.endpoints_of(record.id)
    ports = tables.ports(record.id)
    if not endpoints:
        return
    networks = {item.id: item for item in tables.list()}
    firewall = open_firewall(context)
    try:
        targets = [port_target(item.mapping, endpoints, networks) for item in ports]
        firewall.unpublish([item for item in targets if item is not None])
        egress = container_egress(record, endpoints)
        if egress is not None:
            firewall.unrestrict(egress)
        with Netlink() as nl:
            for endpoint in endpoints:
                for name in (names.veth_link, names.shaper_link):
                    link.delete(nl, name(record.id, endpoint.network_id))
    except OSError:
        # A host without nf_tables, or a table that somebody flushed: nothing is left there then.
        return
    finally:
        firewall.close()
