"""The macvlan driver: the container is a station of its own on the network of a host interface.

The host's firewall does not see the traffic, and the host cannot reach the container (that is
how macvlan works): ports cannot be published and egress cannot be restricted.
"""

from __future__ import annotations

import errno

from proa.linux.netlink import link
from proa.linux.netlink.socket import Netlink
from proa.network.model import Attachment


def plug(nl: Netlink, container_id: str, attachment: Attachment, netns_fd: int) -> None:
    """Make the container's interface in its namespace; it is down.

    Raises:
        OSError: ENODEV when the parent interface is gone.
    """
    del container_id
    network = attachment.network
    parent = link.find(nl, network.link)
    if parent is None:
        raise OSError(errno.ENODEV, "no such parent interface", network.link)
    link.add_macvlan(
        nl,
        attachment.interface,
        parent=parent.ifindex,
        mode=network.mode,
        netns_fd=netns_fd,
        mac=bytes.fromhex(attachment.mac.replace(":", "")),
    )
