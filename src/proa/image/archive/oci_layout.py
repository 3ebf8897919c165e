"""Images of an OCI image layout (OCI image spec, "Image Layout")."""

from __future__ import annotations

import msgspec

from proa.errors import Corrupt, Unsupported
from proa.image.archive.intake import Intake
from proa.oci import mediatype
from proa.oci.descriptor import Descriptor
from proa.oci.digest import Digest
from proa.oci.imageconfig import parse_image_config
from proa.oci.index import (
    ANNOTATION_IMAGE_NAME,
    ANNOTATION_REF_NAME,
    Index,
    is_attestation,
    parse_index,
    select,
)
from proa.oci.manifest import parse_manifest
from proa.oci.platform import host_platform, matches, parse_platform

_MAX_INDEX_DEPTH = 4  # an index of an index is rare; deeper ones are a ring or a trap


class FoundImage(msgspec.Struct, frozen=True, kw_only=True):
    """An image whose blobs are all in the content store.

    Attributes:
        manifest_digest: its manifest.
        names: as the archive gives them, not checked.
        index: what the names point at when it is an index; else empty.
    """

    manifest_digest: Digest
    names: tuple[str, ...]
    index: str = ""


def find_images(intake: Intake, platform: str, what: str) -> list[FoundImage]:
    """Read ``index.json`` and what it leads to.

    Args:
        intake: the archive, read to its end.
        platform: which image to take where there are several; empty: the host's.
        what: names the archive in messages.

    Raises:
        Corrupt: blobs are missing or are not what they are called.
        Unsupported: no image for the platform.
    """
    index = parse_index(intake.document("index.json"), f"index.json of {what}")
    groups: dict[str, list[Descriptor]] = {}
    for number, entry in enumerate(index.manifests):
        if not is_attestation(entry):
            name = _name(entry)
            # Entries of one name are platforms of one image; those without any are images each,
            # unless they say that they are for different platforms.
            key = name or ("" if entry.platform else f"#{number}")
            groups.setdefault(key, []).append(entry)
    found = []
    for entries in groups.values():
        group = Index(schema_version=2, manifests=tuple(entries))
        manifest = _choose(intake, group, platform, what, _MAX_INDEX_DEPTH)
        _check_manifest(intake, manifest, platform, what)
        name, first = _name(entries[0]), entries[0]
        is_index = len(entries) == 1 and first.media_type in mediatype.INDEXES
        found.append(
            FoundImage(
                manifest_digest=manifest.digest,
                names=(name,) if name else (),
                index=str(first.digest) if is_index else "",
            )
        )
    if not found:
        raise Corrupt(f"{what} holds no image: its index is empty")
    return found


def _name(entry: Descriptor) -> str:
    annotations = entry.annotations or {}
    name = annotations.get(ANNOTATION_IMAGE_NAME) or annotations.get(ANNOTATION_REF_NAME, "")
    # A bare word is a tag without its repository (skopeo's oci:DIR:TAG): no name of an image.
    return name if ":" in name or "/" in name else ""


def _choose(intake: Intake, index: Index, platform: str, what: str, depth: int) -> Descriptor:
    if not depth:
        raise Corrupt(f"{what} nests its indexes too deeply")
    usable = [entry for entry in index.manifests if not is_attestation(entry)]
    wanted = parse_platform(platform) if platform else host_platform()
    if len(usable) == 1 and not platform:
        # The only one there is: whether it can run is for "run" to say.
        chosen = usable[0]
    else:
        chosen = select(index, wanted, what)
    if chosen.media_type in mediatype.INDEXES:
        nested = parse_index(_read(intake, chosen, what), f"index {chosen.digest}")
        return _choose(intake, nested, platform, what, depth - 1)
    mediatype.check_manifest_type(chosen.media_type)
    return chosen


def _read(intake: Intake, descriptor: Descriptor, what: str) -> bytes:
    if not intake.has_blob(descriptor):
        raise Corrupt(f"{what} names {descriptor.digest} and lacks it, or has it in another size")
    return intake.content.read(descriptor.digest)


def _check_manifest(intake: Intake, descriptor: Descriptor, platform: str, what: str) -> None:
    manifest = parse_manifest(_read(intake, descriptor, what), f"manifest {descriptor.digest}")
    for blob in (manifest.config, *manifest.layers):
        if not intake.has_blob(blob):
            raise Corrupt(f"{what} names {blob.digest} and lacks it, or has it in another size")
    if not platform:
        return
    config = parse_image_config(
        intake.content.read(manifest.config.digest), f"image config {manifest.config.digest}"
    )
    wanted = parse_platform(platform)
    if not matches(wanted, config.platform):
        raise Unsupported(f"{what} is not made for {wanted}; it offers {config.platform}")
