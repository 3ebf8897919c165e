"""The macvlan driver: the container is a station of its own on the network of a host interface.

The host's firewall does not see the traffic, and the host cannot reach the container (that is
how macvlan works): ports cannot be published and egress cannot be restricted.
"""

from __future__ import annotations

import errno

from proa.linux.netlink import link
from proa.network.drivers.driver import Wires
from proa.network.model import Attachment, Network, Rates


def plug(wires: Wires, attachment: Attachment) -> None:
    """Make the container's interface in its namespace; it is down.

    Raises:
        OSError: ENODEV when the parent interface is gone.
    """
    network = attachment.network
    parent = link.find(wires.host, network.link)
    if parent is None:
        raise OSError(errno.ENODEV, "no such parent interface", network.link)
    link.add_macvlan(
        wires.host,
        attachment.interface,
        parent=parent.ifindex,
        mode=network.mode,
        netns_fd=wires.netns_fd,
        mac=bytes.fromhex(attachment.mac.replace(":", "")),
    )


def unplug(wires: Wires, attachment: Attachment) -> None:
    """Delete the container's interface. Idempotent."""
    link.delete(wires.inside, attachment.interface)


def limit(wires: Wires, network: Network, rates: Rates) -> None:
    """Do nothing: whoever asks for limits here has been refused."""
    del wires, network, rates
