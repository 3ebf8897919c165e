"""Image indexes: one name, several platforms (OCI image spec, "Image Index")."""

from __future__ import annotations

import msgspec

from proa.errors import Corrupt, Unsupported
from proa.oci import mediatype
from proa.oci.codec import decode_json
from proa.oci.descriptor import Descriptor
from proa.oci.manifest import is_index
from proa.oci.platform import Platform, rank

ANNOTATION_REF_NAME = "org.opencontainers.image.ref.name"
ANNOTATION_IMAGE_NAME = "io.containerd.image.name"
_ANNOTATION_REFERENCE_TYPE = "vnd.docker.reference.type"


class Index(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """A list of manifests, or of further indexes."""

    schema_version: int
    manifests: tuple[Descriptor, ...]
    media_type: str = ""
    annotations: dict[str, str] | None = None


def parse_index(data: bytes, what: str) -> Index:
    """Read an index.

    Raises:
        Corrupt: no index, or of two kinds at once.
    """
    if not is_index(data, what):
        raise Corrupt(f"{what} is not an index: it lists no manifests")
    index = decode_json(data, Index, what)
    if index.schema_version != 2:
        raise Corrupt(f"{what} has the schema version {index.schema_version} instead of 2")
    return index


def is_attestation(descriptor: Descriptor) -> bool:
    """Say whether an entry describes another image (BuildKit's provenance) and is none itself."""
    if descriptor.annotations and _ANNOTATION_REFERENCE_TYPE in descriptor.annotations:
        return True
    platform = descriptor.platform
    return platform is not None and platform.os == "unknown"


def select(index: Index, wanted: Platform, what: str) -> Descriptor:
    """Return the entry that serves ``wanted`` best; the first of equals.

    Entries without a platform (nested indexes, single images) serve when none with one does.

    Raises:
        Unsupported: none serves; the message lists what there is.
    """
    usable = [
        entry
        for entry in index.manifests
        if (entry.media_type in mediatype.MANIFESTS or entry.media_type in mediatype.INDEXES)
        and not is_attestation(entry)
    ]
    ranked = [(rank(wanted, entry.platform), entry) for entry in usable if entry.platform]
    best = max((value for value, _ in ranked), default=0)
    if best:
        return next(entry for value, entry in ranked if value == best)
    for entry in usable:
        if entry.platform is None:
            return entry
    offered = ", ".join(sorted({str(entry.platform) for entry in usable})) or "nothing"
    raise Unsupported(f"{what} is not made for {wanted}; it offers {offered}")
