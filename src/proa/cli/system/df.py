"""``proa system df``: what images, containers and volumes take on disk."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from proa import units
from proa.cli.invocation import Invocation
from proa.cli.io import IO
from proa.cli.kinds import BOOL
from proa.cli.parser import Command, Flag
from proa.cli.render import (
    FORMAT,
    Listing,
    Row,
    quote,
    short_id,
    show_listing,
    to_json,
    truncate,
)
from proa.cli.times import since
from proa.engine.containers.inspect import describe_state
from proa.engine.template import Template

if TYPE_CHECKING:
    from proa.engine.diskusage import ContainerUsage, DiskUsage, KindUsage, VolumeUsage
    from proa.image.usage import ImageUsage

VERBOSE = Flag("verbose", BOOL, "Show detailed information on space usage", short="v")

COMMAND = Command(
    words="system df",
    usage="[OPTIONS]",
    summary="Show disk usage",
    flags=(FORMAT, VERBOSE),
    details=(
        "Sizes are what 'du' counts: an image's layers as they were sent and unpacked, all that is "
        "in a container's directory or a volume. What several images need is counted once in the "
        "summary and is each one's shared size with --verbose."
    ),
)

_KINDS = {
    "images": "Images",
    "containers": "Containers",
    "volumes": "Local Volumes",
    "build_cache": "Build Cache",
}
_SUMMARY = {
    "Type": "TYPE",
    "TotalCount": "TOTAL",
    "Active": "ACTIVE",
    "Size": "SIZE",
    "Reclaimable": "RECLAIMABLE",
}
_IMAGES = {
    "Repository": "REPOSITORY",
    "Tag": "TAG",
    "ID": "IMAGE ID",
    "CreatedSince": "CREATED",
    "Size": "SIZE",
    "SharedSize": "SHARED SIZE",
    "UniqueSize": "UNIQUE SIZE",
    "Containers": "CONTAINERS",
}
_CONTAINERS = {
    "ID": "CONTAINER ID",
    "Image": "IMAGE",
    "Command": "COMMAND",
    "LocalVolumes": "LOCAL VOLUMES",
    "Size": "SIZE",
    "RunningFor": "CREATED",
    "Status": "STATUS",
    "Names": "NAMES",
}
_VOLUMES = {"Name": "VOLUME NAME", "Links": "LINKS", "Size": "SIZE"}
_BUILD_CACHE = {
    "ID": "CACHE ID",
    "CacheType": "CACHE TYPE",
    "Size": "SIZE",
    "CreatedSince": "CREATED",
    "LastUsedSince": "LAST USED",
    "UsageCount": "USAGE",
    "Shared": "SHARED",
}
_COMMAND_LENGTH = 20


def execute(call: Invocation) -> int:
    """Show one line a kind, or with ``--verbose`` one line a thing."""
    usage = call.engine.system.df()
    text = call[FORMAT]
    if not call[VERBOSE]:
        rows = [_summary_row(line) for line in usage.summarize()]
        listing = Listing(headings=_SUMMARY, shown=tuple(_SUMMARY), rows=rows, identity="Type")
        show_listing(call.io, listing, text)
        return 0
    tables = _tables(usage, time.time_ns())
    if text == "json":
        call.io.out(to_json(tables))
    elif text and text != "table":
        call.io.out(Template(text).render(tables))
    else:
        _show_tables(call.io, tables)
    return 0


def _summary_row(line: KindUsage) -> Row:
    reclaimable = units.format_size(line.reclaimable_bytes)
    if line.size_bytes > 0:
        reclaimable += f" ({line.reclaimable_bytes * 100 // line.size_bytes}%)"
    return {
        "Type": _KINDS[line.kind],
        "TotalCount": str(line.total),
        "Active": str(line.active),
        "Size": units.format_size(line.size_bytes),
        "Reclaimable": reclaimable,
    }


def _tables(usage: DiskUsage, now_ns: int) -> dict[str, list[Row]]:
    return {
        "Images": [
            row
            for one in usage.images.images
            for row in _image_rows(one, usage.image_containers.get(one.image.id, 0), now_ns)
        ],
        "Containers": [_container_row(one, now_ns) for one in usage.containers],
        "Volumes": [_volume_row(one) for one in usage.volumes],
        "BuildCache": [],
    }


def _image_rows(usage: ImageUsage, containers: int, now_ns: int) -> list[Row]:
    """Return a row for each name of an image: the image itself is there once."""
    from proa.oci.reference import parse_reference

    image = usage.image
    names = [parse_reference(text) for text in image.references]
    pairs = [(name.familiar_repository, name.tag) for name in names] or [("<none>", "<none>")]
    return [
        {
            "Repository": repository,
            "Tag": tag or "<none>",
            "ID": short_id(str(image.id)),
            "CreatedSince": since(image.created_at_ns, now_ns),
            "Size": units.format_size(usage.size_bytes),
            "SharedSize": units.format_size(usage.shared_bytes),
            "UniqueSize": units.format_size(usage.unique_bytes),
            "Containers": str(containers),
        }
        for repository, tag in pairs
    ]


def _container_row(usage: ContainerUsage, now_ns: int) -> Row:
    record = usage.container
    command = " ".join((record.path, *record.args)).strip()
    return {
        "ID": short_id(record.id),
        "Image": record.config.image,
        "Command": quote(truncate(command, _COMMAND_LENGTH)),
        "LocalVolumes": str(sum(mount.type == "volume" for mount in record.config.mounts)),
        "Size": units.format_size(usage.size_bytes),
        "RunningFor": since(record.created_at_ns, now_ns),
        "Status": describe_state(record.state, now_ns=now_ns),
        "Names": record.name,
    }


def _volume_row(usage: VolumeUsage) -> Row:
    return {
        "Name": usage.volume.name,
        "Links": str(usage.containers),
        "Size": units.format_size(usage.size_bytes),
    }


def _show_tables(io: IO, tables: Mapping[str, Sequence[Row]]) -> None:
    for title, name, headings in (
        ("Images space usage:", "Images", _IMAGES),
        ("Containers space usage:", "Containers", _CONTAINERS),
        ("Local Volumes space usage:", "Volumes", _VOLUMES),
        ("Build cache usage: 0B", "BuildCache", _BUILD_CACHE),
    ):
        io.out(("" if name == "Images" else "\n") + title + "\n")
        identity = next(iter(headings))
        shown = tuple(headings)
        show_listing(
            io, Listing(headings=headings, shown=shown, rows=tables[name], identity=identity)
        )
