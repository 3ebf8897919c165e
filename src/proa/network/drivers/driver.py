"""What a driver is: a way to put an interface into a container's namespace.

A driver does not know whose namespace it is, nor who runs it: it asks for the host's routing socket
only if it needs one, so one that needs no rights on the host (a helper process with a tap, as
rootless engines use) fits as well. The engine around it sets addresses and routes inside, which
takes rights over the namespace alone.
"""

from __future__ import annotations

from typing import Protocol

from proa.linux.netlink.socket import Netlink
from proa.network.model import Attachment, Network, Rates


class Wires(Protocol):
    """Both ends of what a driver connects; sockets are opened by their first use."""

    @property
    def container_id(self) -> str:
        """64 hex digits; names on the host derive from it."""

    @property
    def netns_fd(self) -> int:
        """The container's namespace."""

    @property
    def host(self) -> Netlink:
        """Route netlink of the host's namespace."""

    @property
    def inside(self) -> Netlink:
        """Route netlink of the container's."""


class Driver(Protocol):
    """A way to connect; implemented by the modules of this package."""

    def plug(self, wires: Wires, attachment: Attachment) -> None:
        """Make the interface, named as the attachment says, down and without addresses.

        Raises:
            OSError: it cannot be made; nothing is left.
        """

    def unplug(self, wires: Wires, attachment: Attachment) -> None:
        """Remove the interface and all that belongs to it on the host. Idempotent.

        Raises:
            OSError: it cannot be removed.
        """

    def limit(self, wires: Wires, network: Network, rates: Rates) -> None:
        """Set, change or lift the bandwidth of the interface.

        Raises:
            OSError: the kernel cannot do it.
        """
