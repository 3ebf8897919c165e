"""Collecting what no name and no container needs: snapshots, blobs, summaries, stale stages.

Mark and sweep under the store's exclusive lock: nobody makes content or takes an image into use
meanwhile. Names are removed before the collector runs; whatever it does not get to is collected the
next time.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection

from proa.errors import ProaError
from proa.fs.tree import remove_tree
from proa.fs.usage import allocated_bytes
from proa.image.catalog import Catalog, layer_sources
from proa.image.content.store import ContentStore
from proa.image.model import Removal
from proa.image.platforms import list_entries
from proa.image.references import References
from proa.image.snapshots.overlay import Snapshots
from proa.oci.digest import Digest, parse_digest
from proa.oci.imageconfig import parse_image_config
from proa.oci.manifest import parse_manifest
from proa.oci.mediatype import INDEXES

_RESUMABLE_S = 24 * 3600  # an interrupted download is kept that long for the next attempt


def collect(
    references: References,
    catalog: Catalog,
    content: ContentStore,
    snapshots: Snapshots,
    in_use: Collection[str],
    *,
    resumable: bool = True,
    measured: bool = False,
) -> tuple[list[Removal], int]:
    """Remove all that is not reachable from a name or from an image in use.

    Args:
        references: the names.
        catalog, content, snapshots: what is swept.
        in_use: ids of images that containers use, kept even when they lost their names.
        resumable: keep what interrupted pulls of the last day can go on from.
        measured: count the bytes of layers, too, which reads each of their directories.

    Returns:
        The removed layers, and the freed bytes as ``du`` counts them.
    """
    records = references.list()
    targets = {record.target for record in records}
    for digest in catalog.digests():
        image = catalog.find(digest)
        if image is not None and image.id in in_use:
            targets.add(digest)
    blobs: set[str] = set()
    chains: set[str] = set()
    for index in {record.index for record in records if record.index}:
        targets |= mark_index(index, content, blobs)
    for target in targets:
        mark(target, catalog, content, blobs, chains)
    freed = 0
    removed = []
    for digest in list(catalog.digests()):
        if digest not in targets:
            freed += catalog.forget(digest)
    for chain_id in snapshots.chain_ids():
        if chain_id not in chains:
            if measured:
                freed += allocated_bytes(os.path.dirname(snapshots.directory(chain_id)))
            snapshots.remove(chain_id)
            removed.append(Removal(action="deleted", target=chain_id))
    for blob in content.digests():
        if blob not in blobs:
            freed += content.remove(blob)
    if measured:
        freed += sum(map(allocated_bytes, snapshots.staged_paths()))
    freed += sweep_staged(content, snapshots, resumable=resumable)
    return removed, freed


def sweep_staged(content: ContentStore, snapshots: Snapshots, *, resumable: bool = True) -> int:
    """Remove layers and blobs that were being made when their makers were killed.

    Under the store's exclusive lock, so nobody makes any now.

    Args:
        content, snapshots: what is swept.
        resumable: keep what interrupted pulls of the last day can go on from.

    Returns:
        The bytes of the blobs.
    """
    snapshots.remove_garbage()
    return _remove_ingests(content, _RESUMABLE_S if resumable else 0)


def mark_index(index: str, content: ContentStore, blobs: set[str]) -> set[str]:
    """Add an index to ``blobs``; return its manifests that are here."""
    blobs.add(index)
    present: set[str] = set()
    try:
        for entry in list_entries(content, index):
            if content.find(entry.digest) is not None:
                blobs.add(entry.digest)
                if entry.media_type not in INDEXES:
                    present.add(entry.digest)
    except ProaError:
        pass  # what cannot be read leads nowhere
    return present


def mark(
    target: str, catalog: Catalog, content: ContentStore, blobs: set[str], chains: set[str]
) -> None:
    """Add what the image of a manifest consists of to ``blobs`` and ``chains``."""
    blobs.add(target)
    image = catalog.find(target)
    if image is not None:
        blobs.add(image.id)
        blobs.update(layer.blob.digest for layer in image.layers)
        chains.update(layer.chain_id for layer in image.layers)
        return
    what = f"manifest {target}"
    try:
        manifest = parse_manifest(content.read(parse_digest(target)), what)
        blobs.add(manifest.config.digest)
        blobs.update(layer.digest for layer in manifest.layers)
        config = parse_image_config(content.read(Digest(manifest.config.digest)), what)
        chains.update(source.chain_id for source in layer_sources(manifest, config, what))
    except ProaError:
        # What cannot be read cannot be run either, and names nothing that could be kept.
        return


def _remove_ingests(content: ContentStore, resumable_s: float) -> int:
    """Remove what has no writer any more, younger downloads excepted; return its bytes."""
    freed = 0
    for path in content.ingest_paths():
        name = os.path.basename(path)
        age_s = time.time() - os.lstat(path).st_mtime
        if not name.startswith("sha") or age_s >= resumable_s:
            freed += allocated_bytes(path)
            remove_tree(path)
    return freed
