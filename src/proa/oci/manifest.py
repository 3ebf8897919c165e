"""Image manifests (OCI image spec, "Image Manifest"; Docker image manifest version 2, schema 2)."""

from __future__ import annotations

import msgspec

from proa.errors import Corrupt, Invalid
from proa.oci import mediatype
from proa.oci.codec import decode_json, encode_json
from proa.oci.descriptor import Descriptor

MAX_LAYERS = 127
"""Docker's limit of a stack; as many lower directories fit the page that mount(2) takes."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """One image for one platform. ``media_type`` may be missing in OCI manifests."""

    schema_version: int
    config: Descriptor
    layers: tuple[Descriptor, ...]
    media_type: str = ""
    annotations: dict[str, str] | None = None
    artifact_type: str = ""


_ABSENT = msgspec.Raw()


class _Shape(msgspec.Struct):
    """Which of the fields that tell documents apart are there."""

    manifests: msgspec.Raw = _ABSENT
    layers: msgspec.Raw = _ABSENT
    config: msgspec.Raw = _ABSENT
    fs_layers: msgspec.Raw = msgspec.field(default=_ABSENT, name="fsLayers")
    media_type: str = msgspec.field(default="", name="mediaType")


def is_index(data: bytes, what: str) -> bool:
    """Tell an index from a manifest by its content.

    Raises:
        Corrupt: it claims to be both, so that two readers would see two images (CVE-2021-41190).
    """
    shape = decode_json(data, _Shape, what)
    found = _is_there(shape.manifests)
    if found and (_is_there(shape.layers) or _is_there(shape.config)):
        raise Corrupt(f"{what} has both manifests and layers, so that it could be read as either")
    if shape.media_type in (mediatype.MANIFESTS if found else mediatype.INDEXES):
        raise Corrupt(f"{what} says that it is {shape.media_type} and has the fields of another")
    return found


def parse_manifest(data: bytes, what: str) -> Manifest:
    """Read the manifest of one image.

    Args:
        data: the bytes whose digest is the manifest's identity.
        what: names it in messages.

    Raises:
        Corrupt: no manifest, or of two kinds at once.
        Unsupported: schema 1, an artifact, or a layer that no Linux container can use.
        Invalid: more than :data:`MAX_LAYERS` layers.
    """
    if is_index(data, what):
        raise Corrupt(f"{what} is an index where the manifest of one image is needed")
    shape = decode_json(data, _Shape, what)
    if _is_there(shape.fs_layers):
        mediatype.check_manifest_type("application/vnd.docker.distribution.manifest.v1+json")
    manifest = decode_json(data, Manifest, what)
    if manifest.schema_version != 2:
        raise Corrupt(f"{what} has the schema version {manifest.schema_version} instead of 2")
    mediatype.check_manifest_type(manifest.media_type or mediatype.OCI_MANIFEST)
    if manifest.config.media_type not in mediatype.CONFIGS:
        mediatype.check_manifest_type(manifest.artifact_type or manifest.config.media_type)
    check_layer_count(len(manifest.layers), what)
    for layer in manifest.layers:
        mediatype.layer_compression(layer.media_type)
    return manifest


def check_layer_count(count: int, what: str) -> None:
    """Refuse a stack that cannot be mounted.

    Raises:
        Invalid: more than :data:`MAX_LAYERS`.
    """
    if count > MAX_LAYERS:
        raise Invalid(
            f"{what} has {count} layers, more than {MAX_LAYERS}",
            "squash the image, e.g. by exporting and importing it",
        )


def encode_manifest(config: Descriptor, layers: tuple[Descriptor, ...]) -> bytes:
    """Write the OCI manifest of an image that starts here."""
    return encode_json(
        Manifest(schema_version=2, media_type=mediatype.OCI_MANIFEST, config=config, layers=layers)
    )


def _is_there(value: msgspec.Raw) -> bool:
    return bytes(value) not in (b"", b"null")
