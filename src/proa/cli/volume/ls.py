"""``proa volume ls``: the volumes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proa.cli.invocation import Invocation
from proa.cli.kinds import BOOL, FILTER, filters
from proa.cli.parser import Command, Flag
from proa.cli.render import FORMAT, Listing, Row, show_listing

if TYPE_CHECKING:
    from proa.engine.state import VolumeRecord

FILTERS = Flag(
    "filter", FILTER, "Filter by name=, label=, driver=, dangling= (true or false)", short="f"
)
QUIET = Flag("quiet", BOOL, "Only display volume names", short="q")

COMMAND = Command(
    words="volume ls",
    usage="[OPTIONS]",
    summary="List volumes",
    flags=(FILTERS, FORMAT, QUIET),
)

_HEADINGS: dict[str, object] = {
    "Driver": "DRIVER",
    "Name": "VOLUME NAME",
    "Labels": "LABELS",
    "Label": str,
    "Mountpoint": "MOUNTPOINT",
    "Scope": "SCOPE",
}


def execute(call: Invocation) -> int:
    """List volumes by name."""
    volumes = call.engine.volumes
    asks_for_place = "Mountpoint" in call[FORMAT] or "json" in call[FORMAT]
    rows = [
        _row(volume, str(volumes.inspect(volume.name)["Mountpoint"]) if asks_for_place else "")
        for volume in volumes.list(filters(call[FILTERS]))
    ]
    listing = Listing(headings=_HEADINGS, shown=("Driver", "Name"), rows=rows, identity="Name")
    show_listing(call.io, listing, call[FORMAT], quiet=call[QUIET])
    return 0


def _row(volume: VolumeRecord, place: str) -> Row:
    labels = volume.labels
    return {
        "Driver": volume.driver,
        "Name": volume.name,
        "Labels": ",".join(f"{name}={value}" for name, value in labels.items()),
        "Label": lambda name: labels.get(name, ""),
        "Mountpoint": place,
        "Scope": "local",
    }
