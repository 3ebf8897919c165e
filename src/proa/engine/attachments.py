"""Which networks a container is on: from its configuration to records.

The default network is called ``bridge`` as Docker's is; its record is made by the first container
that needs it. ``host``, ``none`` and ``container:ID`` are words, not records.
"""

from __future__ import annotations

import hashlib
import secrets
import time

import msgspec

from proa.engine.config import ContainerConfig, EndpointConfig
from proa.engine.context import Context
from proa.engine.state import Endpoint
from proa.errors import Conflict, Invalid, from_os_error
from proa.linux.netlink import address, route
from proa.linux.netlink.socket import Netlink
from proa.network import ipam, names
from proa.network.model import Network

DEFAULT = "bridge"


def find_network(context: Context, reference: str) -> Network:
    """Return a network; the default one is made if it is not there.

    Raises:
        NotFound: there is none.
        Invalid: a word that names no network with a record.
    """
    if reference in (DEFAULT, "default"):
        return ensure_default(context)
    if reference in ("host", "none"):
        raise Invalid(f"network {reference} cannot be changed or looked at")
    return context.state.networks.get(reference)


def ensure_default(context: Context) -> Network:
    """Return the default network, making its record when it is not there."""
    found = context.state.networks.find(DEFAULT)
    if found is not None:
        return found
    taken = host_subnets()
    with context.state.transaction():
        found = context.state.networks.find(DEFAULT)
        if found is None:
            taken += [
                subnet for item in context.state.networks.list() for subnet in subnets_of(item)
            ]
            found = Network(
                id=secrets.token_hex(32),
                name=DEFAULT,
                driver="bridge",
                link=names.default_link(context.layout.root),
                subnet4=ipam.make_subnet(ipam.choose_subnet4(taken)),
                resolves=False,
                created_at_ns=time.time_ns(),
            )
            context.state.networks.insert(found)
    return found


def normalize(context: Context, config: ContainerConfig) -> ContainerConfig:
    """Replace names by ids where a later rename must not matter: ``container:web``.

    A container in another's network has its host name too, as with Docker.

    Raises:
        NotFound: no such container.
        Invalid: the container wants names or servers of its own, which belong to the other.
    """
    kind, colon, reference = config.network_mode.partition(":")
    if kind != "container" or not colon:
        return config
    for what, given in (
        ("a host name", config.hostname or config.domainname),
        ("name servers", config.dns or config.dns_search or config.dns_options),
        ("hosts", config.extra_hosts),
    ):
        if given:
            raise Invalid(
                f"cannot set {what} with the network mode container",
                "they are those of the other container: leave the option out, or give it there",
            )
    other = context.state.containers.get(reference)
    config = msgspec.structs.replace(config, network_mode=f"container:{other.id}")
    if other.config.network_mode == "host":
        return config
    return msgspec.structs.replace(
        config,
        hostname=other.config.hostname or other.id[:12],
        domainname=other.config.domainname,
    )


def resolve(
    context: Context, config: ContainerConfig
) -> tuple[tuple[Network, EndpointConfig], ...]:
    """Return the networks that a new container shall be on, with its wishes.

    Raises:
        NotFound: there is no such network.
        Invalid: wishes that the network cannot fulfil.
    """
    mode = config.network_mode
    if mode in ("none", "host") or mode.startswith("container:"):
        check_connectable(config, "", adding=bool(config.networks[1:]))
        for what, given in (
            (f"join {config.networks[-1].network}" if config.networks else "", config.networks[1:]),
            ("publish ports", mode != "host" and (config.ports or config.publish_all)),
            ("limit bandwidth", config.rate_in_bytes or config.rate_out_bytes),
            ("restrict egress", config.egress is not None and mode != "none"),
        ):
            if given:
                raise Invalid(
                    f"cannot {what} with the network mode {kind_of(mode)}",
                    "use a bridge network, or leave the option out",
                )
        return ()
    wishes = config.networks or (EndpointConfig(),)
    found = [(find_network(context, mode), wishes[0])]
    found += [(find_network(context, wish.network), wish) for wish in wishes[1:]]
    for network, wish in found:
        _check_wishes(network, wish)
        check_controls(network, config)
    if len({network.id for network, _ in found}) < len(found):
        raise Invalid("a network is given twice")
    return tuple(
        (network, msgspec.structs.replace(wish, network=network.name)) for network, wish in found
    )


def remarks(config: ContainerConfig) -> tuple[str, ...]:
    """Return what a user may not expect of the network of a new container."""
    if config.network_mode == "host" and (config.ports or config.publish_all):
        return ("published ports are discarded when using host network mode",)
    return ()


def kind_of(mode: str) -> str:
    """The network mode as a word for messages."""
    return "container" if mode.startswith("container:") else mode


def _check_wishes(network: Network, wish: EndpointConfig) -> None:
    for text, subnet, family in (
        (wish.address4, network.subnet4, 4), (wish.address6, network.subnet6, 6),
    ):  # fmt: skip
        if text and subnet is None:
            raise Invalid(f"network {network.name} has no IPv{family} addresses for {text}")
        if text and ipam.parse_address(text, "address").version != family:
            raise Invalid(f"{text} is no IPv{family} address")
        if text and subnet is not None:
            ipam.choose_address(subnet, (), wanted=text)
    if wish.aliases and not network.resolves:
        raise Invalid(
            f"the network {network.name} resolves no names, so no aliases",
            "make a network with `proa network create` and use that",
        )


def check_controls(network: Network, config: ContainerConfig) -> None:
    """Refuse limits and policies where the host does not see what a container sends.

    Raises:
        Invalid: the network is a macvlan one.
    """
    if network.driver != "bridge" and (
        config.egress is not None or config.rate_in_bytes or config.rate_out_bytes
    ):
        raise Invalid(
            f"network {network.name} is a macvlan network: the host can neither limit nor restrict "
            "what passes there",
            "use a bridge network for containers with --egress, --rate-in or --rate-out",
        )


def check_connectable(config: ContainerConfig, name: str, *, adding: bool = True) -> None:
    """Refuse further networks for a container that has none of its own.

    Raises:
        Conflict: it shares the host's or another container's.
    """
    if not adding:
        return
    if config.network_mode == "host" or config.network_mode.startswith("container:"):
        who = f"container {name}" if name else "a container"
        raise Conflict(
            f"{who} with the network {config.network_mode} cannot be connected to another network"
        )


def subnets_of(network: Network) -> list[str]:
    """Return a network's subnets, one or two."""
    return [item.subnet for item in (network.subnet4, network.subnet6) if item is not None]


def host_subnets() -> list[str]:
    """Subnets that the host itself is on or has routes to."""
    try:
        with Netlink() as nl:
            found = [
                f"{item.destination}/{item.prefix}"
                for item in route.list_routes(nl)
                if item.destination
            ]
            found += [
                f"{item.address}/32" for item in address.list_addresses(nl)
                if ":" not in item.address
            ]  # fmt: skip
    except OSError as error:
        raise from_os_error(error, "cannot list the host's routes") from error
    return found


def endpoint_id(endpoint: Endpoint) -> str:
    """Docker's id of an endpoint: 64 hex digits, the same for the same container and network."""
    text = f"{endpoint.network_id}/{endpoint.container_id}"
    return hashlib.sha256(text.encode()).hexdigest()


def mac_of(endpoint: Endpoint) -> str:
    """Hardware address of an endpoint with addresses; empty without."""
    if endpoint.config.mac:
        return endpoint.config.mac
    found = endpoint.address4 or endpoint.address6
    return ipam.mac_of(found) if found else ""
