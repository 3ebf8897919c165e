"""An image as ``docker image inspect`` and ``GET /images/json`` show it (Engine API 1.51)."""

from __future__ import annotations

import os
from typing import Any

import msgspec

from proa.image.model import Image
from proa.oci.reference import parse_reference
from proa.units import NS_PER_S, format_rfc3339_ns

Document = dict[str, Any]


def inspect_image(image: Image, root: str, *, last_tagged_at_ns: int = 0) -> Document:
    """Return what ``docker image inspect`` shows.

    Args:
        image: from the store, with its names.
        root: the state root; layers are shown as host paths below it.
        last_tagged_at_ns: when its newest name was moved; 0 for unknown.
    """
    config = image.config
    lowers = [os.path.join(root, lower) for lower in image.lowers]
    data = {"UpperDir": lowers[0], "LowerDir": ":".join(lowers[1:])} if lowers else {}
    document: Document = {
        "Id": image.id,
        "RepoTags": [familiar_name(name) for name in image.references],
        "RepoDigests": [familiar_name(name) for name in image.repo_digests],
        "Parent": "",
        "Comment": config.history[-1].comment if config.history else "",
        "Created": format_rfc3339_ns(image.created_at_ns),
        "DockerVersion": "",
        "Author": config.author,
        "Config": _encode_defaults(image),
        "Architecture": config.architecture,
        "Os": config.os,
        "Size": image.size_bytes,
        "GraphDriver": {"Name": "overlay2", "Data": data},
        "RootFS": {"Type": "layers", "Layers": list(config.rootfs.diff_ids)},
        "Metadata": {
            "LastTagTime": format_rfc3339_ns(last_tagged_at_ns)
            if last_tagged_at_ns
            else "0001-01-01T00:00:00Z"
        },
    }
    if config.variant:
        document["Variant"] = config.variant
    if config.os_version:
        document["OsVersion"] = config.os_version
    return document


def image_entry(image: Image, *, containers: int = -1, shared_bytes: int = -1) -> Document:
    """Return one entry of ``GET /images/json``; -1 means not computed, as with Docker."""
    return {
        "Id": image.id,
        "ParentId": "",
        "RepoTags": [familiar_name(name) for name in image.references],
        "RepoDigests": [familiar_name(name) for name in image.repo_digests],
        "Created": image.created_at_ns // NS_PER_S,
        "Size": image.size_bytes,
        "SharedSize": shared_bytes,
        "Labels": dict(image.config.config.labels),
        "Containers": containers,
    }


def familiar_name(reference: str) -> str:
    """Return a normalized name as people write it: ``debian:bookworm``."""
    return parse_reference(reference).familiar


def _encode_defaults(image: Image) -> Document:
    defaults = image.config.config
    document: Document = msgspec.to_builtins(defaults)
    # Present in every answer of Docker's, also when empty.
    document["Cmd"] = list(defaults.cmd) or None
    document["Entrypoint"] = list(defaults.entrypoint) or None
    document["Env"] = list(defaults.env) or None
    document["Labels"] = dict(defaults.labels) or None
    document["Volumes"] = dict(defaults.volumes) or None
    document["WorkingDir"] = defaults.working_dir
    document["User"] = defaults.user
    return document
