"""Images in Docker's words (Engine API 1.51): lists, history, removals, and a registry's answers.

What ``docker image inspect`` shows is made by :mod:`proa.engine.image_inspect`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from proa.engine.image_inspect import familiar_name, image_entry
from proa.image.model import HistoryEntry, Image, Removal
from proa.oci.descriptor import Descriptor
from proa.oci.digest import Digest
from proa.oci.platform import Platform
from proa.units import NS_PER_S

if TYPE_CHECKING:
    from proa.image.registry.session import Found

Document = dict[str, Any]

MISSING_STEP = "<missing>"
"""Id of a step whose image does not exist here, as Docker writes it."""
NAMELESS_BEFORE = (1, 43)
"""Older versions say ``<none>:<none>`` instead of an empty list."""


def image_list(
    images: Iterable[Image], *, version: tuple[int, int], shared: Mapping[Digest, int] | None = None
) -> list[Document]:
    """Return ``GET /images/json``.

    Args:
        images: with their names.
        version: of the API that the client speaks.
        shared: image id to shared bytes, when they were asked for.
    """
    entries = []
    for image in images:
        entry = image_entry(image, shared_bytes=(shared or {}).get(image.id, -1))
        if version < NAMELESS_BEFORE:
            entry["RepoTags"] = entry["RepoTags"] or ["<none>:<none>"]
            entry["RepoDigests"] = entry["RepoDigests"] or ["<none>@<none>"]
        if version < (1, 44):
            entry["VirtualSize"] = image.size_bytes
        entries.append(entry)
    return entries


def history(steps: Iterable[HistoryEntry]) -> list[Document]:
    """Return ``GET /images/{name}/history``, newest step first."""
    return [
        {
            "Id": step.id or MISSING_STEP,
            "Created": step.created_at_ns // NS_PER_S,
            "CreatedBy": step.created_by,
            "Tags": [familiar_name(name) for name in step.references],
            "Size": step.size_bytes,
            "Comment": step.comment,
        }
        for step in steps
    ]


def removals(lines: Iterable[Removal]) -> list[Document]:
    """Return what was untagged and deleted."""
    return [{line.action.capitalize(): line.target} for line in lines]


def pruned(lines: Sequence[Removal], freed_bytes: int) -> Document:
    """Return ``POST /images/prune``."""
    return {"ImagesDeleted": removals(lines), "SpaceReclaimed": freed_bytes}


def search_results(found: Iterable[Found]) -> list[Document]:
    """Return ``GET /images/search``."""
    return [
        {
            "name": one.name,
            "description": one.description,
            "is_official": one.is_official,
            "is_automated": False,
            "star_count": one.stars,
        }
        for one in found
    ]


def distribution(descriptor: Descriptor, platforms: Iterable[Platform]) -> Document:
    """Return ``GET /distribution/{name}/json``."""
    return {
        "Descriptor": {
            "mediaType": descriptor.media_type,
            "digest": descriptor.digest,
            "size": descriptor.size,
        },
        "Platforms": [_platform(one) for one in platforms],
    }


def _platform(platform: Platform) -> Document:
    document: Document = {"architecture": platform.architecture, "os": platform.os}
    if platform.os_version:
        document["os.version"] = platform.os_version
    if platform.os_features:
        document["os.features"] = list(platform.os_features)
    if platform.variant:
        document["variant"] = platform.variant
    return document
