"""``proa ps``: the containers."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from proa import units
from proa.cli.invocation import Invocation
from proa.cli.kinds import BOOL, FILTER, filters, read_int, scalar
from proa.cli.parser import Command, Flag
from proa.cli.render import (
    FORMAT,
    NO_TRUNC,
    Listing,
    Row,
    quote,
    short_id,
    show_listing,
    truncate,
)
from proa.cli.times import created_at, since
from proa.engine.config import ContainerConfig
from proa.engine.containers.inspect import describe_state
from proa.engine.containers.networksettings import describe_ports
from proa.engine.model import ContainerRecord
from proa.network.model import PortMapping

ALL = Flag("all", BOOL, "Show all containers (default shows just running)", short="a")
FILTERS = Flag("filter", FILTER, "Filter output based on conditions provided", short="f")
LAST = Flag(
    "last", scalar("int", read_int, -1), "Show n last created containers (includes all states)", "n"
)
LATEST = Flag("latest", BOOL, "Show the latest created container (includes all states)", short="l")
QUIET = Flag("quiet", BOOL, "Only display container IDs", short="q")
SIZE = Flag("size", BOOL, "Display total file sizes", short="s")

COMMAND = Command(
    words="container ls",
    usage="[OPTIONS]",
    summary="List containers",
    flags=(ALL, FILTERS, FORMAT, LAST, LATEST, NO_TRUNC, QUIET, SIZE),
)

_HEADINGS: dict[str, object] = {
    "ID": "CONTAINER ID",
    "Image": "IMAGE",
    "Command": "COMMAND",
    "RunningFor": "CREATED",
    "CreatedAt": "CREATED AT",
    "Status": "STATUS",
    "State": "STATE",
    "Ports": "PORTS",
    "Names": "NAMES",
    "Size": "SIZE",
    "Labels": "LABELS",
    "Label": str,
    "Mounts": "MOUNTS",
    "Networks": "NETWORKS",
    "LocalVolumes": "LOCAL VOLUMES",
    "Platform": "PLATFORM",
}
_SHOWN = ("ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names")
_COMMAND_LENGTH = 20
_MOUNT_LENGTH = 15


def execute(call: Invocation) -> int:
    """List running containers, or all of them."""
    last = 1 if call[LATEST] else max(call[LAST], 0)
    records = call.engine.containers.list(all=call[ALL], filters=filters(call[FILTERS]), last=last)
    text = call[FORMAT]
    sized = call[SIZE] or ".Size" in text
    now_ns = time.time_ns()
    shows_ports = not call[QUIET] and (".Ports" in text or "{{" not in text)
    shows_labels = ".Label" in text or text == "json"
    published = call.engine.networks.published() if records and shows_ports else {}
    rows = [
        _row(
            record,
            now_ns,
            _size(call, record) if sized else "",
            published.get(record.id, ()),
            call.engine.containers.labels(record.id) if shows_labels else {},
            full=call[NO_TRUNC],
        )
        for record in records
    ]
    shown = (*_SHOWN, "Size") if call[SIZE] else _SHOWN
    listing = Listing(headings=_HEADINGS, shown=shown, rows=rows)
    show_listing(call.io, listing, text, quiet=call[QUIET])
    return 0


def _row(
    record: ContainerRecord,
    now_ns: int,
    size: str,
    ports: Sequence[PortMapping],
    labels: Mapping[str, str],
    *,
    full: bool,
) -> Row:
    config = record.config
    command = " ".join((record.path, *record.args)).strip()
    mounts = [mount.source or mount.target for mount in config.mounts if mount.type != "tmpfs"]
    return {
        "ID": record.id if full else short_id(record.id),
        "Image": config.image,
        "Command": quote(command if full else truncate(command, _COMMAND_LENGTH)),
        "RunningFor": since(record.created_at_ns, now_ns),
        "CreatedAt": created_at(record.created_at_ns),
        "Status": describe_state(record.state, now_ns=now_ns),
        "State": record.state.status,
        "Ports": describe_ports(ports),
        "Names": record.name,
        "Size": size,
        "Labels": ",".join(f"{name}={value}" for name, value in labels.items()),
        "Label": lambda name: labels.get(name, ""),
        "Mounts": ",".join(text if full else truncate(text, _MOUNT_LENGTH) for text in mounts),
        "Networks": ",".join(_networks(config)),
        "LocalVolumes": str(sum(mount.type == "volume" for mount in config.mounts)),
        "Platform": config.platform,
    }


def _networks(config: ContainerConfig) -> list[str]:
    first = "bridge" if config.network_mode == "default" else config.network_mode
    return [first, *(wish.network for wish in config.networks[1:])]


def _size(call: Invocation, record: ContainerRecord) -> str:
    document = call.engine.containers.inspect(record.id, size=True)
    own, whole = document.get("SizeRw", 0), document.get("SizeRootFs", 0)
    if not isinstance(own, int) or not isinstance(whole, int):
        return ""
    return f"{units.format_size(own)} (virtual {units.format_size(whole)})"
