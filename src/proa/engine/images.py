"""``engine.images``: the verbs on images, bound to an engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from proa.engine.config import Pull
from proa.engine.containers import recovery
from proa.engine.context import Context
from proa.engine.image_inspect import inspect_image
from proa.engine.imageevents import tell_of_image, tell_of_name, tell_of_pruning
from proa.image.model import (
    ArchiveFormat,
    HistoryEntry,
    Image,
    Progress,
    Removal,
    silent,
)
from proa.oci.mediatype import Compression
from proa.oci.reference import parse_reference

if TYPE_CHECKING:
    from proa.image.push import PushCompression, Pushed
    from proa.image.registry.credentials import Credentials

    PushedList = list[Pushed]

ImageList = list[Image]
HistoryList = list[HistoryEntry]
RemovalList = list[Removal]


class ImagesPruned(msgspec.Struct, frozen=True, kw_only=True):
    """What was removed, and how many bytes that freed, as ``du`` counts them."""

    removed: tuple[Removal, ...]
    freed_bytes: int


class Images:
    """Verbs on the images of one engine."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._store = context.images

    def list(self, filters: Mapping[str, Sequence[str]] | None = None) -> ImageList:
        """Return every image once, newest first.

        Args:
            filters: ``reference``, ``dangling``, ``label``, ``label!``, ``before``, ``since``,
                ``until``; with ``reference``, images have only those of their names that fit.

        Raises:
            Invalid: an unknown filter or a bad value.
            NotFound: no image of ``before`` or ``since``.
        """
        images = self._store.list()
        if not filters:
            return images
        from proa.image.filters import choose_images

        return choose_images(images, filters, self._store.get)

    def get(self, ref: str) -> Image:
        """Return an image by name, digest, id or first digits of its id."""
        return self._store.get(ref)

    def inspect(self, ref: str, *, platform: str = "") -> dict[str, object]:
        """Return what ``docker image inspect`` shows.

        Args:
            ref: the image.
            platform: of those that the name has here; empty: the one pulled last.

        Raises:
            NotFound: no such image, or none for the platform.
        """
        image = self._store.get_for(ref, platform)
        return inspect_image(image, self._context.layout.root)

    def history(self, ref: str) -> HistoryList:
        """Return how an image came to be, newest step first."""
        return self._store.history(ref)

    def tag(self, source: str, target: str) -> str:
        """Give an image another name; returns the normalized name."""
        reference = self._store.tag(source, target)
        image = self._store.get(reference, names=False)
        tell_of_image(self._context, "tag", image, name=parse_reference(reference).familiar)
        return reference

    def remove(self, ref: str, *, force: bool = False) -> RemovalList:
        """Remove a name of an image, and the image with its last name."""
        recovery.recover_all(self._context)
        image = self._store.get(ref, names=False)
        removed = self._store.remove(ref, force=force, in_use=self._in_use)
        for one in removed:
            if one.action == "untagged":
                tell_of_image(self._context, "untag", image, name=one.target)
            elif one.target == image.id:
                tell_of_image(self._context, "delete", image)
        return removed

    def prune(
        self, *, every: bool = False, filters: Mapping[str, Sequence[str]] | None = None
    ) -> ImagesPruned:
        """Remove images without a tag (``every``: all) that no container uses, and all garbage.

        Args:
            every: images with a tag, too; what interrupted pulls could go on from goes with them.
            filters: ``until``, ``label``, ``label!``, and ``dangling``, where ``false`` means
                ``every``.

        Raises:
            Invalid: an unknown filter or a bad value.
            Unavailable: another command makes images right now.
        """
        from proa.image.filters import PRUNING, conditions_of, read_boolean

        wanted = {name: values for name, values in (filters or {}).items() if values}
        dangling = wanted.pop("dangling", None)
        if dangling is not None:
            every = not read_boolean("dangling", dangling)
        chosen = conditions_of(wanted, PRUNING, self._store.get)
        recovery.recover_all(self._context)
        removed, freed_bytes = self._store.prune(every=every, chosen=chosen, in_use=self._in_use)
        tell_of_pruning(self._context, freed_bytes)
        return ImagesPruned(removed=tuple(removed), freed_bytes=freed_bytes)

    def load(
        self, source: str | int, *, platform: str = "", progress: Progress = silent
    ) -> ImageList:
        """Take in the images of an archive (path or descriptor)."""
        self._context.layout.ensure()
        images = self._store.load(source, platform=platform, progress=progress)
        for image in images:
            tell_of_image(self._context, "load", image)
        return images

    def save(
        self,
        refs: Sequence[str],
        destination: str | int,
        *,
        platform: str = "",
        format: ArchiveFormat = "docker",  # noqa: A002 - the word of the command line
        compression: Compression = "none",
        progress: Progress = silent,
    ) -> None:
        """Write images as an archive (path, folder or descriptor).

        Args:
            refs: the images; names of the archive are those given here.
            destination: where to.
            platform: only the image for this one; empty: all platforms, if all are here.
            format: ``docker`` archives are OCI layouts, too.
            compression: of the archive as a whole.
            progress: told how far it is.
        """
        self._store.save(
            refs,
            destination,
            platform=platform,
            format=format,
            compression=compression,
            progress=progress,
        )
        for ref in refs:
            tell_of_image(self._context, "save", self._store.get(ref, names=False))

    def pull(
        self,
        ref: str,
        *,
        platform: str = "",
        policy: Pull = "always",
        credentials: Credentials | None = None,
        progress: Progress = silent,
    ) -> Image:
        """Make sure that an image is here, as new as the policy asks.

        Args:
            ref: a reference; with ``missing`` and ``never`` also an image id or its first digits.
            platform: ``linux/arm64``; empty: the host's, or what there is of a single image.
            policy: ``always`` asks the registry what the name means now; content that is here is
                not fetched again.
            credentials: for this pull; None: what ``proa login`` stored.
            progress: told the bytes of each layer, from several threads.

        Raises:
            NotFound, Unauthorized, Unavailable, Unsupported, Corrupt: nothing was named.
        """
        from proa.image.pull import find_present, pull
        from proa.image.registry.client import Client

        self._context.layout.ensure()
        present = find_present(self._store, ref, platform=platform, policy=policy)
        if present is not None:
            return present
        with Client(credentials=credentials) as client:
            image = pull(self._store, client, ref, platform=platform, progress=progress)
        tell_of_name(self._context, "pull", image, ref)
        return image

    def pull_all_tags(
        self,
        ref: str,
        *,
        platform: str = "",
        credentials: Credentials | None = None,
        progress: Progress = silent,
    ) -> ImageList:
        """Pull every tag of a repository; arguments and errors as :meth:`pull`."""
        from proa.image.pull import pull_all_tags
        from proa.image.registry.client import Client

        self._context.layout.ensure()
        with Client(credentials=credentials) as client:
            images = pull_all_tags(self._store, client, ref, platform=platform, progress=progress)
        for image in images:
            for name in image.references:
                tell_of_name(self._context, "pull", image, name)
        return images

    def push(
        self,
        ref: str,
        *,
        platform: str = "",
        compression: PushCompression = "",
        all_tags: bool = False,
        credentials: Credentials | None = None,
        progress: Progress = silent,
    ) -> PushedList:
        """Push an image to the registry that its name says.

        Args:
            ref: a reference with a tag; with ``all_tags`` a repository.
            platform: push only the image for this one; empty: all platforms, if all are here.
            compression: ``gzip`` or ``zstd`` of the layers there; empty: as they are here.
            all_tags: push every tag that the repository has here.
            credentials: for this push; None: what ``proa login`` stored.
            progress: told the bytes of each blob, from several threads.

        Raises:
            NotFound: no such image here.
            Unauthorized, Forbidden, Unavailable: the registry's reasons.
        """
        from proa.image.push import push, push_all_tags
        from proa.image.registry.client import Client

        with Client(credentials=credentials) as client:
            if all_tags:
                pushed = push_all_tags(
                    self._store, client, ref, compression=compression, progress=progress
                )
            else:
                pushed = [
                    push(
                        self._store,
                        client,
                        ref,
                        platform=platform,
                        compression=compression,
                        progress=progress,
                    )
                ]
        for one in pushed:
            image = self._store.get(one.reference, names=False)
            tell_of_name(self._context, "push", image, one.reference)
        return pushed

    def import_(
        self,
        source: str | int,
        reference: str = "",
        *,
        changes: Sequence[str] = (),
        message: str = "",
        platform: str = "",
        progress: Progress = silent,
    ) -> Image:
        """Make an image of a root filesystem's tar (path or descriptor)."""
        self._context.layout.ensure()
        image = self._store.import_rootfs(
            source, reference, changes=changes, message=message, platform=platform,
            progress=progress,
        )  # fmt: skip
        tell_of_image(self._context, "import", image)
        return image

    def bootstrap(
        self,
        reference: str,
        *,
        variant: str = "",
        include: Sequence[str] = (),
        architecture: str = "",
        mirror: str = "",
        components: Sequence[str] = (),
        allow_expired: bool = False,
        refresh: bool = False,
        progress: Progress = silent,
    ) -> Image:
        """Make a base image from a distribution's signed packages; see the function."""
        from proa.image.bootstrap.bootstrap import bootstrap

        self._context.layout.ensure()
        return bootstrap(
            self._store,
            reference,
            variant=variant or "minbase",
            include=tuple(include),
            architecture=architecture,
            mirror=mirror,
            components=tuple(components),
            allow_expired=allow_expired,
            refresh=refresh,
            progress=progress,
        )

    def _in_use(self) -> dict[str, str]:
        """Image ids that containers were made from, with the name of one container each."""
        return {record.image_id: record.name for record in self._context.state.containers.list()}
