"""Images of a Docker archive.

``docker save`` before 25 wrote ``manifest.json`` beside layer tars; since then it writes an OCI
layout, where the same file only adds names.
"""

from __future__ import annotations

import msgspec

from proa.errors import Corrupt, Unsupported
from proa.image.archive.intake import Intake
from proa.image.archive.oci_layout import FoundImage
from proa.oci.codec import decode_json
from proa.oci.descriptor import Descriptor
from proa.oci.digest import digest_of
from proa.oci.imageconfig import parse_image_config
from proa.oci.manifest import check_layer_count, encode_manifest
from proa.oci.mediatype import OCI_CONFIG, Compression, oci_layer
from proa.oci.platform import matches, parse_platform


class Item(msgspec.Struct, frozen=True, rename="pascal"):
    """One image of ``manifest.json``; names are members of the archive."""

    config: str
    layers: tuple[str, ...]
    repo_tags: tuple[str, ...] | None = None


def read_items(intake: Intake, what: str) -> tuple[Item, ...]:
    """Read ``manifest.json``.

    Raises:
        Corrupt: malformed or empty.
    """
    text = f"manifest.json of {what}"
    items = decode_json(intake.document("manifest.json"), tuple[Item, ...], text)
    if not items:
        raise Corrupt(f"{what} holds no image: its manifest.json is empty")
    return items


def find_images(intake: Intake, platform: str, what: str) -> list[FoundImage]:
    """Make an OCI manifest for every image of the archive; configs and layers stay as they are.

    Raises:
        Corrupt: members are missing or malformed.
        Unsupported: none is for ``platform``.
        Invalid: too many layers.
    """
    found = []
    offered = set()
    for item in read_items(intake, what):
        check_layer_count(len(item.layers), what)
        config = parse_image_config(intake.document(item.config), f"{item.config!r} of {what}")
        offered.add(str(config.platform))
        if platform and not matches(parse_platform(platform), config.platform):
            continue
        found.append(_store(intake, item))
    if not found:
        raise Unsupported(f"{what} is not made for {platform}; it offers {', '.join(offered)}")
    return found


def _store(intake: Intake, item: Item) -> FoundImage:
    data = intake.document(item.config)
    config = Descriptor(media_type=OCI_CONFIG, digest=intake.content.put(data), size=len(data))
    layers = []
    for name in item.layers:
        blob, codec = intake.blob(name)
        stored: Compression = codec if codec in ("gzip", "zstd") else "none"
        layers.append(Descriptor(media_type=oci_layer(stored), digest=blob.digest, size=blob.size))
    manifest = encode_manifest(config, tuple(layers))
    return FoundImage(manifest_digest=intake.content.put(manifest), names=item.repo_tags or ())


def names_by_config(intake: Intake, what: str) -> dict[str, tuple[str, ...]]:
    """Return config digest -> names, for a layout that has a ``manifest.json`` beside it."""
    names: dict[str, tuple[str, ...]] = {}
    for item in read_items(intake, what):
        digest = digest_of(intake.document(item.config))
        names[digest] = names.get(digest, ()) + (item.repo_tags or ())
    return names
