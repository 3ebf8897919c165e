"""``engine.networks``: the verbs on networks, bound to an engine."""

from __future__ import annotations

import builtins
import re
import secrets
import time
from collections.abc import Mapping, Sequence

import msgspec

from proa.engine import attachments, firewalling, networkoptions
from proa.engine.config import EndpointConfig
from proa.engine.containers.lifecycle import get as get_container
from proa.engine.context import Context
from proa.engine.ipc import control, wire
from proa.engine.model import EventRecord
from proa.engine.networkfilters import NetworkFilter
from proa.engine.prunefilters import PruneFilter
from proa.engine.state import Endpoint
from proa.errors import Conflict, Invalid, Unsupported, from_os_error
from proa.linux.netlink import link
from proa.linux.netlink.socket import Netlink
from proa.network import ipam, names
from proa.network.drivers import bridge
from proa.network.model import Network, PortMapping, Subnet

WORDS = ("default", "host", "none")
_ALIVE = ("running", "paused", "restarting")
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
_LONGEST_NAME = 128


class NetworkOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What ``network create`` asks for.

    Attributes:
        subnets: ``ADDRESS/PREFIX``, at most one a family; empty: an IPv4 one is chosen.
        gateways, ip_ranges: each belongs to the subnet that it lies in.
        reserved: addresses that containers never get.
        parent: host interface of macvlan.
    """

    driver: str = "bridge"
    subnets: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ()
    ip_ranges: tuple[str, ...] = ()
    reserved: tuple[str, ...] = ()
    ipv4: bool = True
    ipv6: bool = False
    internal: bool = False
    isolated: bool = True
    labels: Mapping[str, str] = {}
    options: Mapping[str, str] = {}
    parent: str = ""


class Networks:
    """Verbs on the networks of one engine."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def create(self, name: str, options: NetworkOptions | None = None) -> str:
        """Make a network and return its id; its bridge is made with the first container.

        Raises:
            Conflict: the name is in use, or the subnet.
            Invalid: an option is wrong.
            Unsupported: there is no such driver.
        """
        _check_name(name)
        wanted = options or NetworkOptions()
        network_id = secrets.token_hex(32)
        self._context.layout.ensure()
        with self._context.state.transaction():
            if self._context.state.networks.find(name) is not None:
                raise Conflict(f"network {name} exists already")
            network = _describe(self._context, network_id, name, wanted)
            self._context.state.networks.insert(network)
            self._context.state.events.append(_event(network, "create"))
        return network_id

    def list(self, filters: Mapping[str, Sequence[str]] | None = None) -> list[Network]:
        """Return networks, oldest first; the default one is made if it is not there.

        Args:
            filters: ``name`` (a part of it) and ``id`` (its beginning), ``driver``, ``label``
                (``name[=value]``), ``type`` (``builtin`` or ``custom``), ``dangling``, ``scope``.

        Raises:
            Invalid: an unknown filter.
        """
        self._context.layout.ensure()
        attachments.ensure_default(self._context)
        chosen = NetworkFilter(
            filters or {},
            default=attachments.DEFAULT,
            is_used=lambda network: bool(self.endpoints(network.id)),
        )
        return [item for item in self._context.state.networks.list() if chosen.matches(item)]

    def get(self, reference: str) -> Network:
        """Return a network by name, id or prefix of its id.

        Raises:
            NotFound: there is none.
        """
        return attachments.find_network(self._context, reference)

    def endpoints(self, network_id: str) -> Sequence[Endpoint]:
        """Return who is on a network, running or not."""
        return self._context.state.networks.endpoints_on(network_id)

    def published(self) -> dict[str, builtins.list[PortMapping]]:
        """Return the published ports of all running containers by container id."""
        found: dict[str, builtins.list[PortMapping]] = {}
        for item in self._context.state.networks.ports():
            found.setdefault(item.container_id, []).append(item.mapping)
        return found

    def inspect(self, reference: str) -> dict[str, object]:
        """Return what ``docker network inspect`` shows."""
        network = self.get(reference)
        return _inspect(network, self.endpoints(network.id))

    def remove(self, reference: str) -> str:
        """Remove a network that no running container is on, and its bridge.

        Returns:
            Its name.

        Raises:
            NotFound: there is none.
            Conflict: a container uses it, or it is the default network.
        """
        network = self.get(reference)
        if network.name == attachments.DEFAULT:
            raise Conflict("the default network cannot be removed")
        self._remove(network)
        return network.name

    def connect(self, reference: str, container: str, config: EndpointConfig) -> None:
        """Put a container on a network, at once if it runs.

        Raises:
            Conflict: it is on it already, an address is in use, or it has no network of its own.
        """
        network = self.get(reference)
        record = get_container(self._context, container)
        attachments.check_connectable(record.config, record.name)
        attachments.check_controls(network, record.config)
        config = msgspec.structs.replace(config, network=network.name)
        self._context.state.networks.connect(network.id, record.id, config)
        if record.state.status not in _ALIVE:
            return
        try:
            _synchronize(self._context, record.id)
        except BaseException:
            self._context.state.networks.disconnect(network.id, record.id)
            raise
        self._context.state.events.append(_event(network, "connect", record.id))

    def disconnect(self, reference: str, container: str, *, force: bool = False) -> None:
        """Take a container off a network, at once if it runs.

        Raises:
            Conflict: it is not on it.
        """
        network = self.get(reference)
        record = get_container(self._context, container)
        if not self._context.state.networks.disconnect(network.id, record.id):
            if force:
                return
            raise Conflict(f"container {container} is not on network {network.name}")
        if record.state.status in _ALIVE:
            _synchronize(self._context, record.id)
        self._context.state.events.append(_event(network, "disconnect", record.id))

    def prune(
        self,
        *,
        everything: bool = False,
        filters: Mapping[str, Sequence[str]] | None = None,
    ) -> builtins.list[str]:
        """Remove the networks that no container is on; return their names.

        The bridge of the default network and the engine's firewall table go too when nobody uses
        them; they come back with the next container.

        Args:
            everything: unused by the command line; networks of stopped containers too.
            filters: ``until``, ``label`` and ``label!``.

        Raises:
            Invalid: an unknown filter.
        """
        chosen = PruneFilter(filters)
        removed = []
        for network in self._context.state.networks.list():
            endpoints = self.endpoints(network.id)
            used = any(item.address4 or item.address6 for item in endpoints)
            if used or (endpoints and not everything):
                continue
            if not chosen.passes(network.labels, network.created_at_ns):
                continue
            if network.name != attachments.DEFAULT:
                self._remove(network)
                removed.append(network.name)
        self._take_down()
        return removed

    def _remove(self, network: Network) -> None:
        self._context.state.networks.delete(network.id)
        self._context.state.events.append(_event(network, "destroy"))
        if network.driver != "bridge":
            return
        try:
            with Netlink() as nl:
                bridge.remove_link(nl, network)
            firewalling.forget_network(self._context, network)
        except OSError as error:
            raise from_os_error(error, f"cannot remove the link of {network.name}") from error

    def _take_down(self) -> None:
        """Remove the default bridge and the table unless a container has an address."""
        table = self._context.state.networks
        if any(
            item.address4 or item.address6
            for network in table.list()
            for item in table.endpoints_on(network.id)
        ):
            return
        try:
            with Netlink() as nl:
                for network in table.list():
                    if network.driver == "bridge":
                        bridge.remove_link(nl, network)
            firewalling.take_down(self._context)
        except OSError as error:
            raise from_os_error(error, "cannot take the engine's networks down") from error


