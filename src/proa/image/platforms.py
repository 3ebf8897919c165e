"""Platforms of one name: what of an index is in the store.

A name that points at an index keeps the index (``ImageRecord.index``) beside the manifest that was
chosen from it. Other platforms are pulled one by one and stay as long as the index does; only an
index whose every image is here can go on to a registry or an archive as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator

from proa.errors import Corrupt, ProaError, Unsupported
from proa.image.content.store import ContentStore
from proa.oci import mediatype
from proa.oci.descriptor import Descriptor
from proa.oci.digest import Digest, parse_digest
from proa.oci.index import Index, is_attestation, parse_index, select
from proa.oci.manifest import parse_manifest
from proa.oci.platform import Platform

_MAX_NESTING = 4  # as when it was pulled: honest indexes need two


def read_index(content: ContentStore, digest: str) -> Index:
    """Return a stored index.

    Raises:
        Corrupt: missing or damaged.
    """
    return parse_index(content.read(parse_digest(digest)), f"index {digest}")


def list_entries(
    content: ContentStore, digest: str, nesting: int = _MAX_NESTING
) -> Iterator[Descriptor]:
    """Yield what an index lists, and what the indexes in it list as far as they are here.

    Raises:
        Corrupt: the index itself is missing or damaged.
    """
    for entry in read_index(content, digest).manifests:
        yield entry
        if entry.media_type in mediatype.INDEXES and nesting and content.find(entry.digest):
            yield from list_entries(content, entry.digest, nesting - 1)


def find_manifest(content: ContentStore, digest: str, wanted: Platform) -> Digest | None:
    """Return the manifest for a platform, None when the index has none or it is not here."""
    try:
        for _ in range(_MAX_NESTING):
            entry = select(read_index(content, digest), wanted, f"index {digest}")
            if entry.media_type in mediatype.MANIFESTS:
                return entry.digest if is_complete(content, entry.digest) else None
            digest = entry.digest
    except (Corrupt, Unsupported):
        pass
    return None


def is_complete(content: ContentStore, manifest_digest: Digest) -> bool:
    """Say whether a manifest and all that it names are here."""
    try:
        manifest = parse_manifest(content.read(manifest_digest), f"manifest {manifest_digest}")
    except ProaError:
        return False
    return all(
        content.find(blob.digest) == blob.size for blob in (manifest.config, *manifest.layers)
    )


def complete_manifests(content: ContentStore, digest: str) -> list[Digest] | None:
    """Return the manifests that an index lists, None unless all that it lists is here.

    Provenance that lists itself beside an image counts: an index cannot go on without it.
    """
    manifests: list[Digest] = []
    try:
        for entry in list_entries(content, digest):
            if entry.media_type in mediatype.INDEXES:
                if content.find(entry.digest) is None:
                    return None
            elif is_complete(content, entry.digest):
                manifests.append(entry.digest)
            else:
                return None
    except ProaError:
        return None
    return manifests


def describe_missing(content: ContentStore, digest: str) -> str:
    """Return the platforms of an index that are not here, as a list for a message."""
    missing = [
        str(entry.platform)
        for entry in list_entries(content, digest)
        if entry.platform is not None
        and not is_attestation(entry)
        and not is_complete(content, entry.digest)
    ]
    return ", ".join(missing)
