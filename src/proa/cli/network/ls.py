"""``proa network ls``: the networks."""

from __future__ import annotations

from proa.cli.invocation import Invocation
from proa.cli.kinds import BOOL, FILTER, filters
from proa.cli.parser import Command, Flag
from proa.cli.render import FORMAT, NO_TRUNC, Listing, Row, short_id, show_listing
from proa.cli.times import created_at
from proa.network.model import Network

FILTERS = Flag("filter", FILTER, "Filter by name=, id=, driver=, label=, type=", short="f")
QUIET = Flag("quiet", BOOL, "Only display network IDs", short="q")

COMMAND = Command(
    words="network ls",
    usage="[OPTIONS]",
    summary="List networks",
    flags=(FILTERS, FORMAT, NO_TRUNC, QUIET),
)

_HEADINGS: dict[str, object] = {
    "ID": "NETWORK ID",
    "Name": "NAME",
    "Driver": "DRIVER",
    "Scope": "SCOPE",
    "IPv4": "IPV4",
    "IPv6": "IPV6",
    "Internal": "INTERNAL",
    "Labels": "LABELS",
    "Label": str,
    "CreatedAt": "CREATED AT",
}


def execute(call: Invocation) -> int:
    """List networks, oldest first; ``host`` and ``none`` are modes of containers, not networks."""
    networks = call.engine.networks.list(filters(call[FILTERS]))
    rows = [_row(network, full=call[NO_TRUNC]) for network in networks]
    shown = ("ID", "Name", "Driver", "Scope")
    listing = Listing(headings=_HEADINGS, shown=shown, rows=rows)
    show_listing(call.io, listing, call[FORMAT], quiet=call[QUIET])
    return 0


def _row(network: Network, *, full: bool) -> Row:
    labels = network.labels
    return {
        "ID": network.id if full else short_id(network.id),
        "Name": network.name,
        "Driver": network.driver,
        "Scope": "local",
        "IPv4": str(network.subnet4 is not None).lower(),
        "IPv6": str(network.subnet6 is not None).lower(),
        "Internal": str(network.internal).lower(),
        "Labels": ",".join(f"{name}={value}" for name, value in labels.items()),
        "Label": lambda name: labels.get(name, ""),
        "CreatedAt": created_at(network.created_at_ns),
    }