def _describe(context: Context, network_id: str, name: str, wanted: NetworkOptions) -> Network:
    if wanted.driver not in ("bridge", "macvlan"):
        raise Unsupported(f"there is no network driver '{wanted.driver}'", "use bridge or macvlan")
    taken = [
        text for item in context.state.networks.list() for text in attachments.subnets_of(item)
    ]
    subnets = _choose_subnets(network_id, wanted, taken)
    options = dict(wanted.options)
    networkoptions.check_options(options)
    macvlan = wanted.driver == "macvlan"
    parent = wanted.parent or options.get("parent", "")
    if macvlan and not parent:
        raise Invalid("a macvlan network needs a host interface", "give it with -o parent=eth0")
    mode = options.get("macvlan_mode", options.get("mode", "bridge"))
    if macvlan and mode not in link.MACVLAN_MODES:
        raise Invalid(f"invalid macvlan mode '{mode}'", f"use {', '.join(link.MACVLAN_MODES)}")
    return Network(
        id=network_id,
        name=name,
        driver=wanted.driver,
        link=parent if macvlan else _link_of(context, network_id, options),
        subnet4=subnets.get(4),
        subnet6=subnets.get(6),
        internal=wanted.internal,
        isolated=wanted.isolated and networkoptions.is_isolated(options),
        talks=networkoptions.talks(options),
        masquerade=networkoptions.masquerades(options),
        mtu=networkoptions.read_mtu(options),
        mode=mode if macvlan else "bridge",
        labels=dict(wanted.labels),
        options=options,
        created_at_ns=time.time_ns(),
    )


