"""From ``-p`` and ``-P`` to the host ports that a container wants."""

from __future__ import annotations

from collections.abc import Sequence

from proa.engine.config import ContainerConfig
from proa.errors import Invalid, Unsupported
from proa.network.model import Protocol
from proa.network.portmap import LOOPBACK6, WantedPort

_ALL4, _ALL6 = "0.0.0.0", "::"


def wanted_ports(
    config: ContainerConfig,
    exposed: Sequence[str],
    *,
    ipv4: bool = True,
    ipv6: bool = False,
    default_ip: str = "",
) -> list[WantedPort]:
    """Return what to publish.

    Args:
        exposed: the image's exposed ports, ``80/tcp``.
        default_ip: what "all addresses" mean instead, of a network that says so.
        ipv4, ipv6: the families in which the container can be reached, and so those that "all
            addresses" of the host are of.

    Raises:
        Invalid: an exposed port is none.
        Unsupported: UDP on the IPv6 loopback address.
    """
    families = ((_ALL4, ipv4), (_ALL6, ipv6))
    everywhere = tuple(address for address, reached in families if reached)
    if default_ip and ipv4:
        everywhere = (default_ip,)
    for port in config.ports:
        if port.protocol == "udp" and port.host_ip == LOOPBACK6:
            raise Unsupported(
                f"UDP port {port.container_port} cannot be published on [::1]",
                "use 127.0.0.1, or another address of the host",
            )
    wanted = [
        WantedPort(
            protocol=port.protocol,
            host_ip=host_ip,
            first=port.host_port,
            last=port.host_port_last or port.host_port,
            container_port=port.container_port,
        )
        for port in config.ports
        for host_ip in ((port.host_ip,) if port.host_ip else everywhere)
    ]
    if config.publish_all:
        published = {(port.protocol, port.container_port) for port in config.ports}
        for text in (*exposed, *config.expose):
            for protocol, number in parse_exposed(text):
                if (protocol, number) not in published:
                    published.add((protocol, number))
                    wanted += [
                        WantedPort(
                            protocol=protocol, host_ip=host_ip, first=0, last=0,
                            container_port=number,
                        )
                        for host_ip in everywhere
                    ]  # fmt: skip
    return wanted


def parse_exposed(text: str) -> list[tuple[Protocol, int]]:
    """Read ``80``, ``80/udp`` or ``8000-8010/tcp``.

    Raises:
        Invalid: it is none of them.
        Unsupported: SCTP.
    """
    ports, _, protocol = text.partition("/")
    first, dash, last = ports.partition("-")
    if protocol.lower() == "sctp":
        raise Unsupported(f"port {text}: SCTP ports cannot be published", "use tcp or udp")
    if protocol.lower() not in ("", "tcp", "udp"):
        raise Invalid(f"port {text}: unknown protocol '{protocol}'", "use tcp or udp")
    if not (first.isdecimal() and (last.isdecimal() if dash else True)):
        raise Invalid(f"invalid port '{text}'", "use PORT[-PORT][/tcp|/udp]")
    low, high = int(first), int(last or first)
    if not 1 <= low <= high <= 65535:
        raise Invalid(f"invalid port '{text}'", "ports are 1 to 65535")
    chosen: Protocol = "udp" if protocol.lower() == "udp" else "tcp"
    return [(chosen, number) for number in range(low, high + 1)]
