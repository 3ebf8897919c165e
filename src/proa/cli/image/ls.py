"""``proa images``: the images, one row a name."""

from __future__ import annotations

import time

import msgspec

from proa import units
from proa.cli.invocation import Invocation
from proa.cli.kinds import BOOL, FILTER, filters
from proa.cli.parser import Command, Flag
from proa.cli.render import FORMAT, NO_TRUNC, Listing, Row, short_id, show_listing
from proa.cli.times import created_at, since
from proa.image.model import Image
from proa.oci.reference import Reference, parse_reference

ALL = Flag("all", BOOL, "Show all images (there are no intermediate ones)", short="a")
DIGESTS = Flag("digests", BOOL, "Show digests")
FILTERS = Flag(
    "filter",
    FILTER,
    "Filter by reference=, dangling=, label=, label!=, before=, since=, until=",
    short="f",
)
QUIET = Flag("quiet", BOOL, "Only show image IDs", short="q")
TREE = Flag("tree", BOOL, "Not available", refusal="'proa image inspect' shows an image's layers")

COMMAND = Command(
    words="image ls",
    usage="[OPTIONS] [REPOSITORY[:TAG]]",
    summary="List images",
    flags=(ALL, DIGESTS, FILTERS, FORMAT, NO_TRUNC, QUIET, TREE),
    most=1,
)

_NONE = "<none>"
_HEADINGS = {
    "ID": "IMAGE ID",
    "Repository": "REPOSITORY",
    "Tag": "TAG",
    "Digest": "DIGEST",
    "CreatedSince": "CREATED",
    "CreatedAt": "CREATED AT",
    "Size": "SIZE",
    "VirtualSize": "SIZE",
    "Containers": "CONTAINERS",
    "SharedSize": "SHARED SIZE",
    "UniqueSize": "UNIQUE SIZE",
}
_SHOWN = ("Repository", "Tag", "ID", "CreatedSince", "Size")
_SHOWN_DIGESTS = ("Repository", "Tag", "Digest", "ID", "CreatedSince", "Size")


class Named(msgspec.Struct, frozen=True):
    """An image under one of its names; None where it has none."""

    image: Image
    name: Reference | None


def execute(call: Invocation) -> int:
    """List the names of images, newest image first, and images without a name."""
    wanted = filters(call[FILTERS])
    if call.arguments:
        wanted.setdefault("reference", []).append(call.arguments[0])
    now_ns = time.time_ns()
    rows = [
        _row(entry, now_ns, full=call[NO_TRUNC])
        for image in call.engine.images.list(wanted)
        for entry in _entries(image)
    ]
    if call[QUIET]:
        rows = list({str(row["ID"]): row for row in rows}.values())
    shown = _SHOWN_DIGESTS if call[DIGESTS] else _SHOWN
    show_listing(
        call.io,
        Listing(headings=_HEADINGS, shown=shown, rows=rows),
        call[FORMAT],
        quiet=call[QUIET],
    )
    return 0


def _entries(image: Image) -> list[Named]:
    names = [Named(image, parse_reference(text)) for text in image.references]
    return names or [Named(image, None)]


def _digest(entry: Named) -> str:
    """The digest under which the name's repository has the image, if it came or went there."""
    if entry.name is None:
        return _NONE
    prefix = f"{entry.name.repository}@"
    digests = [name.removeprefix(prefix) for name in entry.image.repo_digests]
    return next((text for text in reversed(digests) if "@" not in text), _NONE)


def _row(entry: Named, now_ns: int, *, full: bool) -> Row:
    image, reference = entry.image, entry.name
    size = units.format_size(image.size_bytes)
    return {
        "ID": str(image.id) if full else short_id(str(image.id)),
        "Repository": reference.familiar_repository if reference else _NONE,
        "Tag": (reference.tag if reference else "") or _NONE,
        "Digest": _digest(entry),
        "CreatedSince": since(image.created_at_ns, now_ns),
        "CreatedAt": created_at(image.created_at_ns),
        "Size": size,
        "VirtualSize": size,
        "Containers": "N/A",
        "SharedSize": "N/A",
        "UniqueSize": "N/A",
    }