def _link_of(context: Context, network_id: str, options: Mapping[str, str]) -> str:
    """Name of a new network's bridge; one that is not made yet belongs to its network already."""
    chosen = networkoptions.choose_link(options, names.network_link(network_id))
    for other in context.state.networks.list():
        if other.driver == "bridge" and other.link == chosen:
            raise Conflict(f"the bridge {chosen} is that of the network {other.name}")
    return chosen


def _choose_subnets(
    network_id: str, wanted: NetworkOptions, taken: Sequence[str]
) -> dict[int, Subnet]:
    subnets: dict[int, Subnet] = {}
    for text in wanted.subnets:
        parsed = ipam.parse_network(text, "subnet")
        if parsed.version in subnets:
            raise Invalid(f"two IPv{parsed.version} subnets", "make a network for each")
        ipam.check_overlap(text, taken)

        def inside(items: Sequence[str], version: int = parsed.version) -> list[str]:
            return [item for item in items if (":" in item) == (version == 6)]

        subnets[parsed.version] = ipam.make_subnet(
            text,
            gateway=next(iter(inside(wanted.gateways)), ""),
            ip_range=next(iter(inside(wanted.ip_ranges)), ""),
            reserved=inside(wanted.reserved),
        )
    if 4 not in subnets and wanted.ipv4:
        chosen = ipam.choose_subnet4([*taken, *attachments.host_subnets()])
        subnets[4] = ipam.make_subnet(chosen)
    if 6 not in subnets and wanted.ipv6:
        subnets[6] = ipam.make_subnet(ipam.unique_local_subnet(network_id))
    if not subnets:
        raise Invalid("a network without addresses is of no use", "leave out --ipv4=false")
    return subnets


def _check_name(name: str) -> None:
    if name in WORDS or name == attachments.DEFAULT:
        raise Conflict(f"the name {name} is reserved")
    if not _NAME.fullmatch(name) or len(name) > _LONGEST_NAME:
        raise Invalid(
            f"invalid network name '{name}'",
            "use letters, digits, '_', '.' and '-', a letter or digit first",
        )


def _synchronize(context: Context, container_id: str) -> None:
    """Ask the container's supervisor to make its network what the records say."""
    peer = control.connect(context.layout, container_id)
    if peer is None:
        return
    with peer:
        control.ask(peer, wire.SyncNetwork())


def _event(network: Network, action: str, container_id: str = "") -> EventRecord:
    attributes = {"name": network.name, "type": network.driver}
    if container_id:
        attributes["container"] = container_id
    return EventRecord(
        sequence=0,
        time_ns=time.time_ns(),
        type="network",
        action=action,
        actor_id=network.id,
        attributes=attributes,
    )


def _inspect(network: Network, endpoints: Sequence[Endpoint]) -> dict[str, object]:
    from proa.units import format_rfc3339_ns

    configured = []
    for subnet in (network.subnet4, network.subnet6):
        if subnet is not None:
            item = {"Subnet": subnet.subnet, "Gateway": subnet.gateway}
            if subnet.ip_range:
                item["IPRange"] = subnet.ip_range
            configured.append(item)
    options = dict(network.options)
    if network.driver == "bridge":
        options.setdefault("com.docker.network.bridge.name", network.link)
    return {
        "Name": network.name,
        "Id": network.id,
        "Created": format_rfc3339_ns(network.created_at_ns),
        "Scope": "local",
        "Driver": network.driver,
        "EnableIPv4": network.subnet4 is not None,
        "EnableIPv6": network.subnet6 is not None,
        "IPAM": {"Driver": "default", "Options": {}, "Config": configured},
        "Internal": network.internal,
        "Attachable": False,
        "Ingress": False,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": False,
        "Containers": {
            item.container_id: {
                "Name": item.container_name,
                "EndpointID": attachments.endpoint_id(item),
                "MacAddress": attachments.mac_of(item),
                "IPv4Address": _with_prefix(item.address4, network.subnet4),
                "IPv6Address": _with_prefix(item.address6, network.subnet6),
            }
            for item in endpoints
            if item.address4 or item.address6
        },
        "Options": options,
        "Labels": dict(network.labels),
    }


def _with_prefix(text: str, subnet: Subnet | None) -> str:
    return f"{text}/{subnet.prefix}" if text and subnet is not None else ""
