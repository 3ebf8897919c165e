"""What ``get`` needs to know of an image, decoded once.

``images/<manifest hex>`` is a msgpack summary (:class:`~proa.image.model.Image` without names) of
what content and snapshots say. It is derived: never synced, made again when it is missing or was
written by another version, removed with its image.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC

import msgspec

from proa.errors import Corrupt
from proa.fs.atomicfile import load_file, save_file
from proa.fs.usage import allocated_bytes
from proa.image.content.store import ContentStore
from proa.image.limits import DEFAULT, Limits
from proa.image.model import Image, Layer, Progress, silent
from proa.image.snapshots.overlay import Snapshot, Snapshots
from proa.image.unpack import LayerReader, LayerSource, StoredLayers, ensure_snapshots
from proa.oci.digest import Digest, chain_ids, encoded
from proa.oci.imageconfig import ImageConfig, parse_image_config
from proa.oci.manifest import Manifest, parse_manifest

_VERSION = 1
_NANOSECONDS = 1_000_000_000

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(tuple[int, Image])


class Catalog:
    """Images of one state root by the digest of their manifest. Making one touches no disk."""

    def __init__(self, root: str, content: ContentStore, snapshots: Snapshots) -> None:
        """Use ``<root>/images`` for the summaries."""
        self.path = f"{root}/images"
        self._content = content
        self._snapshots = snapshots
        self._memo: dict[str, Image] = {}

    def get(self, manifest_digest: str) -> Image:
        """Return an image whose content is in the store, unpacking what is missing.

        Raises:
            Corrupt: content is missing or damaged.
        """
        found = self.find(manifest_digest)
        return found if found is not None else self.add(Digest(manifest_digest))

    def find(self, manifest_digest: str) -> Image | None:
        """Return an image that has a summary, without looking at its content."""
        found = self._memo.get(manifest_digest)
        if found is not None:
            return found
        try:
            version, image = _decoder.decode(load_file(self.summary_path(manifest_digest)))
        except (FileNotFoundError, msgspec.MsgspecError):
            return None
        if version != _VERSION:
            return None
        self._memo[manifest_digest] = image
        return image

    def add(
        self,
        manifest_digest: Digest,
        *,
        layers: LayerReader | None = None,
        progress: Progress = silent,
        limits: Limits = DEFAULT,
    ) -> Image:
        """Unpack an image whose documents are in the content store, and remember it.

        Args:
            manifest_digest: of the image.
            layers: where its layers come from; None: they are in the content store too.
            progress: told the bytes of each blob as they are read from there.
            limits: bounds of each layer.

        Raises:
            Corrupt, Invalid, Unsupported: what is wrong with its documents or layers.
        """
        what = f"manifest {manifest_digest}"
        data = self._content.read(manifest_digest)
        manifest = parse_manifest(data, what)
        config_data = self._content.read(manifest.config.digest)
        config = parse_image_config(config_data, f"image config {manifest.config.digest}")
        sources = layer_sources(manifest, config, what)
        reader = layers or StoredLayers(self._content, progress)
        snapshots = ensure_snapshots(self._snapshots, sources, reader, limits=limits)
        self._content.sync_names()
        content_bytes = len(data) + len(config_data) + sum(one.blob.size for one in sources)
        image = Image(
            id=manifest.config.digest,
            manifest_digest=manifest_digest,
            config=config,
            layers=tuple(
                Layer(
                    blob=source.blob,
                    diff_id=source.diff_id,
                    chain_id=source.chain_id,
                    size_bytes=snapshot.size_bytes,
                )
                for source, snapshot in zip(sources, snapshots, strict=True)
            ),
            lowers=self._lowers(snapshots),
            size_bytes=sum(snapshot.size_bytes for snapshot in snapshots),
            content_bytes=content_bytes,
            created_at_ns=parse_time_ns(config.created),
        )
        os.makedirs(self.path, 0o700, exist_ok=True)
        save_file(
            self.summary_path(manifest_digest),
            _encoder.encode((_VERSION, image)),
            durable=False,
        )
        self._memo[manifest_digest] = image
        return image

    def digests(self) -> Iterator[str]:
        """Yield the manifest digest of every summary."""
        try:
            names = os.listdir(self.path)
        except FileNotFoundError:
            return
        for name in names:
            if len(name) == 64:
                yield f"sha256:{name}"
            elif len(name) == 128:
                yield f"sha512:{name}"

    def forget(self, manifest_digest: str) -> int:
        """Remove a summary; return the bytes that it took. Idempotent."""
        self._memo.pop(manifest_digest, None)
        path = self.summary_path(manifest_digest)
        size_bytes = allocated_bytes(path)
        try:
            os.unlink(path)
        except FileNotFoundError:
            return 0
        return size_bytes

    def summary_path(self, manifest_digest: str) -> str:
        """Return where a summary is or would be."""
        return f"{self.path}/{encoded(manifest_digest)}"

    def _lowers(self, snapshots: list[Snapshot]) -> tuple[str, ...]:
        """Return the layers' short names, uppermost first, down to one that hides all below."""
        names: list[str] = []
        for snapshot in reversed(snapshots):
            names.append(self._snapshots.lower(snapshot.chain_id))
            if snapshot.opaque_root:
                break
        return tuple(names)


def layer_sources(manifest: Manifest, config: ImageConfig, what: str) -> tuple[LayerSource, ...]:
    """Pair the layers of a manifest with those of its config.

    Raises:
        Corrupt: not the same number.
    """
    diff_ids = config.rootfs.diff_ids
    if len(diff_ids) != len(manifest.layers):
        raise Corrupt(
            f"{what} has {len(manifest.layers)} layers where its image config has {len(diff_ids)}"
        )
    return tuple(
        LayerSource(blob=blob, diff_id=diff_id, chain_id=chain_id)
        for blob, diff_id, chain_id in zip(
            manifest.layers, diff_ids, chain_ids(diff_ids), strict=True
        )
    )


def parse_time_ns(text: str) -> int:
    """Read RFC 3339 as nanoseconds since the epoch; 0 for what is none or out of range."""
    from datetime import datetime

    # datetime knows microseconds only, and before Python 3.11 no "Z" and no other precision.
    main, _, rest = text.partition(".")
    digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
    try:
        moment = datetime.fromisoformat(main + rest[len(digits) :])
        seconds = int(moment.replace(tzinfo=moment.tzinfo or UTC).timestamp())
    except (ValueError, OverflowError):
        return 0
    return max(0, seconds * _NANOSECONDS + int(digits[:9].ljust(9, "0") or 0))
