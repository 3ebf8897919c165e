"""A container's network while it is alive: what its supervisor does for it.

Order at the start: host ports are held, then addresses and ports are recorded in one transaction,
then the firewall knows them, then (in the moment between the namespace's birth and the container's
first step) the interfaces are made. At the end the ports are given back before the end is recorded;
the record of the end releases the addresses; the namespace goes last.

The records say what shall be; :meth:`ContainerNetwork.synchronize` makes it so. That is how
networks and ports change while the container runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec

from proa.engine import firewalling
from proa.engine.attachments import mac_of
from proa.engine.compose import files
from proa.engine.compose.ports import wanted_ports
from proa.engine.compose.sharing import CONTAINER
from proa.engine.config import ContainerConfig, EndpointConfig
from proa.engine.context import Context
from proa.engine.model import ContainerRecord
from proa.engine.networkoptions import BINDING
from proa.engine.state import Endpoint
from proa.engine.supervisor.hibernation import KeptNetwork
from proa.engine.supervisor.loop import READ, Loop, Timer
from proa.engine.supervisor.ports import HeldPorts
from proa.errors import ProaError, from_os_error
from proa.image.model import Image
from proa.linux.netlink.nflog import PacketLog
from proa.linux.netlink.socket import Netlink
from proa.network.dns.server import DnsServer
from proa.network.egress import ContainerEgress
from proa.network.firewall import Firewall, PortTarget
from proa.network.model import Attachment, Network, PortMapping, Rates, SandboxRequest
from proa.network.portmap import WantedPort
from proa.network.sandbox import NetworkSandbox

if TYPE_CHECKING:
    from proa.engine.supervisor.names import ContainerNames
    from proa.network.dns.resolver import Resolver

_RESTORE_DELAY_S = 0.05
"""After a flush: whoever flushes usually loads something at once; let that go first."""


class ContainerNetwork:
    """The networks of one container; does nothing for ``none``, ``host`` and ``container:``."""

    def __init__(self, context: Context, record: ContainerRecord, image: Image, loop: Loop) -> None:
        self._context = context
        self._id = record.id
        self._record = record
        self._image = image
        self._loop = loop
        self._active = has_networks(record.config)
        self._ports = HeldPorts(loop, self._recorded_ports)
        self._endpoints: list[Endpoint] = []
        self._networks: dict[str, Network] = {}
        self._targets: list[PortTarget] = []
        self._egress: ContainerEgress | None = None
        self._firewall: Firewall | None = None
        self._sandbox: NetworkSandbox | None = None
        self._watch: Netlink | None = None
        self._restore_timer: Timer | None = None
        self._dns: DnsServer | None = None
        self._resolver: Resolver | None = None
        self._denied: PacketLog | None = None

    # -- start -------------------------------------------------------------------------------------

    def prepare(self) -> Callable[[int], None] | None:
        """Decide and record addresses and ports; nothing of the container exists yet.

        Returns:
            What is to be called with the container's network namespace; None without networks.

        Raises:
            Conflict: a host port or an address is in use.
            ProaError: any other kind; what was recorded goes with the container's state.
        """
        if not self._active:
            self._borrow_files()
            return None
        if not self._ports.held:
            self._ports.change(self._wanted())
        self._decide(publish=bool(self._ports.held))
        return self._connect

    def serve(self) -> None:
        """Answer names and guard the firewall from now on."""
        if self._sandbox is None:
            return
        self._ensure_dns()
        self._ports.serve(self._find_proxy_target)
        if self._firewall is not None and self._watch is None:
            self._watch = self._firewall.watch()
            self._loop.add(self._watch.fileno(), READ, self._on_rules_deleted)
        if self._egress is not None and self._denied is None:
            self._open_denied_log()
        if self._egress is None and self._denied is not None:
            self._loop.remove(self._denied.fileno())
            self._denied.close()
            self._denied = None

    # -- sleep -------------------------------------------------------------------------------------

    @property
    def kept(self) -> KeptNetwork | None:
        """What a keeper has to hold of it; None for nothing."""
        if self._sandbox is None:
            return None
        datagrams, listener = self._dns.fds if self._dns is not None else (-1, -1)
        return KeptNetwork(
            netns=self._sandbox.netns_fd,
            watch=self._watch.fileno() if self._watch is not None else -1,
            datagrams=datagrams,
            listener=listener,
            denied=self._denied.fileno() if self._denied is not None else -1,
            ports=tuple((item.fileno(), item.mapping) for item in self._ports.held),
            companions=tuple((item.fileno(), item.mapping) for item in self._ports.companions),
            attachments=tuple(self._sandbox.attachments),
        )

    def resume(self, kept: KeptNetwork) -> None:
        """Go on where another process left off; the descriptors are taken over."""
        self._ports.adopt(kept)
        attachments = kept.attachments
        self._endpoints = [self._endpoint_of(item) for item in attachments]
        self._networks = {item.network.id: item.network for item in attachments}
        request = SandboxRequest(
            container_id=self._id, attachments=attachments, rates=self._rates()
        )
        self._sandbox = NetworkSandbox(request, kept.netns)
        self._sandbox.adopt(attachments)
        if any(item.driver == "bridge" for item in self._networks.values()):
            self._firewall = firewalling.open_firewall(self._context)
        self._targets = self._find_targets()
        self._egress = firewalling.container_egress(self._record, self._endpoints)
        if kept.datagrams >= 0:
            self._dns = DnsServer.adopt(self._loop, self._ask, kept.datagrams, kept.listener)
        if kept.watch >= 0:
            self._watch = Netlink.adopt(kept.watch)
            self._loop.add(kept.watch, READ, self._on_rules_deleted)
        if kept.denied >= 0:
            self._denied = PacketLog.adopt(kept.denied)
            self._loop.add(kept.denied, READ, self._on_denied)
        self._ports.serve(self._find_proxy_target)

    def forget(self) -> None:
        """Close this process' descriptors and change nothing; the keeper goes on. Idempotent."""
        self._ports.close()
        if self._sandbox is not None:
            self._sandbox.forget()
            self._sandbox = None
        self.stop()
        if self._firewall is not None:
            self._firewall.close()
            self._firewall = None

    # -- change ------------------------------------------------------------------------------------

    def synchronize(self, config: ContainerConfig) -> None:
        """Make the live network what the records say now.

        Args:
            config: the container's, with its ports and rates.

        Raises:
            Conflict: an address or a port is in use.
            ProaError: a network cannot be connected; the others are.
        """
        sandbox = self._sandbox
        if sandbox is None:
            return
        self._record = msgspec.structs.replace(self._record, config=config)
        self._ports.change(self._wanted())
        try:
            self._decide(publish=True)
            wanted = {item.network.id: item for item in self._attachments()}
            present = {item.network.id for item in sandbox.attachments}
            for network_id in present - wanted.keys():
                sandbox.disconnect(network_id)
            self._apply_firewall()
            for network_id, attachment in wanted.items():
                if network_id not in present:
                    sandbox.connect(attachment)
            rates = self._rates()
            if rates != sandbox.rates:
                sandbox.limit(rates)
        except OSError as error:
            raise from_os_error(
                error, f"cannot change the network of container {self._id[:12]}"
            ) from error
        self.serve()

    # -- end ---------------------------------------------------------------------------------------

    def release(self) -> None:
        """Give ports and rules back, before the end is told. Idempotent."""
        firewall = self._firewall
        try:
            if firewall is not None and self._targets:
                firewall.unpublish(self._targets)
            if firewall is not None and self._egress is not None:
                firewall.unrestrict(self._egress)
        except OSError:
            # The table is restored from records, which will not have this container.
            pass
        self._targets = []
        self._egress = None
        self._ports.close()

    def stop(self) -> None:
        """Drop the namespace of a run that has ended; ports and addresses stay. Idempotent."""
        self._ports.hang_up()
        for closing in (self._dns, self._denied):
            if closing is not None:
                closing.close()
        if self._resolver is not None:
            self._resolver.close()
        self._dns = self._denied = self._resolver = None
        if self._watch is not None:
            self._loop.remove(self._watch.fileno())
            self._watch.close()
            self._watch = None
        if self._restore_timer is not None:
            self._restore_timer.cancel()
            self._restore_timer = None
        if self._sandbox is not None:
            self._sandbox.close(shared=self._is_shared())
            self._sandbox = None

    def close(self) -> None:
        """Let go of everything. Idempotent."""
        self.release()
        self.stop()
        if self._firewall is not None:
            self._firewall.close()
            self._firewall = None

    # -- parts -------------------------------------------------------------------------------------

    def _is_shared(self) -> bool:
        try:
            return self._context.state.networks.is_shared(self._id)
        except ProaError:
            # Unknown: what is deleted for nothing would have gone a moment later.
            return True

    @property
    def _durable(self) -> bool:
        return not self._record.config.auto_remove

    def _borrow_files(self) -> None:
        """With another container's network its names and servers are the right ones too."""
        mode = self._record.config.network_mode
        if mode.startswith(CONTAINER):
            layout = self._context.layout
            other = mode.removeprefix(CONTAINER)
            files.borrow_network(layout.container(self._id), layout.container(other), self._id)

    def _recorded_ports(self) -> set[int]:
        return {item.mapping.host_port for item in self._context.state.networks.ports()}

    def _wanted(self) -> list[WantedPort]:
        config = self._record.config
        if not config.ports and not config.publish_all:
            return []
        tables = self._context.state.networks
        found = [tables.get(item.network_id) for item in tables.endpoints_of(self._id)]
        networks = [item for item in found if item.driver == "bridge" and not item.internal]
        return wanted_ports(
            config,
            tuple(self._image.config.config.exposed_ports),
            ipv4=any(item.subnet4 is not None for item in networks),
            ipv6=any(item.subnet6 is not None for item in networks),
            default_ip=next((item.options.get(BINDING, "") for item in networks), ""),
        )

    def _decide(self, *, publish: bool) -> None:
        """Allocate addresses and record ports; then the container's files say the same."""
        tables = self._context.state.networks
        with self._context.state.transaction(durable=self._durable):
            self._endpoints = tables.allocate(self._id, durable=self._durable)
            if publish:
                tables.publish(self._id, self._ports.mappings, durable=self._durable)
        self._networks = {
            endpoint.network_id: tables.get(endpoint.network_id) for endpoint in self._endpoints
        }
        files.save_network(
            self._context.layout.container(self._id),
            self._record.config,
            self._id,
            self._endpoints,
            list(self._networks.values()),
        )

    def _connect(self, netns_fd: int) -> None:
        """Equip the container's new namespace; the descriptor is taken over."""
        attachments = self._attachments()
        request = SandboxRequest(
            container_id=self._id, attachments=tuple(attachments), rates=self._rates()
        )
        self._sandbox = NetworkSandbox(request, netns_fd)
        try:
            self._apply_firewall()
        except OSError as error:
            raise from_os_error(
                error,
                f"cannot set the firewall of container {self._id[:12]}",
                "the kernel needs nf_tables with NAT (CONFIG_NF_TABLES, CONFIG_NFT_NAT, NFT_FIB)",
            ) from error
        self._sandbox.connect_all(attachments)
        self._ensure_dns()

    def _apply_firewall(self) -> None:
        """Let the table know the networks, ports and policy of this container.

        Raises:
            OSError: the kernel refuses it.
        """
        bridges = [item for item in self._networks.values() if item.driver == "bridge"]
        if not bridges:
            return
        if self._firewall is None:
            self._firewall = firewalling.open_firewall(self._context)
        firewall = self._firewall
        firewall.add_networks(bridges)
        targets = self._find_targets()
        firewall.unpublish([item for item in self._targets if item not in targets])
        firewall.publish(targets)
        self._targets = targets
        egress = firewalling.container_egress(self._record, self._endpoints)
        if egress != self._egress:
            if self._egress is not None:
                firewall.unrestrict(self._egress)
            if egress is not None:
                firewall.restrict(egress)
                if self._sandbox is not None and self._sandbox.attachments:
                    firewall.cut(egress)
            self._egress = egress

    def _endpoint_of(self, attachment: Attachment) -> Endpoint:
        """The endpoint that an interface was made from."""
        return Endpoint(
            network_id=attachment.network.id,
            container_id=self._id,
            container_name=self._record.name,
            position=int(attachment.interface.removeprefix("eth")),
            address4=attachment.address4,
            address6=attachment.address6,
            config=EndpointConfig(network=attachment.network.name, mac=attachment.mac),
        )

    def _find_targets(self) -> list[PortTarget]:
        found = (
            firewalling.port_target(mapping, self._endpoints, self._networks)
            for mapping in self._ports.mappings
        )
        return [item for item in found if item is not None]

    def _find_proxy_target(self, mapping: PortMapping) -> tuple[str, int] | None:
        return firewalling.proxy_target(mapping, self._endpoints, self._networks)

    def _attachments(self) -> list[Attachment]:
        gateway4 = _gateway_of(self._endpoints, self._networks, six=False)
        gateway6 = _gateway_of(self._endpoints, self._networks, six=True)
        return [
            Attachment(
                network=self._networks[endpoint.network_id],
                interface=f"eth{endpoint.position}",
                address4=endpoint.address4,
                address6=endpoint.address6,
                mac=mac_of(endpoint),
                gateway4=endpoint is gateway4,
                gateway6=endpoint is gateway6,
            )
            for endpoint in self._endpoints
        ]

    def _rates(self) -> Rates:
        config = self._record.config
        return Rates(in_bytes=config.rate_in_bytes, out_bytes=config.rate_out_bytes)

    # -- names -------------------------------------------------------------------------------------

    def _ensure_dns(self) -> None:
        """Open the resolver's sockets if this container's resolv.conf names it."""
        if self._dns is not None or self._sandbox is None:
            return
        if not files.uses_resolver(self._record.config, list(self._networks.values())):
            return
        try:
            self._dns = DnsServer.open(self._loop, self._sandbox.netns_fd, self._ask)
        except OSError as error:
            raise from_os_error(
                error, f"cannot serve names to container {self._id[:12]}"
            ) from error

    def _ask(self, data: bytes, reply: Callable[[bytes], None], *, stream: bool) -> None:
        if self._resolver is None:
            from proa.network.dns.resolver import Resolver

            self._resolver = Resolver(self._loop, self._names())
        try:
            self._resolver.ask(data, reply, stream=stream)
        except ProaError:
            # The records cannot be read at the moment: the asker will ask again.
            return

    def _names(self) -> ContainerNames:
        from proa.engine.supervisor.names import ContainerNames

        return ContainerNames(
            self._context, lambda: (self._record.config, self._networks), self._admit
        )

    def _admit(self, addresses: Sequence[str], ttl_s: int) -> None:
        if self._firewall is not None and self._egress is not None:
            self._firewall.admit(self._egress, addresses, ttl_s + _ADMITTED_LONGER_S)

    # -- guard -------------------------------------------------------------------------------------

    def _on_rules_deleted(self, _events: int) -> None:
        assert self._watch is not None
        try:
            self._watch.notifications()
        except OSError:
            # Too many at once; what was lost said the same.
            pass
        if self._restore_timer is None:
            self._restore_timer = self._loop.call_later(_RESTORE_DELAY_S, self._restore)

    def _restore(self) -> None:
        self._restore_timer = None
        if self._firewall is None:
            return
        try:
            self._firewall.ensure()
        except (OSError, ProaError):
            # Somebody holds the lock, or is still flushing: look again.
            self._restore_timer = self._loop.call_later(1.0, self._restore)

    def _open_denied_log(self) -> None:
        assert self._egress is not None
        try:
            log = PacketLog(self._egress.group)
        except OSError:
            # Another container has the same group: its denials are counted, not told.
            return
        self._denied = log
        self._loop.add(log.fileno(), READ, self._on_denied)

    def _on_denied(self, _events: int) -> None:
        from proa.engine.supervisor.names import denied_event

        if self._denied is None:
            return
        for packet in self._denied.read():
            event = denied_event(self._record, packet)
            if event is not None:
                self._context.state.events.append(event, durable=False)


_ADMITTED_LONGER_S = 300
"""A program may go on using an address for a while after its answer has expired."""


def has_networks(config: ContainerConfig) -> bool:
    """Whether a container has networks of its own."""
    mode = config.network_mode
    return mode not in ("none", "host") and not mode.startswith(CONTAINER)


def _gateway_of(
    endpoints: Sequence[Endpoint], networks: dict[str, Network], *, six: bool
) -> Endpoint | None:
    """The endpoint that a family's default route leads through: highest priority, then first."""
    open_ones = [
        item
        for item in endpoints
        if not networks[item.network_id].internal and (item.address6 if six else item.address4)
    ]
    if not open_ones:
        return None
    return max(open_ones, key=lambda item: (item.config.gateway_priority, -item.position))
