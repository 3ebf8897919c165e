"""``proa network connect``: put a container on a network."""

from __future__ import annotations

from proa.cli.invocation import Invocation
from proa.cli.kinds import INT, LIST, STRING, scalar
from proa.cli.parser import Command, Flag
from proa.cli.runflags import network
from proa.engine.config import EndpointConfig

ALIAS = Flag("alias", LIST, "Add network-scoped alias for the container")
GW_PRIORITY = Flag("gw-priority", INT, "Highest gw-priority provides the default gateway")
IP = Flag("ip", scalar("ip", network.read_address4, ""), "IPv4 address (e.g., 172.30.100.104)")
IP6 = Flag("ip6", scalar("ip", network.read_address6, ""), "IPv6 address (e.g., 2001:db8::33)")
LINK = Flag("link", STRING, "Not available", refusal="containers on a network find each other")

COMMAND = Command(
    words="network connect",
    usage="[OPTIONS] NETWORK CONTAINER",
    summary="Connect a container to a network",
    flags=(ALIAS, GW_PRIORITY, IP, IP6, LINK),
    least=2,
    most=2,
)


def execute(call: Invocation) -> int:
    """Connect it, at once if it runs."""
    name, container = call.arguments
    wish = EndpointConfig(
        address4=call[IP],
        address6=call[IP6],
        aliases=call[ALIAS],
        gateway_priority=call[GW_PRIORITY],
    )
    call.engine.networks.connect(name, container, wish)
    return 0
