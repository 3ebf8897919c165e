"""Names of images: what a name points at, and the store that the engine provides.

The image room keeps blobs and snapshots; which names exist is a fact of the engine's database, so
the room takes it through a Protocol and never opens the database itself.
"""

from __future__ import annotations

from typing import Protocol

import msgspec


class ImageRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A name that points at an image.

    Attributes:
        reference: normalized, e.g. ``docker.io/library/debian:bookworm``; ``<none>@sha256:...`` for
            an image without a name.
        target: digest of the manifest that the name points at.
        image_id: digest of the image config.
        updated_at_ns: when the name was last moved, nanoseconds since the epoch.
        index: digest of the index that the name points at and ``target`` was chosen from; empty
            when the name points at the manifest itself.
    """

    reference: str
    target: str
    image_id: str
    updated_at_ns: int
    index: str = ""


class References(Protocol):
    """The table of names. Every call is one transaction, durable when it returns."""

    def find(self, reference: str) -> ImageRecord | None:
        """Return the record of exactly this normalized name."""

    def list(self) -> list[ImageRecord]:
        """Return all names, oldest move first."""

    def put(self, record: ImageRecord) -> ImageRecord | None:
        """Create or move a name; return what it pointed at before."""

    def remove(self, reference: str) -> bool:
        """Forget a name; False when it was not there."""
