"""Bandwidth of a container: a token bucket in each direction.

What goes to the container leaves the host's end of its veth: a tbf there. What it sends arrives
there, where queueing is not possible; it is led through an interface of its own (ifb) with a tbf.
Both are on the host's side, where a container with CAP_NET_ADMIN cannot reach them.
"""

from __future__ import annotations

from proa.linux.netlink import link, tc
from proa.linux.netlink.socket import Netlink
from proa.network import names
from proa.network.model import Rates

_LARGEST_PACKET_BYTES = 68 * 1024
"""A veth passes packets of up to 64 KiB whole (GSO); a smaller bucket would have them cut up."""

_BURST_S = 0.005
_QUEUE_S = 0.05


def limit(nl: Netlink, container_id: str, network_id: str, rates: Rates) -> None:
    """Set, change or lift the limits of a container's interface on a network.

    Args:
        nl: route netlink of the host.
        rates: 0 lifts a limit.

    Raises:
        OSError: the kernel lacks tbf, ifb or mirred; the interface is gone.
    """
    found = link.find(nl, names.veth_link(container_id, network_id))
    if found is None:
        return
    if rates.in_bytes:
        _shape(nl, found.ifindex, rates.in_bytes)
    else:
        tc.clear_root(nl, found.ifindex)
    shaper = names.shaper_link(container_id, network_id)
    existing = link.find(nl, shaper)
    if not rates.out_bytes:
        if existing is not None:
            tc.clear_ingress(nl, found.ifindex)
            link.delete(nl, shaper)
        return
    if existing is None:
        link.add_plain(nl, shaper, "ifb", alias=names.alias(container_id))
        existing = link.find(nl, shaper)
        assert existing is not None
        _shape(nl, existing.ifindex, rates.out_bytes)
        tc.redirect_ingress(nl, found.ifindex, existing.ifindex)
    else:
        _shape(nl, existing.ifindex, rates.out_bytes)


def _shape(nl: Netlink, ifindex: int, rate_bytes: int) -> None:
    burst = max(int(rate_bytes * _BURST_S), _LARGEST_PACKET_BYTES)
    tc.set_rate(
        nl,
        ifindex,
        rate_bytes,
        burst_bytes=burst,
        limit_bytes=burst + max(int(rate_bytes * _QUEUE_S), 4 * _LARGEST_PACKET_BYTES),
    )
