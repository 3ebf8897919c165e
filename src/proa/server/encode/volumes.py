"""Volumes in Docker's words (Engine API 1.51)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

Document = dict[str, Any]


def volume(inspected: Document, *, size_bytes: int = -1, containers: int = -1) -> Document:
    """Return one volume; the published schema wants maps where the command line shows ``null``.

    Args:
        inspected: what ``proa volume inspect`` shows.
        size_bytes, containers: what it takes and who mounts it; -1 for not computed.
    """
    document = {**inspected, "Labels": inspected.get("Labels") or {}}
    document["Options"] = inspected.get("Options") or {}
    if size_bytes >= 0:
        document["UsageData"] = {"Size": size_bytes, "RefCount": containers}
    return document


def volume_list(documents: Iterable[Document]) -> Document:
    """Return ``GET /volumes``."""
    return {"Volumes": [volume(document) for document in documents], "Warnings": []}


def pruned(names: Sequence[str], freed_bytes: int) -> Document:
    """Return ``POST /volumes/prune``."""
    return {"VolumesDeleted": list(names), "SpaceReclaimed": freed_bytes}
