"""What images take on disk: every file counted once, as ``du`` counts it.

An image consists of parts: its summary, its manifest and config, the blobs of its layers, and their
unpacked directories. A part that several images need is shared between them; what is left of an
image when its shared parts are taken away is what removing it would free.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterator

import msgspec

from proa.fs.usage import allocated_bytes
from proa.image.catalog import Catalog
from proa.image.content.store import ContentStore
from proa.image.gc import mark, mark_index
from proa.image.model import Image
from proa.image.references import References
from proa.image.snapshots.overlay import Snapshots


class ImageUsage(msgspec.Struct, frozen=True, kw_only=True):
    """What one image takes.

    Attributes:
        size_bytes: allocated bytes of all its parts.
        shared_bytes: of those that other images have, too.
    """

    image: Image
    size_bytes: int
    shared_bytes: int

    @property
    def unique_bytes(self) -> int:
        """What nothing but this image needs."""
        return self.size_bytes - self.shared_bytes


class StoreUsage(msgspec.Struct, frozen=True, kw_only=True):
    """What all images take.

    Attributes:
        images: newest first.
        size_bytes: allocated bytes of every part once, those that no image needs included.
        in_use_bytes: of the parts of images that containers use.
    """

    images: tuple[ImageUsage, ...] = ()
    size_bytes: int = 0
    in_use_bytes: int = 0


def measure_store(
    references: References,
    catalog: Catalog,
    content: ContentStore,
    snapshots: Snapshots,
    images: Collection[Image],
    in_use: Collection[str],
) -> StoreUsage:
    """Measure all images; the caller holds a lease.

    Args:
        references: the names; several manifests may stand for one image.
        catalog, content, snapshots: what is measured.
        images: what there is.
        in_use: ids of images that containers use.

    Raises:
        OSError: something cannot be read.
    """
    sizes = dict(_measure_parts(catalog, content, snapshots))
    parts_of: dict[str, set[str]] = {image.id: set() for image in images}
    for record in references.list():
        parts = _parts(record.target, catalog, content)
        if record.index:
            for target in mark_index(record.index, content, parts):
                parts |= _parts(target, catalog, content)
        parts_of.setdefault(record.image_id, set()).update(parts & sizes.keys())
    owners = Counter(part for parts in parts_of.values() for part in parts)
    measured = tuple(
        ImageUsage(
            image=image,
            size_bytes=sum(sizes[part] for part in parts_of[image.id]),
            shared_bytes=sum(sizes[part] for part in parts_of[image.id] if owners[part] > 1),
        )
        for image in images
    )
    needed = {part for image_id in in_use for part in parts_of.get(image_id, ())}
    return StoreUsage(
        images=measured,
        size_bytes=sum(sizes.values()),
        in_use_bytes=sum(sizes[part] for part in needed),
    )


def _parts(target: str, catalog: Catalog, content: ContentStore) -> set[str]:
    blobs: set[str] = set()
    chains: set[str] = set()
    mark(target, catalog, content, blobs, chains)
    return {f"summary {target}", *blobs, *(f"layer {chain_id}" for chain_id in chains)}


def _measure_parts(
    catalog: Catalog, content: ContentStore, snapshots: Snapshots
) -> Iterator[tuple[str, int]]:
    """Yield every part with its bytes; what vanishes meanwhile is left out."""
    for digest in content.digests():
        yield digest, allocated_bytes(content.blob_path(digest))
    for target in catalog.digests():
        yield f"summary {target}", allocated_bytes(catalog.summary_path(target))
    for chain_id in snapshots.chain_ids():
        yield f"layer {chain_id}", allocated_bytes(os.path.dirname(snapshots.directory(chain_id)))
    for path in (*content.ingest_paths(), *snapshots.staged_paths()):
        yield path, allocated_bytes(path)
