"""``proa network create``: make a network."""

from __future__ import annotations

from proa.cli.invocation import Invocation
from proa.cli.kinds import BOOL, LIST, STRING, repeated
from proa.cli.parser import Command, Flag
from proa.cli.runflags import values
from proa.engine.networks import NetworkOptions

_PAIRS = repeated("map", values.read_pair)

AUX_ADDRESS = Flag("aux-address", _PAIRS, "Addresses that containers never get (name=address)")
ATTACHABLE = Flag("attachable", BOOL, "Accepted: every network is", hidden=True)
DRIVER = Flag("driver", STRING, "Driver to manage the Network (bridge, macvlan)", "d", "bridge")
GATEWAY = Flag("gateway", LIST, "IPv4 or IPv6 Gateway for the subnet")
INTERNAL = Flag("internal", BOOL, "Restrict external access to the network")
IP_RANGE = Flag("ip-range", LIST, "Allocate container ip from a sub-range")
IPV4 = Flag("ipv4", BOOL, "Enable IPv4 address assignment", default=True)
IPV6 = Flag("ipv6", BOOL, "Enable IPv6 address assignment")
LABEL = Flag("label", repeated("list", values.read_label), "Set metadata on a network")
OPT = Flag(
    "opt", _PAIRS, "Set driver specific options (mtu=, isolate=, parent=, macvlan_mode=)", short="o"
)
SUBNET = Flag("subnet", LIST, "Subnet in CIDR format that represents a network segment")

COMMAND = Command(
    words="network create",
    usage="[OPTIONS] NETWORK",
    summary="Create a network",
    flags=(
        ATTACHABLE, AUX_ADDRESS, DRIVER, GATEWAY, INTERNAL, IP_RANGE, IPV4, IPV6, LABEL, OPT,
        SUBNET,
    ),
    least=1,
    most=1,
)  # fmt: skip


def execute(call: Invocation) -> int:
    """Make the network and print its id."""
    (name,) = call.arguments
    labels: tuple[tuple[str, str], ...] = call[LABEL]
    options: tuple[tuple[str, str], ...] = call[OPT]
    reserved: tuple[tuple[str, str], ...] = call[AUX_ADDRESS]
    subnets = call[SUBNET]
    call.io.out(
        call.engine.networks.create(
            name,
            NetworkOptions(
                driver=call[DRIVER],
                subnets=subnets,
                gateways=call[GATEWAY],
                ip_ranges=call[IP_RANGE],
                reserved=tuple(address for _, address in reserved),
                ipv4=call[IPV4],
                ipv6=call[IPV6],
                internal=call[INTERNAL],
                labels=dict(labels),
                options=dict(options),
            ),
        )
    )
    return 0
