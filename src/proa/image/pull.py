"""Pulling an image: resolve its name, stream its layers into snapshots, name it last.

Order: manifest, image config, layers (each one stream, several at a time), names. Whatever ends a
pull early leaves no name. When it was the network or the user, blobs that are complete and the
start of those that are not serve the next pull; staged snapshots are removed. The store is leased
from before the first blob until the names are written, so the collector never sees a pull half
done. Two pulls that need one snapshot meet at its stage: the second waits and finds the work done.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from proa.errors import Invalid, NotFound, Unavailable, Unsupported
from proa.image.fetch import RemoteLayers, fetch_document, put_document
from proa.image.model import Image, Progress, silent
from proa.image.registry.client import Client
from proa.image.registry.manifests import find_digest, list_tags
from proa.image.registry.repository import Repository
from proa.image.resolve import resolve_manifest
from proa.image.store import ImageStore
from proa.oci.descriptor import Descriptor
from proa.oci.digest import Digest
from proa.oci.imageconfig import parse_image_config
from proa.oci.platform import Platform, host_platform, matches, parse_platform
from proa.oci.reference import Reference, parse_reference

Policy = Literal["always", "missing", "never"]

_RESUMABLE = (Unavailable, KeyboardInterrupt)
"""What ends a pull without a verdict on the image: what has arrived is kept for the next."""


def pull(
    store: ImageStore,
    client: Client,
    name: str,
    *,
    platform: str = "",
    policy: Policy = "always",
    progress: Progress = silent,
) -> Image:
    """Make sure that an image is in the store, as new as the policy asks.

    Args:
        store: where it goes.
        client: who speaks to registries; still the caller's afterwards.
        name: a reference; with ``missing`` and ``never`` also an image id or its first digits.
        platform: ``linux/arm64``; empty: the host's, or what there is of a single image.
        policy: ``always`` asks the registry what the name means now (content that is here is not
            fetched again), ``missing`` asks only when there is no such image, ``never`` never.
        progress: told the bytes of each layer, from several threads.

    Returns:
        The image, unpacked.

    Raises:
        NotFound: no such image, here (``never``) or there.
        Invalid: a malformed name or platform, or a hostile layer.
        Unauthorized, Unavailable, Forbidden: the registry's reasons.
        Unsupported: not made for the platform, or no image that can run on Linux.
        Corrupt: something is not what its digest or size says; nothing was named.
    """
    present = find_present(store, name, platform=platform, policy=policy)
    if present is not None:
        return present
    wanted = parse_platform(platform) if platform else None
    reference = parse_reference(name)
    repository = Repository(client, reference)
    with store.making(_RESUMABLE):
        return _pull(store, repository, reference, wanted, progress)


def pull_all_tags(
    store: ImageStore,
    client: Client,
    name: str,
    *,
    platform: str = "",
    progress: Progress = silent,
) -> list[Image]:
    """Pull every tag of a repository; tags without an image for the platform are passed over.

    Returns:
        An image for each tag; that tag is its only reference here, whatever else names it.

    Raises:
        Invalid: ``name`` has a tag or a digest.
        Unsupported: no tag has an image for the platform.
        ProaError: as :func:`pull`; tags before the failing one are there.
    """
    reference = parse_reference(name)
    if reference.digest or name.endswith(f":{reference.tag}"):
        raise Invalid(f"{name!r} names one image", "leave the tag out to pull all of them")
    wanted = parse_platform(platform) if platform else None
    images: list[Image] = []
    refused: Unsupported | None = None
    repository = Repository(client, reference)
    for tag in list_tags(repository):
        one = parse_reference(f"{reference.repository}:{tag}")
        try:
            with store.making(_RESUMABLE):
                image = _pull(store, repository, one, wanted, progress)
                images.append(msgspec.structs.replace(image, references=(str(one),)))
        except Unsupported as error:
            refused = error
    if not images and refused:
        raise refused
    return images


def find_present(
    store: ImageStore, name: str, *, platform: str = "", policy: Policy = "missing"
) -> Image | None:
    """Return the image that is here and that the policy is content with; arguments as :func:`pull`.

    Raises:
        NotFound: it is not here, and the policy is ``never``.
        Invalid: a malformed name or platform.
    """
    if policy == "always":
        return None
    wanted = parse_platform(platform) if platform else None
    try:
        image = store.find_for(name, wanted) if wanted else store.get(name)
    except NotFound:
        image = None
    if image is not None:
        return image
    if policy == "never":
        raise NotFound(
            f"no such image: {name}" + (f" for {wanted}" if wanted else ""),
            f"pull it: proa pull {name}",
        )
    return None


def _pull(
    store: ImageStore,
    repository: Repository,
    reference: Reference,
    wanted: Platform | None,
    progress: Progress,
) -> Image:
    current = _find_current(store, repository, reference, wanted)
    if current is not None:
        return current
    progress(f"resolving {reference.familiar}")
    resolved = resolve_manifest(repository, reference, wanted or host_platform())
    found, manifest = resolved.fetched, resolved.manifest
    fetch_document(repository, store.content, manifest.config)
    _check_platform(store, reference, manifest.config, wanted)
    for document in (*resolved.indexes, found):
        put_document(store.content, document.descriptor, document.data)
    layers = RemoteLayers(repository, store.content, progress)
    image = store.unpack(found.descriptor.digest, layers)
    for layer in image.layers:
        # A snapshot may have been here without this blob: from an import, or compressed otherwise.
        layers.fetch(layer.blob)
    index = str(resolved.top) if resolved.indexes else ""
    return store.name(image, _names(reference, resolved.top), index)


def _check_platform(
    store: ImageStore, reference: Reference, config: Descriptor, wanted: Platform | None
) -> None:
    """Refuse an image that says itself that it is for another platform than the user wants."""
    what = f"image config {config.digest}"
    made_for = parse_image_config(store.content.read(config.digest), what).platform
    if wanted is not None and not matches(wanted, made_for):
        raise Unsupported(f"{reference.familiar} is made for {made_for} and not for {wanted}")


def _find_current(
    store: ImageStore, repository: Repository, reference: Reference, wanted: Platform | None
) -> Image | None:
    """Return the image when it is here and is what the registry means by the name now."""
    digest = reference.digest or find_digest(repository, reference.tag)
    if digest is None:
        return None
    name = f"{reference.repository}@{digest}"
    record = store.references.find(name)
    if record is None:
        return None
    image = store.find_for(name, wanted or host_platform())
    if image is None:
        return None
    return store.name(image, _names(reference, digest), record.index)


def _names(reference: Reference, top: Digest) -> tuple[str, ...]:
    """Return what the image is called from now on: the digest first, so that no tag lacks it."""
    digested = f"{reference.repository}@{top}"
    return (digested,) if reference.digest else (digested, str(reference))
