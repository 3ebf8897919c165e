"""Media types of images: the OCI ones and Docker's schema 2 (OCI image spec, "Media Types")."""

from __future__ import annotations

from typing import Literal

from proa.errors import Unsupported

Compression = Literal["none", "gzip", "zstd"]

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"

MANIFESTS = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
INDEXES = frozenset({OCI_INDEX, DOCKER_INDEX})
CONFIGS = frozenset({OCI_CONFIG, DOCKER_CONFIG})

_SCHEMA1 = "application/vnd.docker.distribution.manifest.v1"
_LAYERS: dict[str, Compression] = {
    OCI_LAYER: "none",
    OCI_LAYER + "+gzip": "gzip",
    OCI_LAYER + "+zstd": "zstd",
    DOCKER_LAYER: "none",
    DOCKER_LAYER + ".gzip": "gzip",
    DOCKER_LAYER + ".zstd": "zstd",
}


def oci_layer(compression: Compression) -> str:
    """Return the OCI media type of a layer with that compression."""
    return OCI_LAYER if compression == "none" else f"{OCI_LAYER}+{compression}"


def layer_compression(media_type: str) -> Compression:
    """Return how a layer of this media type is compressed.

    Raises:
        Unsupported: foreign (non-distributable) and encrypted layers, and what is no layer.
    """
    found = _LAYERS.get(media_type)
    if found is not None:
        return found
    if "foreign" in media_type or "nondistributable" in media_type:
        raise Unsupported(
            f"layer of type {media_type} is foreign: its content is not part of the image",
            "only Windows base images use such layers; choose a Linux image",
        )
    if media_type.endswith("+encrypted"):
        raise Unsupported(
            f"layer of type {media_type} is encrypted", "decrypt the image, then load it"
        )
    raise Unsupported(f"{media_type[:160]!r} is not a layer of a container image")


def check_manifest_type(media_type: str) -> None:
    """Refuse what is not the manifest of one image.

    Raises:
        Unsupported: schema 1, or an unknown type.
    """
    if media_type in MANIFESTS:
        return
    if media_type.startswith(_SCHEMA1):
        raise Unsupported(
            "manifest of Docker's schema 1, which has no content digests",
            "push the image again with a tool younger than 2017",
        )
    raise Unsupported(f"{media_type[:160]!r} is not the manifest of a container image")
