"""``proa image bootstrap``: make a base image, or find that it has been made already.

An image is remembered under a key of everything that decides its content: the request, the sources,
and the digests of the archive's package indexes (signed, verified by apt). While none of them
changes, a second bootstrap costs one fetch of the Release files. The note is
``images/bootstrap/<key>``; it is a hint only: it counts while its image still has a name.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable

import msgspec

from proa.fs.atomicfile import load_file, save_file
from proa.image.bootstrap import busybox, debian
from proa.image.bootstrap.release import fetch_release
from proa.image.bootstrap.request import Request, make_request
from proa.image.bootstrap.sources import source_lines
from proa.image.bootstrap.tools import require_tool
from proa.image.model import Image, Progress, silent
from proa.image.naming import familiar
from proa.image.rootfs import store_image, store_layer
from proa.image.store import ImageStore
from proa.oci.codec import encode_json
from proa.oci.digest import Digest, digest_of
from proa.oci.imageconfig import ContainerDefaults
from proa.oci.platform import host_platform
from proa.oci.reference import parse_reference

_RECIPE = 1
"""Part of every key; raised when what is done to a root filesystem changes."""

_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_LABEL_TITLE = "org.opencontainers.image.title"
_LABEL_SOURCE = "org.opencontainers.image.source"


class _Note(msgspec.Struct, frozen=True):
    """What was made for a key."""

    target: str


def bootstrap(
    store: ImageStore,
    target: str,
    *,
    variant: str = "minbase",
    include: tuple[str, ...] = (),
    architecture: str = "",
    mirror: str = "",
    components: tuple[str, ...] = (),
    allow_expired: bool = False,
    refresh: bool = False,
    progress: Progress = silent,
) -> Image:
    """Make the image ``target`` from a distribution's packages.

    Args:
        store: where the image goes.
        target: ``debian:SUITE``, ``ubuntu:SUITE`` (also with ``-slim``) or ``busybox``; the name of
            the image.
        variant: mmdebstrap's set of packages.
        include: more packages.
        architecture: e.g. ``arm64``; empty: the host's. Another one needs qemu-user in binfmt_misc.
        mirror: where packages come from; empty: the host's mirror.
        components: sections of the archive.
        allow_expired: take package lists whose date of expiry has passed (a snapshot's always has);
            their signatures are verified all the same.
        refresh: make it again although nothing has changed.
        progress: told what happens.

    Raises:
        Invalid: what no archive could serve.
        Unavailable: a tool, a keyring or the archive is missing.
        Unsupported: an architecture that does not run here.
    """
    if parse_reference(target).familiar_repository == "busybox":
        return _bootstrap_busybox(store, target, refresh, progress)
    request = make_request(
        target,
        variant=variant,
        include=include,
        architecture=architecture,
        mirror=mirror,
        components=components,
        allow_expired=allow_expired,
    )
    require_tool(debian.PACKAGE, debian.PACKAGE)
    debian.check_architecture(request.architecture)
    lines = source_lines(request)
    progress(f"looking at {request.distribution.name} {request.suite}")
    release = fetch_release(request, lines)
    key = _key("debian", request, lines, release)

    def build() -> Digest:
        chunks = debian.rootfs_chunks(request, lines, release.epoch_s, progress)
        name = familiar(request.reference)
        layer = store_layer(store.content, store.snapshots, chunks, f"the packages of {name}")
        return store_image(
            store.content,
            layer,
            platform=request.platform,
            defaults=ContainerDefaults(
                env=(_PATH,),
                cmd=("bash",),
                labels={_LABEL_TITLE: name, _LABEL_SOURCE: request.distribution.mirror},
            ),
            created=_rfc3339(release.epoch_s),
            created_by=_created_by(request),
            comment="bootstrapped from signed packages",
        )

    return _ensure(store, request.reference, key, build, refresh)


def _bootstrap_busybox(store: ImageStore, target: str, refresh: bool, progress: Progress) -> Image:
    program = busybox.busybox_program(progress)
    key = _key("busybox", digest_of(program))

    def build() -> Digest:
        chunks = busybox.rootfs_chunks(program, busybox.list_applets(program))
        layer = store_layer(store.content, store.snapshots, chunks, "busybox")
        return store_image(
            store.content,
            layer,
            platform=host_platform(),
            defaults=ContainerDefaults(env=(_PATH,), cmd=("sh",), labels={_LABEL_TITLE: "busybox"}),
            created=_rfc3339(0),
            created_by=f"proa image bootstrap busybox ({busybox.PACKAGE})",
        )

    return _ensure(store, str(parse_reference(target)), key, build, refresh)


def _ensure(
    store: ImageStore, reference: str, key: str, build: Callable[[], Digest], refresh: bool
) -> Image:
    directory = f"{store.root}/images/bootstrap"
    path = f"{directory}/{key}"
    if not refresh:
        with store.lease():
            target = _noted(store, path)
            if target:
                image = store.get(target)
                store.tag(target, reference)
                return store.get(image.id)
    image = store.make(build, reference)
    os.makedirs(directory, 0o700, exist_ok=True)
    save_file(path, msgspec.json.encode(_Note(image.manifest_digest)), durable=False)
    return image


def _noted(store: ImageStore, path: str) -> str:
    """Return the manifest that was made for a key, if it is still an image."""
    try:
        note = msgspec.json.decode(load_file(path), type=_Note)
    except (FileNotFoundError, msgspec.MsgspecError):
        return ""
    known = any(record.target == note.target for record in store.references.list())
    return note.target if known else ""


def _key(*parts: object) -> str:
    return hashlib.sha256(encode_json([_RECIPE, *parts])).hexdigest()


def _created_by(request: Request) -> str:
    words = ["proa image bootstrap", familiar(request.reference), f"--variant {request.variant}"]
    if request.include:
        words.append(f"--include {','.join(request.include)}")
    return " ".join(words)


def _rfc3339(epoch_s: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(epoch_s))
