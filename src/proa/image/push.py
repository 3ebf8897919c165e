"""Pushing an image: what the registry lacks of its blobs, then the manifest, then its name here.

A blob that the registry has is not sent; one that another of its repositories has, as far as this
store knows from its own pulls and pushes, is mounted from there. Blobs go out as they are stored,
unless another compression is asked for: then each layer is packed anew into an unnamed file and the
manifest names the new blobs. A manifest is put last, so that a name never lacks what it stands for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

import msgspec

from proa.errors import Invalid, NotFound
from proa.image.layers.layer import read_range
from proa.image.model import Progress, silent
from proa.image.platforms import complete_manifests, describe_missing
from proa.image.recompress import Packed, open_packed
from proa.image.registry.blobs import has_blob
from proa.image.registry.client import Client
from proa.image.registry.manifests import add_referrer, put_manifest
from proa.image.registry.repository import Repository
from proa.image.registry.uploads import start_upload, upload
from proa.image.store import ImageStore
from proa.oci import mediatype
from proa.oci.codec import decode_json, encode_json
from proa.oci.descriptor import Descriptor
from proa.oci.digest import Digest, digest_of, parse_digest
from proa.oci.index import is_attestation, parse_index
from proa.oci.manifest import Manifest, parse_manifest
from proa.oci.reference import Reference, parse_reference

PushCompression = Literal["", "gzip", "zstd"]
_WORKERS = 3
_MAX_SOURCES = 4
"""Repositories to mount from: each lengthens the scope that a token server has to grant."""


class Pushed(msgspec.Struct, frozen=True, kw_only=True):
    """What is in the registry now.

    Attributes:
        reference: normalized, with the tag.
        digest: of the manifest as it was pushed.
        size_bytes: of the manifest.
    """

    reference: str
    digest: Digest
    size_bytes: int


class _Subject(msgspec.Struct, frozen=True):
    subject: Descriptor | None = None


def push(
    store: ImageStore,
    client: Client,
    name: str,
    *,
    platform: str = "",
    compression: PushCompression = "",
    progress: Progress = silent,
) -> Pushed:
    """Push the image that ``name`` means here to the registry that ``name`` says.

    A name that points at an index goes on as one when all that the index lists is here; otherwise,
    and with ``platform``, one platform's image is pushed.

    Args:
        store: where the image is.
        client: who speaks to registries; still the caller's afterwards.
        name: a reference with a tag.
        platform: push only the image for this one.
        compression: of the layers there; empty: as they are here.
        progress: told the bytes of each blob, from several threads.

    Raises:
        NotFound: no image of that name here, or none for the platform.
        Invalid: malformed, or a name with a digest, which nobody can choose.
        Unauthorized, Forbidden, Unavailable: the registry's reasons.
        Corrupt: a stored blob is damaged; the registry refused it.
    """
    reference = parse_reference(name)
    if reference.digest:
        raise Invalid(f"{name!r} has a digest", "an image is pushed under a name and a tag")
    with store.lease():
        image = store.get_for(str(reference), platform)
        sources = _find_sources(store, reference)
        repositories = tuple(dict.fromkeys(one for many in sources.values() for one in many))
        repository = Repository(client, reference, push=True, sources=repositories[:_MAX_SOURCES])
        sender = _Sender(store, repository, sources, progress)
        index = "" if platform else _find_index(store, str(reference), progress)
        if index:
            pushed = sender.send_index(parse_digest(index), reference.tag, compression)
        else:
            pushed = sender.send_image(image.manifest_digest, reference.tag, compression)
        kept = index if pushed.digest == index else ""
        if not index or kept:
            store.name(image, (f"{reference.repository}@{pushed.digest}",), kept)
    return Pushed(reference=str(reference), digest=pushed.digest, size_bytes=pushed.size)


def _find_index(store: ImageStore, name: str, progress: Progress) -> str:
    """Return the index that a name points at if all of it is here; else say what is not."""
    record = store.references.find(name)
    if record is None or not record.index:
        return ""
    if complete_manifests(store.content, record.index) is not None:
        return record.index
    missing = describe_missing(store.content, record.index)
    progress(f"pushing one platform of several: not here are {missing or 'parts of the index'}")
    return ""


def push_all_tags(
    store: ImageStore,
    client: Client,
    name: str,
    *,
    compression: PushCompression = "",
    progress: Progress = silent,
) -> list[Pushed]:
    """Push every tag that a repository has here; errors as :func:`push`.

    Raises:
        Invalid: ``name`` has a tag or a digest.
        NotFound: no tag of it is here.
    """
    reference = parse_reference(name)
    if reference.digest or name.endswith(f":{reference.tag}"):
        raise Invalid(f"{name!r} names one image", "leave the tag out to push all of them")
    prefix = f"{reference.repository}:"
    names = [one.reference for one in store.references.list() if one.reference.startswith(prefix)]
    if not names:
        raise NotFound(f"no tag of {reference.familiar_repository} is here", "see: proa images")
    return [
        push(store, client, one, compression=compression, progress=progress)
        for one in sorted(names)
    ]


class _Sender:
    """Sends the blobs of one image."""

    def __init__(
        self,
        store: ImageStore,
        repository: Repository,
        sources: dict[Digest, list[str]],
        progress: Progress,
    ) -> None:
        self._store = store
        self._repository = repository
        self._sources = sources
        self._progress = progress

    def send_all(
        self, layers: tuple[Descriptor, ...], compression: PushCompression
    ) -> tuple[Descriptor, ...]:
        """Send layers, several at a time; return what they are there."""
        from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

        # The same blob twice (empty layers) is sent once.
        distinct = tuple({layer.digest: layer for layer in layers}.values())
        with ThreadPoolExecutor(_WORKERS) as pool:
            futures = [pool.submit(self.send, layer, compression) for layer in distinct]
            try:
                for future in wait(futures, return_when=FIRST_EXCEPTION).done:
                    future.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                self._repository.client.abort()
                raise
        sent = {
            layer.digest: future.result() for layer, future in zip(distinct, futures, strict=True)
        }
        return tuple(sent[layer.digest] for layer in layers)

    def send_index(self, digest: Digest, name: str, compression: PushCompression) -> Descriptor:
        """Send an index and all that it lists; return what it is there."""
        data = self._store.content.read(digest)
        index = parse_index(data, f"index {digest}")
        entries = []
        for entry in index.manifests:
            if entry.media_type in mediatype.INDEXES:
                sent = self.send_index(entry.digest, entry.digest, compression)
            else:
                # Provenance has layers that are no archives.
                packing = "" if is_attestation(entry) else compression
                sent = self.send_image(entry.digest, entry.digest, packing)
            entries.append(
                msgspec.structs.replace(
                    entry, media_type=sent.media_type, digest=sent.digest, size=sent.size
                )
            )
        if tuple(entries) != index.manifests:
            index = msgspec.structs.replace(index, manifests=tuple(entries))
            data = encode_json(index)
        media_type = index.media_type or mediatype.OCI_INDEX
        return self._put(data, media_type, name if name != digest else "")

    def send_image(self, digest: Digest, name: str, compression: PushCompression) -> Descriptor:
        """Send an image's blobs and its manifest; return what that is there."""
        data = self._store.content.read(digest)
        manifest = parse_manifest(data, f"manifest {digest}")
        layers = self.send_all(manifest.layers, compression)
        self.send(manifest.config, "")
        if layers != manifest.layers:
            manifest = _converted(manifest, layers)
            data = encode_json(manifest)
        media_type = manifest.media_type or mediatype.OCI_MANIFEST
        return self._put(data, media_type, name if name != digest else "")

    def _put(self, data: bytes, media_type: str, name: str) -> Descriptor:
        """Put a manifest or an index under a tag, or without one under its digest."""
        descriptor = Descriptor(media_type=media_type, digest=digest_of(data), size=len(data))
        tag = name or str(descriptor.digest)
        self._progress(f"pushing manifest {tag}")
        listed = put_manifest(self._repository, tag, media_type, data)
        _list_subject(self._repository, data, media_type, listed=listed)
        return descriptor

    def send(self, blob: Descriptor, compression: PushCompression) -> Descriptor:
        """Make sure that the registry has a blob; return what it is there."""
        with open_packed(self._store.content, blob, compression) as packed:
            self._send(packed)
            return packed.descriptor

    def _send(self, packed: Packed) -> None:
        blob, repository = packed.descriptor, self._repository
        step = f"{'layer' if blob.media_type not in mediatype.CONFIGS else 'config'} {blob.digest}"
        self._progress(step, 0, blob.size)
        if not has_blob(repository, blob.digest):
            source = self._sources.get(blob.digest, [""])[0]
            location = start_upload(repository, blob.digest, source)
            if location is not None:
                upload(
                    repository,
                    blob,
                    _content(packed.fd),
                    location,
                    lambda sent: self._progress(step, sent, blob.size),
                )
        self._progress(step, blob.size, blob.size)


