"""The container's network namespace on the host, and its interfaces passed on to the guest.

The engine equips a namespace for a container of either isolation in the same way: interfaces with
addresses and routes, firewall, rate limits, a resolver. For a guest a tap device is put beside each
interface, and every frame that arrives at one leaves through the other; the guest's card has the
interface's hardware address, and its system the addresses and routes::

    bridge -- veth ==(tc mirred)== tap -- QEMU -- eth0 in the guest

The namespace's own stack sees nothing of it; what the engine listens on there (the resolver) is
reached through the channel (:mod:`proa.vm.resolver`).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NamedTuple

from proa.errors import from_os_error
from proa.linux import netns, tuntap
from proa.linux.netlink import address, link, route, tc
from proa.linux.netlink.socket import Netlink
from proa.vm.agent.messages import Interface

_LOOPBACK = 1
_AF_INET6 = 10
_LINK_LOCAL = "fe80:"


class Card(NamedTuple):
    """One interface of the guest: what it is told, and QEMU's side of it."""

    interface: Interface
    tap_fd: int


class GuestNetwork:
    """A namespace for one guest.

    Attributes:
        netns_fd: the namespace, owned by this object.
        cards: in the order of the interfaces' names.
    """

    def __init__(self, on_network: Callable[[int], None]) -> None:
        """Make the namespace, let the engine equip it, put taps beside its interfaces.

        Args:
            on_network: gets a descriptor of the namespace, taken over by it.

        Raises:
            ProaError: any kind; nothing is left.
        """
        self.cards: list[Card] = []
        try:
            self.netns_fd = netns.make()
        except OSError as error:
            raise from_os_error(error, "cannot make a network namespace for a guest") from error
        try:
            on_network(os.dup(self.netns_fd))
            with Netlink(netns_fd=self.netns_fd) as nl:
                for found in sorted(link.list_links(nl), key=lambda item: item.name):
                    if found.ifindex != _LOOPBACK:
                        self.cards.append(self._pass_on(nl, found))
        except OSError as error:
            self.close()
            raise from_os_error(
                error,
                "cannot connect a guest to its networks",
                "the kernel needs CONFIG_TUN, CONFIG_NET_CLS_U32 and CONFIG_NET_ACT_MIRRED",
            ) from error
        except BaseException:
            self.close()
            raise

    def close_taps(self) -> None:
        """QEMU has them now. Idempotent."""
        self.cards = [self._without_tap(card) for card in self.cards]

    def close(self) -> None:
        """Let go of the namespace; the kernel removes it with its last user. Idempotent."""
        self.close_taps()
        if self.netns_fd >= 0:
            os.close(self.netns_fd)
            self.netns_fd = -1

    @staticmethod
    def _without_tap(card: Card) -> Card:
        if card.tap_fd >= 0:
            os.close(card.tap_fd)
        return Card(card.interface, -1)

    def _pass_on(self, nl: Netlink, found: link.Link) -> Card:
        name = f"tap-{found.name}"[:15]
        tap_fd = tuntap.open_tap(self.netns_fd, name)
        try:
            tap = link.find(nl, name)
            assert tap is not None
            link.set_up(nl, tap.ifindex)
            tc.redirect_ingress(nl, found.ifindex, tap.ifindex)
            tc.redirect_ingress(nl, tap.ifindex, found.ifindex)
            return Card(_describe(nl, found), tap_fd)
        except BaseException:
            os.close(tap_fd)
            raise


def _describe(nl: Netlink, found: link.Link) -> Interface:
    addresses = [
        (item.address, item.prefix)
        for item in address.list_addresses(nl, found.ifindex)
        if not item.address.startswith(_LINK_LOCAL)
    ]
    routes = route.list_routes(nl) + route.list_routes(nl, _AF_INET6)
    gateways = [
        item.gateway
        for item in routes
        if item.ifindex == found.ifindex and item.gateway and not item.destination
    ]
    return Interface(
        name=found.name,
        mac=found.mac.hex(":"),
        addresses=tuple(addresses),
        gateways=tuple(gateways),
        mtu=found.mtu,
    )
