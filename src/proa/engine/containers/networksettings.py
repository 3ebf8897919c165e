"""A container's networks and ports as Docker's ``NetworkSettings`` (Engine API 1.51)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from proa.engine.attachments import endpoint_id, mac_of
from proa.engine.config import ContainerConfig
from proa.engine.state import Endpoint
from proa.network.model import Network, PortMapping, Subnet

Document = dict[str, Any]


class Attached(msgspec.Struct, frozen=True, kw_only=True):
    """What the records say about a container's network.

    Attributes:
        endpoints: in their order.
        networks: by id, those of the endpoints.
        ports: published ones.
    """

    endpoints: Sequence[Endpoint] = ()
    networks: Mapping[str, Network] = {}
    ports: Sequence[PortMapping] = ()


def encode_network_settings(config: ContainerConfig, attached: Attached) -> Document:
    """Return ``NetworkSettings``; the fields of the default network are there twice, as always."""
    networks = encode_endpoints(config, attached)
    default = networks.get("bridge", {})
    return {
        "Bridge": "",
        "SandboxID": "",
        "SandboxKey": "",
        "Ports": encode_ports(attached.ports),
        "HairpinMode": False,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "SecondaryIPAddresses": None,
        "SecondaryIPv6Addresses": None,
        "EndpointID": default.get("EndpointID", ""),
        "Gateway": default.get("Gateway", ""),
        "GlobalIPv6Address": default.get("GlobalIPv6Address", ""),
        "GlobalIPv6PrefixLen": default.get("GlobalIPv6PrefixLen", 0),
        "IPAddress": default.get("IPAddress", ""),
        "IPPrefixLen": default.get("IPPrefixLen", 0),
        "IPv6Gateway": default.get("IPv6Gateway", ""),
        "MacAddress": default.get("MacAddress", ""),
        "Networks": networks,
    }


def encode_endpoints(config: ContainerConfig, attached: Attached) -> Document:
    """Return ``Networks``: name to endpoint."""
    if config.network_mode.startswith("container:"):
        return {}
    if config.network_mode in ("none", "host") and not attached.endpoints:
        return {config.network_mode: _endpoint(None, None)}
    return {
        attached.networks[item.network_id].name: _endpoint(item, attached.networks[item.network_id])
        for item in attached.endpoints
        if item.network_id in attached.networks
    }


def encode_ports(ports: Sequence[PortMapping]) -> Document:
    """Return ``Ports``: ``80/tcp`` to the host's addresses and ports."""
    found: Document = {}
    for port in ports:
        found.setdefault(f"{port.container_port}/{port.protocol}", []).append(
            {"HostIp": port.host_ip, "HostPort": str(port.host_port)}
        )
    return found


def encode_port_list(ports: Sequence[PortMapping]) -> list[Document]:
    """Return ``Ports`` of an entry of the list of containers."""
    return [
        {
            "IP": port.host_ip,
            "PrivatePort": port.container_port,
            "PublicPort": port.host_port,
            "Type": port.protocol,
        }
        for port in ports
    ]


def describe_ports(ports: Sequence[PortMapping]) -> str:
    """Return Docker's words: ``0.0.0.0:8080->80/tcp, [::]:8080->80/tcp``."""
    return ", ".join(
        f"{_bracketed(port.host_ip)}:{port.host_port}->{port.container_port}/{port.protocol}"
        for port in ports
    )


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _endpoint(endpoint: Endpoint | None, network: Network | None) -> Document:
    wish = endpoint.config if endpoint is not None else None
    document: Document = {
        "IPAMConfig": _wanted(wish.address4, wish.address6) if wish is not None else None,
        "Links": None,
        "Aliases": list(wish.aliases) or None if wish is not None else None,
        "MacAddress": "",
        "DriverOpts": None,
        "GwPriority": wish.gateway_priority if wish is not None else 0,
        "NetworkID": "",
        "EndpointID": "",
        "Gateway": "",
        "IPAddress": "",
        "IPPrefixLen": 0,
        "IPv6Gateway": "",
        "GlobalIPv6Address": "",
        "GlobalIPv6PrefixLen": 0,
        "DNSNames": None,
    }
    if endpoint is None or network is None:
        return document
    document["NetworkID"] = network.id
    if not endpoint.address4 and not endpoint.address6:
        return document
    document["EndpointID"] = endpoint_id(endpoint)
    document["MacAddress"] = mac_of(endpoint)
    if network.resolves:
        names = (endpoint.container_name, *endpoint.config.aliases, endpoint.container_id[:12])
        document["DNSNames"] = list(dict.fromkeys(names))
    for address, subnet, keys in (
        (endpoint.address4, network.subnet4, ("IPAddress", "IPPrefixLen", "Gateway")),
        (
            endpoint.address6,
            network.subnet6,
            ("GlobalIPv6Address", "GlobalIPv6PrefixLen", "IPv6Gateway"),
        ),
    ):
        _place(document, address, subnet, keys, internal=network.internal)
    return document


def _place(
    document: Document,
    address: str,
    subnet: Subnet | None,
    keys: tuple[str, str, str],
    *,
    internal: bool,
) -> None:
    if not address or subnet is None:
        return
    document[keys[0]] = address
    document[keys[1]] = subnet.prefix
    document[keys[2]] = "" if internal else subnet.gateway


def _wanted(address4: str, address6: str) -> Document | None:
    found: Document = {}
    if address4:
        found["IPv4Address"] = address4
    if address6:
        found["IPv6Address"] = address6
    return found or None
