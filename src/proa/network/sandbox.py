"""A container's live network: its namespace, and the interfaces in it.

Crash rule: everything in the namespace, and the host's ends of its veths, go with the namespace,
which goes with its last process and descriptor. What stays on the host beyond that (shapers, port
and egress elements) has the container's id in its name or the engine's records and is swept by
whoever finds the container dead.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import msgspec

from proa.errors import Exhausted, ProaError, from_os_error
from proa.linux import netns
from proa.linux.netlink import address, link, route, sockdiag
from proa.linux.netlink.socket import Netlink
from proa.network.drivers import bridge, macvlan
from proa.network.drivers.driver import Driver
from proa.network.model import Attachment, Rates, SandboxRequest

_DRIVERS: dict[str, Driver] = {"bridge": bridge, "macvlan": macvlan}
_EXFULL = 54
_LOOPBACK = 1
"""The loopback interface is the first of every namespace."""


class NetworkSandbox:
    """Implements connecting and disconnecting for one namespace; owned by the supervisor.

    It is the :class:`~proa.network.drivers.driver.Wires` of its drivers.

    Attributes:
        container_id: 64 hex digits.
        netns_fd: descriptor of the namespace, owned by this object.
        attachments: what is connected, in order.
    """

    def __init__(self, request: SandboxRequest, netns_fd: int) -> None:
        """Take over a fresh namespace; nothing is connected yet.

        Args:
            netns_fd: taken over.
        """
        self.netns_fd = netns_fd
        self.attachments: list[Attachment] = []
        self.rates = request.rates
        self.container_id = request.container_id
        self._host: Netlink | None = None
        self._inside: Netlink | None = None

    @property
    def host(self) -> Netlink:
        """Route netlink of the host's namespace, opened by its first use."""
        if self._host is None:
            self._host = Netlink()
        return self._host

    @property
    def inside(self) -> Netlink:
        """Route netlink of the container's namespace, opened by its first use."""
        if self._inside is None:
            self._inside = Netlink(netns_fd=self.netns_fd)
        return self._inside

    def adopt(self, attachments: Sequence[Attachment]) -> None:
        """Know what another process connected."""
        self.attachments = list(attachments)

    def connect_all(self, attachments: Sequence[Attachment]) -> None:
        """Raise the loopback interface and connect several networks.

        Raises:
            ProaError: one could not be connected; the namespace is to be dropped.
        """
        try:
            link.set_up(self.inside, _LOOPBACK)
        except OSError as error:
            raise from_os_error(
                error, f"cannot raise the loopback interface of container {self.container_id[:12]}"
            ) from error
        for attachment in attachments:
            self.connect(attachment)

    def connect(self, attachment: Attachment) -> None:
        """Put the container on a network: interface, addresses, routes, limits.

        Raises:
            Exhausted: the bridge has no port left.
            ProaError: any other kind; nothing of the interface is left.
        """
        network = attachment.network
        try:
            _DRIVERS[network.driver].plug(self, attachment)
            try:
                self._configure(attachment)
            except BaseException:
                self._remove(attachment)
                raise
        except OSError as error:
            raise self._translate(error, attachment) from error
        self.attachments.append(attachment)

    def disconnect(self, network_id: str) -> Attachment | None:
        """Take the container off a network; None when it is not on it.

        Raises:
            ProaError: the interface cannot be removed.
        """
        for attachment in self.attachments:
            if attachment.network.id == network_id:
                try:
                    self._remove(attachment)
                except OSError as error:
                    raise self._translate(error, attachment) from error
                self.attachments.remove(attachment)
                if attachment.gateway4:
                    self._promote(six=False)
                if attachment.gateway6:
                    self._promote(six=True)
                return attachment
        return None

    def limit(self, rates: Rates) -> None:
        """Change the bandwidth on all networks.

        Raises:
            ProaError: the kernel cannot do it.
        """
        self.rates = rates
        try:
            for attachment in self.attachments:
                network = attachment.network
                _DRIVERS[network.driver].limit(self, network, rates)
        except OSError as error:
            raise from_os_error(
                error, f"cannot limit the bandwidth of container {self.container_id[:12]}"
            ) from error

    def close(self, *, shared: bool = False) -> None:
        """Let go of the namespace; the kernel removes it once nobody uses it. Idempotent.

        That takes the interfaces along. It is waited for nowhere, and an interface is deleted here
        only if it would stay, with an address that others may get: while somebody shares the
        namespace, or a connection of the dead waits for its last acknowledgements (minutes, if the
        other side is gone). The host's interfaces that shape always stay.

        Args:
            shared: another container is in the namespace.
        """
        if self.netns_fd < 0:
            return
        try:
            if shared or self.rates.out_bytes or self._lingers():
                for attachment in self.attachments:
                    self._remove(attachment)
        except OSError:
            # The namespace goes later then, and its interfaces with it.
            pass
        self.forget()

    def forget(self) -> None:
        """Close this process' descriptors; another process has its own. Idempotent."""
        if self.netns_fd < 0:
            return
        for nl in (self._host, self._inside):
            if nl is not None:
                nl.close()
        self._host = self._inside = None
        os.close(self.netns_fd)
        self.netns_fd = -1

    def _lingers(self) -> bool:
        try:
            return sockdiag.has_connections(self.netns_fd)
        except OSError:
            # A kernel without inet_diag: better slow than wrong.
            return True

    def _configure(self, attachment: Attachment) -> None:
        network, interface = attachment.network, attachment.interface
        nl = self.inside
        found = link.find(nl, interface)
        if found is None:
            raise OSError(19, os.strerror(19), interface)
        self._quiet_ipv6(attachment)
        for text, subnet in (
            (attachment.address4, network.subnet4), (attachment.address6, network.subnet6),
        ):  # fmt: skip
            if text and subnet is not None:
                address.add(nl, found.ifindex, text, subnet.prefix)
        link.set_up(nl, found.ifindex)
        self._add_default_routes(attachment, found.ifindex)
        if self.rates.in_bytes or self.rates.out_bytes:
            _DRIVERS[network.driver].limit(self, network, self.rates)

    def _quiet_ipv6(self, attachment: Attachment) -> None:
        """No IPv6 where the network has none; never listen to router advertisements."""
        base = f"ipv6/conf/{attachment.interface}"
        try:
            if attachment.address6:
                netns.write_sysctl(self.netns_fd, f"{base}/accept_ra", "0")
                netns.write_sysctl(self.netns_fd, f"{base}/disable_ipv6", "0")
            else:
                netns.write_sysctl(self.netns_fd, f"{base}/disable_ipv6", "1")
        except FileNotFoundError:
            # The kernel has no IPv6.
            return

    def _add_default_routes(self, attachment: Attachment, ifindex: int) -> None:
        network = attachment.network
        for wanted, subnet in (
            (attachment.gateway4, network.subnet4), (attachment.gateway6, network.subnet6),
        ):  # fmt: skip
            if wanted and subnet is not None:
                try:
                    route.add(self.inside, index=ifindex, gateway=subnet.gateway)
                except FileExistsError:
                    continue

    def _promote(self, *, six: bool) -> None:
        """After the network with a default route has gone, lead it through the next."""
        for position, attachment in enumerate(self.attachments):
            address = attachment.address6 if six else attachment.address4
            if attachment.network.internal or not address:
                continue
            found = link.find(self.inside, attachment.interface)
            if found is not None:
                flag = "gateway6" if six else "gateway4"
                promoted = msgspec.structs.replace(attachment, **{flag: True})
                self.attachments[position] = promoted
                self._add_default_routes(promoted, found.ifindex)
            return

    def _remove(self, attachment: Attachment) -> None:
        _DRIVERS[attachment.network.driver].unplug(self, attachment)

    def _translate(self, error: OSError, attachment: Attachment) -> ProaError:
        name = attachment.network.name
        doing = f"cannot connect container {self.container_id[:12]} to network {name}"
        if error.errno == _EXFULL:
            return Exhausted(f"{doing}: its bridge has 1023 containers", "use another network")
        return from_os_error(error, doing)
