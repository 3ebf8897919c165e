"""Builders of engine records for tests: what a test does not say gets a plain value."""

from __future__ import annotations

from typing import Any

from proa.engine.config import ContainerConfig
from proa.engine.model import ContainerRecord, ContainerState, EventRecord
from proa.engine.names import generate_id

NOW_NS = 1_800_000_000_000_000_000
IMAGE_ID = "sha256:" + "5" * 64


def container(name: str = "", **fields: Any) -> ContainerRecord:
    """Return a created container of ``debian:bookworm`` that runs ``sleep 60``."""
    values: dict[str, Any] = {
        "id": generate_id(),
        "name": name,
        "image_id": IMAGE_ID,
        "created_at_ns": NOW_NS,
        "config": ContainerConfig(image="debian:bookworm", command=("sleep", "60")),
        "state": ContainerState(),
        "userns_base": 0,
        "path": "sleep",
        "args": ("60",),
        **fields,
    }
    return ContainerRecord(**values)


def event(actor_id: str = "a" * 64, action: str = "create", **fields: Any) -> EventRecord:
    """Return an event that has no number yet."""
    values: dict[str, Any] = {
        "sequence": 0,
        "time_ns": NOW_NS,
        "type": "container",
        "action": action,
        "actor_id": actor_id,
        **fields,
    }
    return EventRecord(**values)