def _content(fd: int) -> Callable[[int, int], Iterator[bytes]]:
    return lambda start, end: read_range(fd, start, end)


def _find_sources(store: ImageStore, reference: Reference) -> dict[Digest, list[str]]:
    """Return for each blob the other repositories of the registry that are known to have it.

    Known are those that an image was pulled from or pushed to: they have a name with a digest.
    """
    found: dict[Digest, list[str]] = {}
    for record in store.references.list():
        if "@" not in record.reference or record.reference.startswith("<"):
            continue
        other = parse_reference(record.reference)
        if other.domain != reference.domain or other.path == reference.path:
            continue
        for layer in store.get(record.reference, names=False).layers:
            found.setdefault(layer.blob.digest, []).append(other.path)
    return found


def _converted(manifest: Manifest, layers: tuple[Descriptor, ...]) -> Manifest:
    """Return the OCI manifest of the same image with its layers packed otherwise."""
    config = msgspec.structs.replace(manifest.config, media_type=mediatype.OCI_CONFIG)
    return msgspec.structs.replace(
        manifest, media_type=mediatype.OCI_MANIFEST, config=config, layers=layers
    )


def _list_subject(repository: Repository, data: bytes, media_type: str, *, listed: bool) -> None:
    """List an image that refers to another where the registry does not do it by itself."""
    if listed:
        return
    subject = decode_json(data, _Subject, "the manifest").subject
    if subject is not None:
        entry = Descriptor(media_type=media_type, digest=digest_of(data), size=len(data))
        add_referrer(repository, subject.digest, entry)
