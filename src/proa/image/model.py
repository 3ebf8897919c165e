"""What the image room hands out: images and layers as plain data."""

from __future__ import annotations

from typing import Literal, Protocol

import msgspec

from proa.oci.descriptor import Descriptor
from proa.oci.digest import ChainID, DiffID, Digest
from proa.oci.imageconfig import ImageConfig

ArchiveFormat = Literal["docker", "oci"]


class Layer(msgspec.Struct, frozen=True, kw_only=True):
    """One layer of an image.

    Attributes:
        blob: the layer as it is stored and sent.
        diff_id: digest of its uncompressed tar.
        chain_id: names the layer on its parents; the snapshot's key.
        size_bytes: bytes of file content that it unpacks to.
    """

    blob: Descriptor
    diff_id: DiffID
    chain_id: ChainID
    size_bytes: int


class Image(msgspec.Struct, frozen=True, kw_only=True):
    """An image, unpacked and ready to run.

    Attributes:
        id: digest of the image config (Docker's image id).
        manifest_digest: digest of the manifest.
        config: what the image's maker wrote; ``config.platform`` is what it is made for.
        layers: lowest first.
        lowers: the layers' directories relative to the store's root, uppermost first, as overlayfs
            wants them (``snapshots/l/<short>``). Layers below an opaque root are not in it.
        size_bytes: unpacked file content of all layers (Docker's SIZE).
        content_bytes: blobs of all layers, config and manifest.
        created_at_ns: from the config, nanoseconds since the epoch; 0 when not said.
        references: normalized names with a tag that point here, oldest first.
        repo_digests: normalized names with a digest that point here.
    """

    id: Digest
    manifest_digest: Digest
    config: ImageConfig
    layers: tuple[Layer, ...]
    lowers: tuple[str, ...]
    size_bytes: int
    content_bytes: int
    created_at_ns: int
    references: tuple[str, ...] = ()
    repo_digests: tuple[str, ...] = ()


class HistoryEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One step of an image's making, as ``proa image history`` shows it.

    Attributes:
        id: the image id for the newest step, empty for all others (their images do not exist here).
        size_bytes: 0 for steps that changed only the config.
        references: names of the image, on the newest step only.
    """

    id: str
    created_at_ns: int
    created_by: str
    comment: str
    size_bytes: int
    references: tuple[str, ...] = ()


class Removal(msgspec.Struct, frozen=True, kw_only=True):
    """One line of what ``remove`` did: a name that is gone, or a digest that is."""

    action: Literal["untagged", "deleted"]
    target: str


class Progress(Protocol):
    """Told how far a long operation is; called often, from several threads, must return at once."""

    def __call__(self, step: str, done_bytes: int = 0, total_bytes: int = 0) -> None:
        """Report.

        Args:
            step: what is worked on, e.g. ``layer sha256:...`` or ``fetching packages``.
            done_bytes: so far.
            total_bytes: in all; 0 when unknown.
        """


def silent(step: str, done_bytes: int = 0, total_bytes: int = 0) -> None:
    """Report to nobody."""
