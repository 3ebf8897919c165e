"""The bridge driver: a Linux bridge a network, a veth pair a container.

The bridge has the gateway's address. It is made when the first container needs it, and found by its
name from then on; it goes with its network.
"""

from __future__ import annotations

import errno
import hashlib

from proa.linux import netns
from proa.linux.netlink import address, link
from proa.linux.netlink.socket import Netlink
from proa.network import names, ratelimit
from proa.network.drivers.driver import Wires
from proa.network.model import Attachment, Network, Rates


def ensure_link(nl: Netlink, network: Network) -> tuple[int, bool]:
    """Make the network's bridge unless it is there.

    Returns:
        Its index, and whether it was made now.

    Raises:
        OSError: the kernel refuses it; EEXIST when the name belongs to something else.
    """
    found = link.find(nl, network.link)
    if found is not None and found.up and found.kind == "bridge":
        return found.ifindex, False
    if found is None:
        try:
            link.add_bridge(
                nl, network.link, mac=_bridge_mac(network), mtu=network.mtu,
                alias=names.alias(network.id),
            )  # fmt: skip
        except OSError as error:
            if error.errno != errno.EEXIST:
                raise
        found = link.find(nl, network.link)
    if found is None or found.kind != "bridge":
        raise OSError(errno.EEXIST, "not a bridge", network.link)
    _configure(nl, found.ifindex, network)
    return found.ifindex, True


def remove_link(nl: Netlink, network: Network) -> bool:
    """Remove the network's bridge; False when it was not there."""
    found = link.find(nl, network.link)
    return found is not None and found.kind == "bridge" and link.delete(nl, network.link)


def plug(wires: Wires, attachment: Attachment) -> None:
    """Make a container's veth: one end a port of the bridge, the other down in its namespace.

    Raises:
        OSError: EXFULL when the bridge has no port left (1023).
    """
    nl, container_id = wires.host, wires.container_id
    network = attachment.network
    master, _ = ensure_link(nl, network)
    name = names.veth_link(container_id, network.id)
    for attempt in (0, 1):
        try:
            link.add_veth(
                nl,
                name,
                peer=attachment.interface,
                peer_netns_fd=wires.netns_fd,
                peer_mac=bytes.fromhex(attachment.mac.replace(":", "")),
                master=master,
                mtu=network.mtu,
                alias=names.alias(container_id),
            )
        except FileExistsError:
            # The namespace of the container's last run is still being taken down by the kernel.
            if attempt:
                raise
            link.delete(nl, name)
        else:
            if not network.talks:
                link.isolate_port(nl, name)
            return


def unplug(wires: Wires, attachment: Attachment) -> None:
    """Delete a container's veth, both ends, and its shaper. Idempotent."""
    for name in (names.veth_link, names.shaper_link):
        link.delete(wires.host, name(wires.container_id, attachment.network.id))


def limit(wires: Wires, network: Network, rates: Rates) -> None:
    """Shape both directions at the host's end.

    Raises:
        OSError: the kernel lacks tbf, ifb or mirred.
    """
    ratelimit.limit(wires.host, wires.container_id, network.id, rates)


def _bridge_mac(network: Network) -> bytes:
    """A locally administered address that the network always has, so that caches stay right."""
    return b"\x02" + hashlib.sha256(network.id.encode()).digest()[:5]


def _configure(nl: Netlink, ifindex: int, network: Network) -> None:
    """Addresses, parameters, up; each step is one that another process may have taken already."""
    base = f"ipv6/conf/{network.link}"
    netns.write_sysctl(-1, f"{base}/accept_ra", "0")
    netns.write_sysctl(-1, f"{base}/disable_ipv6", "0" if network.subnet6 else "1")
    for subnet in (network.subnet4, network.subnet6):
        if subnet is None:
            continue
        try:
            address.add(nl, ifindex, subnet.gateway, subnet.prefix)
        except FileExistsError:
            continue
    if network.subnet4 is not None and not network.internal:
        link.allow_localnet(nl, ifindex)
        _forward("ipv4/ip_forward")
    if network.subnet6 is not None and not network.internal:
        _forward("ipv6/conf/all/forwarding")
    link.set_up(nl, ifindex)


def _forward(name: str) -> None:
    with open(f"/proc/sys/net/{name}", encoding="ascii") as file:
        if file.read().strip() == "0":
            netns.write_sysctl(-1, name, "1")
