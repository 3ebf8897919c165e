"""One more layer on an image: what a container changed (``proa commit``)."""

from __future__ import annotations

import time
from collections.abc import Container

import msgspec

from proa.errors import Conflict
from proa.image.border import Border
from proa.image.content.store import ContentStore
from proa.image.content.verify import Meter
from proa.image.layers.compression import compressor
from proa.image.layers.diff import write_layer
from proa.image.model import Image
from proa.oci.codec import encode_json
from proa.oci.descriptor import Descriptor
from proa.oci.digest import DiffID, Digest, digest_of
from proa.oci.imageconfig import ContainerDefaults, History, RootFS
from proa.oci.manifest import encode_manifest
from proa.oci.mediatype import OCI_CONFIG, oci_layer


class CommitOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What is said of the new image.

    Attributes:
        defaults: what its containers start with.
        author, comment, created_by: of the history entry.
        omit: paths of the changed directory that are left out.
    """

    defaults: ContainerDefaults
    author: str = ""
    comment: str = ""
    created_by: str = ""
    omit: Container[bytes] = frozenset()


def commit(content: ContentStore, parent: Image, changed: str, options: CommitOptions) -> Digest:
    """Store an image of ``parent`` and one more layer.

    Args:
        content: holds the parent's blobs and gets the new ones; the caller holds a lease.
        parent: what the container was made of.
        changed: its writable directory, as overlayfs keeps it.
        options: what is said of the new image.

    Returns:
        The digest of the new manifest.

    Raises:
        Conflict: a file grew or shrank while it was read.
        ProaError: the disk's reasons.
    """
    layer, diff_id = _store_layer(content, changed, options.omit)
    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    before = parent.config
    entry = History(
        created=created,
        created_by=options.created_by,
        author=options.author,
        comment=options.comment,
    )
    config = msgspec.structs.replace(
        before,
        created=created,
        author=options.author or before.author,
        config=options.defaults,
        rootfs=RootFS(type="layers", diff_ids=(*before.rootfs.diff_ids, diff_id)),
        history=(*before.history, entry),
    )
    data = encode_json(config)
    content.put(data)
    descriptor = Descriptor(media_type=OCI_CONFIG, digest=digest_of(data), size=len(data))
    layers = (*(one.blob for one in parent.layers), layer)
    return content.put(encode_manifest(descriptor, layers))


def _store_layer(
    content: ContentStore, changed: str, omit: Container[bytes]
) -> tuple[Descriptor, DiffID]:
    meter = Meter("sha256")
    packer = compressor("gzip")
    with Border("cannot store a container's changes"), content.ingest() as ingest:

        def take(data: bytes | memoryview) -> None:
            meter.update(data)
            if compressed := packer.compress(data):
                ingest.write(compressed)

        try:
            write_layer(changed, take, omit=omit)
        except ValueError as error:
            raise Conflict(
                f"a file changed while it was read: {error}",
                "pause the container meanwhile (--pause), or try again",
            ) from error
        ingest.write(packer.flush())
        blob = ingest.commit()
    layer = Descriptor(media_type=oci_layer("gzip"), digest=blob.digest, size=blob.size)
    return layer, DiffID(meter.digest())
