"""Making the snapshots of an image's layers: all that are missing at once, committed together."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Protocol

import msgspec

from proa.errors import Unavailable
from proa.image.border import Border
from proa.image.content.store import ContentStore
from proa.image.content.verify import verified
from proa.image.layers.apply import Applied
from proa.image.layers.inherit import inherit
from proa.image.layers.layer import apply_layer, read_chunks
from proa.image.limits import DEFAULT, Limits
from proa.image.model import Progress, silent
from proa.image.snapshots.overlay import Snapshot, Snapshots, Staged
from proa.oci.descriptor import Descriptor
from proa.oci.digest import ChainID, DiffID

_MAX_WORKERS = 4
"""Layers in flight. Each keeps a few megabytes, or 64 with the largest zstd window that is taken:
together they stay below the engine's 256."""


class LayerSource(msgspec.Struct, frozen=True, kw_only=True):
    """A layer's blob, what it unpacks to, and what it is on its parents."""

    blob: Descriptor
    diff_id: DiffID
    chain_id: ChainID


class LayerReader(Protocol):
    """Gives the bytes of layers; called from several threads."""

    workers: int
    """Most layers that are worth reading at a time."""

    def open(self, layer: LayerSource) -> AbstractContextManager[Iterator[bytes]]:
        """Give a blob's bytes, to be taken to their end; the block ends badly when they are not
        what the descriptor says."""

    def abort(self) -> None:
        """Let what other threads read fail at once: a layer has failed, or the user had enough."""


class StoredLayers:
    """Layers whose blobs are in the content store."""

    def __init__(self, content: ContentStore, progress: Progress = silent) -> None:
        """Read from ``content``; ``progress`` is told the bytes of each blob as they are read."""
        self.workers = min(_MAX_WORKERS, len(os.sched_getaffinity(0)))
        self._content = content
        self._progress = progress
        self._aborted = False

    @contextmanager
    def open(self, layer: LayerSource) -> Iterator[Iterator[bytes]]:
        """See :class:`LayerReader`.

        Raises:
            Corrupt: missing or damaged.
        """
        fd = self._content.open(layer.blob.digest)
        try:
            yield self._verified(fd, layer.blob)
        finally:
            os.close(fd)

    def abort(self) -> None:
        """See :class:`LayerReader`."""
        self._aborted = True

    def _verified(self, fd: int, blob: Descriptor) -> Iterator[bytes]:
        what = f"layer {blob.digest}"
        chunks = read_chunks(fd, lambda done: self._progress(what, done, blob.size))
        for chunk in verified(chunks, blob, what):
            if self._aborted:
                raise Unavailable(f"reading {what} was given up")
            yield chunk


def ensure_snapshots(
    snapshots: Snapshots,
    layers: Sequence[LayerSource],
    reader: LayerReader,
    *,
    limits: Limits = DEFAULT,
) -> list[Snapshot]:
    """Return the snapshot of every layer, unpacking those that are not there.

    Args:
        snapshots: where the layers go.
        layers: lowest first.
        reader: where they come from.
        limits: bounds of each layer.

    Raises:
        Corrupt, Invalid: a damaged or hostile layer; nothing of the image is committed.
        ProaError: the disk's reasons.
    """
    found = [snapshots.find(layer.chain_id) for layer in layers]
    if all(found):
        return [snapshot for snapshot in found if snapshot]
    with Border("cannot unpack the image"), ExitStack() as stack:
        staged: list[Staged | None] = []
        for layer, snapshot in zip(layers, found, strict=True):
            # Locked lowest first: a chain id has one set of parents, so no two can wait in a ring.
            one = None if snapshot else stack.enter_context(snapshots.stage(layer.chain_id))
            staged.append(None if one and one.committed else one)
        applied = _unpack_all(layers, staged, reader, limits)
        _describe_all(snapshots, layers, staged, applied)
        snapshots.sync_files()
        for one in staged:
            if one:
                one.commit()
        snapshots.sync_names()
    found = [snapshots.find(layer.chain_id) for layer in layers]
    assert all(found), "a committed snapshot is not there"
    return [snapshot for snapshot in found if snapshot]


def _unpack_all(
    layers: Sequence[LayerSource],
    staged: Sequence[Staged | None],
    reader: LayerReader,
    limits: Limits,
) -> list[Applied | None]:
    from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

    with ThreadPoolExecutor(reader.workers) as pool:
        futures = [
            pool.submit(_unpack, layer, one.fs_path, reader, limits) if one else None
            for layer, one in zip(layers, staged, strict=True)
        ]
        try:
            done, _ = wait([future for future in futures if future], return_when=FIRST_EXCEPTION)
            for future in done:
                future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            reader.abort()
            raise
        return [future.result() if future else None for future in futures]


def _unpack(layer: LayerSource, fs_path: str, reader: LayerReader, limits: Limits) -> Applied:
    what = f"layer {layer.blob.digest}"
    root_fd = os.open(fs_path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with reader.open(layer) as chunks:
            applied, _ = apply_layer(chunks, root_fd, what, diff_id=layer.diff_id, limits=limits)
    finally:
        os.close(root_fd)
    return applied


def _describe_all(
    snapshots: Snapshots,
    layers: Sequence[LayerSource],
    staged: Sequence[Staged | None],
    applied: Sequence[Applied | None],
) -> None:
    """Complete each staged layer from those below it, lowest first, and write what it is."""
    lowers: list[int] = []  # uppermost first
    with ExitStack() as stack:
        for index, (layer, one, result) in enumerate(zip(layers, staged, applied, strict=True)):
            path = one.fs_path if one else snapshots.directory(layer.chain_id)
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            stack.callback(os.close, fd)
            parent = layers[index - 1].chain_id if index else None
            if one and result:
                snapshot = make_snapshot(layer, parent, result)
                inherit(fd, result, lowers, f"layer {layer.blob.digest}")
                one.describe(snapshot)
            else:
                known = snapshots.find(layer.chain_id)
                assert known is not None, "a committed snapshot is not there"
                snapshot = known
            lowers = [fd] if snapshot.opaque_root else [fd, *lowers]


def make_snapshot(layer: LayerSource, parent: ChainID | None, applied: Applied) -> Snapshot:
    """Describe what a layer unpacked to."""
    return Snapshot(
        chain_id=layer.chain_id,
        diff_id=layer.diff_id,
        parent=parent,
        size_bytes=applied.size_bytes,
        entries=applied.entries,
        opaque_root=applied.opaque_root,
    )
