"""Images made of one root filesystem's tar: ``proa import`` and the bootstraps."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import msgspec

from proa.errors import NotFound
from proa.image.border import Border
from proa.image.changes import apply_changes
from proa.image.content.ingest import Ingest
from proa.image.content.store import ContentStore
from proa.image.layers.compression import Codec, compressor, peek
from proa.image.layers.inherit import inherit
from proa.image.layers.layer import apply_layer, read_chunks
from proa.image.limits import DEFAULT, Limits
from proa.image.model import Progress, silent
from proa.image.snapshots.overlay import Snapshots
from proa.image.unpack import LayerSource, make_snapshot
from proa.oci.codec import encode_json
from proa.oci.descriptor import Descriptor
from proa.oci.digest import Digest, chain_ids, digest_of
from proa.oci.imageconfig import ContainerDefaults, History, ImageConfig, RootFS
from proa.oci.manifest import encode_manifest
from proa.oci.mediatype import OCI_CONFIG, Compression, oci_layer
from proa.oci.platform import Platform, host_platform, parse_platform


class ImportOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a user can say about an image that is imported; see ``ImageStore.import_rootfs``."""

    changes: tuple[str, ...] = ()
    comment: str = ""
    platform: str = ""


def import_tar(
    content: ContentStore,
    snapshots: Snapshots,
    source: str | int,
    options: ImportOptions,
    limits: Limits = DEFAULT,
    progress: Progress = silent,
) -> Digest:
    """Make an image of a tar; arguments and errors as ``ImageStore.import_rootfs``.

    Returns:
        The digest of the image's manifest.
    """
    defaults = apply_changes(ContainerDefaults(), options.changes)
    platform = parse_platform(options.platform) if options.platform else host_platform()
    what = "the root filesystem" if isinstance(source, int) else source
    try:
        with Border(f"cannot import {what}"):
            fd = source if isinstance(source, int) else os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    except NotFound as error:
        raise NotFound(f"no such file: {what}", "check the path, or give - for stdin") from error
    try:
        chunks = read_chunks(fd, lambda done: progress(what, done))
        layer = store_layer(content, snapshots, chunks, what, limits)
    finally:
        if fd != source:
            os.close(fd)
    return store_image(
        content,
        layer,
        platform=platform,
        defaults=defaults,
        created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        comment=options.comment or f"Imported from {'-' if isinstance(source, int) else source}",
    )


def store_layer(
    content: ContentStore,
    snapshots: Snapshots,
    chunks: Iterator[bytes],
    what: str,
    limits: Limits = DEFAULT,
) -> LayerSource:
    """Take in a layer without parents in one pass: blob and snapshot are made at once.

    gzip and zstd are kept as they come; anything else is stored as gzip, which every registry and
    tool reads.

    Raises:
        Corrupt, Invalid: cut short or hostile; nothing is committed.
    """
    codec, chunks = peek(chunks)
    with (
        Border(f"cannot import {what}", damaged="get the archive again, or make it again"),
        snapshots.scratch() as fs_path,
        content.ingest() as ingest,
    ):
        root_fd = os.open(fs_path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if codec in ("gzip", "zstd"):
                applied, diff_id = apply_layer(_kept(chunks, ingest), root_fd, what, limits=limits)
            else:
                packer = compressor("gzip")
                applied, diff_id = apply_layer(
                    chunks,
                    root_fd,
                    what,
                    tee=lambda data: ingest.write(packer.compress(data)),
                    limits=limits,
                )
                ingest.write(packer.flush())
            inherit(root_fd, applied, (), what)
        finally:
            os.close(root_fd)
        (chain_id,) = chain_ids([diff_id])
        blob = ingest.commit()
        layer = LayerSource(
            blob=Descriptor(
                media_type=oci_layer(_stored_as(codec)), digest=blob.digest, size=blob.size
            ),
            diff_id=diff_id,
            chain_id=chain_id,
        )
        with snapshots.stage(chain_id) as staged:
            if not staged.committed:
                staged.adopt(fs_path)
                staged.describe(make_snapshot(layer, None, applied))
                snapshots.sync_files()
                staged.commit()
        snapshots.sync_names()
    return layer


def store_image(
    content: ContentStore,
    layer: LayerSource,
    *,
    platform: Platform,
    defaults: ContainerDefaults,
    created: str,
    created_by: str = "",
    comment: str = "",
) -> Digest:
    """Write config and manifest of a one-layer image; return the manifest's digest.

    Args:
        content: where they go.
        layer: of :func:`store_layer`.
        platform: what the image is made for.
        defaults: what its containers start with.
        created: RFC 3339; part of the image's identity.
        created_by, comment: of the history entry.
    """
    config = encode_json(
        ImageConfig(
            created=created,
            architecture=platform.architecture,
            os=platform.os,
            variant=platform.variant,
            config=defaults,
            rootfs=RootFS(type="layers", diff_ids=(layer.diff_id,)),
            history=(History(created=created, created_by=created_by, comment=comment),),
        )
    )
    content.put(config)
    descriptor = Descriptor(media_type=OCI_CONFIG, digest=digest_of(config), size=len(config))
    return content.put(encode_manifest(descriptor, (layer.blob,)))


def _kept(chunks: Iterator[bytes], ingest: Ingest) -> Iterator[bytes]:
    for chunk in chunks:
        ingest.write(chunk)
        yield chunk


def _stored_as(codec: Codec) -> Compression:
    return "zstd" if codec == "zstd" else "gzip"
