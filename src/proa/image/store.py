"""The image store: names, content and snapshots as one thing.

On disk, below the engine's root (0700)::

    content/                      an OCI image layout (:mod:`proa.image.content.store`)
    snapshots/                    unpacked layers (:mod:`proa.image.snapshots.overlay`)
    images/<manifest hex>         what ``get`` needs of one image, decoded from content once
    images/lock                   shared while images are made or taken into use, else exclusive

Names live in the engine's database (:class:`~proa.image.references.References`). A name is written
after everything that it stands for is durable and removed before any of it, so that a crash at any
instruction leaves at most content without a name, which the next removal collects.

Lock order: ``images/lock``, then a staged snapshot, then the database. Whoever makes content or is
about to record that a container uses an image holds ``images/lock`` shared
(:meth:`ImageStore.lease`) until the record is written; the collector holds it exclusively, so that
it sees every user.
"""

from __future__ import annotations

import builtins
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec

from proa.errors import NotFound
from proa.fs import lock
from proa.image.border import Border
from proa.image.catalog import Catalog
from proa.image.content.store import ContentStore
from proa.image.limits import DEFAULT, Limits
from proa.image.model import ArchiveFormat, HistoryEntry, Image, Progress, Removal, silent
from proa.image.naming import given_name, names_of, parse_target, put_name, resolve
from proa.image.references import ImageRecord, References
from proa.image.snapshots.overlay import Snapshots
from proa.image.unpack import LayerReader
from proa.image.upkeep import InUse, Upkeep, lock_path, nobody
from proa.oci.digest import Digest
from proa.oci.mediatype import Compression
from proa.oci.platform import Platform, matches, parse_platform

if TYPE_CHECKING:
    from proa.image.filters import Condition
    from proa.image.usage import StoreUsage


class ImageStore:
    """All images of one state root. Making one touches no disk; safe to share between threads."""

    def __init__(self, root: str, references: References, *, limits: Limits = DEFAULT) -> None:
        """Bind the store to ``root`` (absolute path) and the engine's table of names.

        Args:
            root: the engine's state root.
            references: the table of names.
            limits: what archives may ask for.
        """
        self.root = root
        self.references = references
        self.content = ContentStore(f"{root}/content")
        self.snapshots = Snapshots(root)
        self._catalog = Catalog(root, self.content, self.snapshots)
        self._limits = limits
        self._upkeep = Upkeep(root, references, self._catalog, self.content, self.snapshots)

    @contextmanager
    def lease(self) -> Iterator[None]:
        """Keep images from being removed until the caller has recorded that it uses one."""
        with Border(f"cannot lock the images of {self.root}"):
            held = lock.acquire(lock_path(self.root), shared=True)
        try:
            yield
        finally:
            held.release()

    def get(self, name: str, *, names: bool = True) -> Image:
        """Return the image that ``name`` means: a reference, a digest, an id or its first digits.

        Args:
            name: the user's words.
            names: also fill ``references`` and ``repo_digests`` (reads the whole table of names);
                False is the short path of ``run``: no scan, no hashing.

        Raises:
            NotFound: there is none; the hint says how to get it.
            Invalid: malformed, or the digits fit several images.
        """
        record = resolve(self.references, name)
        image = self._catalog.get(record.target)
        return self._with_names(image) if names else image

    def find_for(self, name: str, platform: Platform) -> Image | None:
        """Return what ``name`` means for a platform; None when there is none here.

        Other platforms of a name that points at an index are found, too, and unpacked.

        Raises:
            NotFound, Invalid: as :meth:`get`.
        """
        record = resolve(self.references, name)
        image = self._catalog.get(record.target)
        if matches(platform, image.config.platform):
            return self._with_names(image)
        if not record.index or not given_name(record, name):
            return None
        from proa.image.platforms import find_manifest

        with self.lease():
            manifest = find_manifest(self.content, record.index, platform)
            if manifest is None:
                return None
            image = self._catalog.get(manifest)
            put_name(self.references, "", image.manifest_digest, image.id)
        return self._with_names(image) if matches(platform, image.config.platform) else None

    def get_for(self, name: str, platform: str) -> Image:
        """Return what ``name`` means for a platform; an empty one is whichever was pulled last.

        Raises:
            NotFound, Invalid: as :meth:`get`; also when there is none for the platform.
        """
        if not platform:
            return self.get(name)
        image = self.find_for(name, parse_platform(platform))
        if image is None:
            raise NotFound(
                f"there is no {name} for {platform} here",
                f"pull it: proa pull --platform {platform} {name}",
            )
        return image

    def list(self) -> builtins.list[Image]:
        """Return every image once, newest first, nameless ones included."""
        records = self.references.list()
        newest = {record.image_id: record for record in records}
        images = []
        for record in newest.values():
            tagged, digested = names_of(records, record.image_id)
            image = self._catalog.get(record.target)
            images.append(msgspec.structs.replace(image, references=tagged, repo_digests=digested))
        return sorted(images, key=lambda image: (-image.created_at_ns, image.id))

    def tag(self, source: str, target: str) -> str:
        """Make ``target`` another name of ``source``; return the normalized name.

        Raises:
            NotFound, Invalid: as :meth:`get`; a target with a digest is Invalid.
        """
        reference = str(parse_target(target))
        with self.lease():
            record = resolve(self.references, source)
            image = self._catalog.get(record.target)
            index = record.index if given_name(record, source) else ""
            put_name(self.references, reference, image.manifest_digest, image.id, index)
        return reference

    def remove(
        self, name: str, *, force: bool = False, in_use: InUse = nobody
    ) -> builtins.list[Removal]:
        """Remove a name, and the image with its last name (Docker's rules).

        With ``force``, an image that a container uses loses its names and stays, nameless, until
        the container is gone; an id with several names loses all of them. While somebody else makes
        images, the image only loses its name, and the next :meth:`prune` removes it.

        Raises:
            NotFound, Invalid: as :meth:`get`.
            Conflict: in use, or an id with names in several repositories, without ``force``.
        """
        return self._upkeep.remove(name, force=force, in_use=in_use)

    def prune(
        self,
        *,
        every: bool = False,
        chosen: Sequence[Condition] = (),
        in_use: InUse = nobody,
    ) -> tuple[builtins.list[Removal], int]:
        """Remove nameless images (``every``: all) that no container uses, and all garbage.

        With ``every`` and nothing to choose by, what interrupted pulls could go on from is garbage
        too.

        Args:
            every: images with a name, too.
            chosen: what an image must be like to go (:mod:`proa.image.filters`).
            in_use: which images containers use.

        Returns:
            What was removed, and how many bytes that freed, as ``du`` counts them.

        Raises:
            Unavailable: somebody else makes images right now.
        """

        def may_go(record: ImageRecord) -> bool:
            return all(holds(self.get(record.image_id)) for holds in chosen)

        may = may_go if chosen else None
        return self._upkeep.prune(every=every, may_go=may, in_use=in_use)

    def usage(self, in_use: InUse = nobody) -> StoreUsage:
        """Return what all images take on disk; reads every directory of every layer."""
        with self.lease():
            return self._upkeep.measure(self.list(), in_use())

    def history(self, name: str) -> builtins.list[HistoryEntry]:
        """Return how the image came to be, newest step first; errors as :meth:`get`."""
        from proa.image.history import history

        return history(self.get(name))

    def load(
        self, source: str | int, *, platform: str = "", progress: Progress = silent
    ) -> builtins.list[Image]:
        """Take in every image of a Docker archive or OCI layout.

        Args:
            source: path of a tar (plain or compressed) or of an OCI layout's folder; or a readable
                descriptor, which need not be seekable and stays the caller's.
            platform: which one to take of an index; empty: the host's.
            progress: told how far it is.

        Returns:
            The images in the archive's order; ``references`` are the names that the archive gave.

        Raises:
            Invalid: no such archive.
            Corrupt: content is not what its digest says, or the archive is cut short or hostile.
            Unsupported: no image for the platform.
        """
        from proa.image.archive.load import load_archive

        with self.making():
            found = load_archive(
                self.content, source, platform=platform, limits=self._limits, progress=progress
            )
            # One name may be said twice, in Docker's and in the layout's documents.
            names = [
                builtins.list(dict.fromkeys(str(parse_target(name)) for name in one.names))
                for one in found
            ]
            images = [
                self._catalog.add(one.manifest_digest, progress=progress, limits=self._limits)
                for one in found
            ]
            for one, image, references in zip(found, images, names, strict=True):
                for reference in references or [""]:
                    put_name(self.references, reference, image.manifest_digest, image.id, one.index)
        return [
            msgspec.structs.replace(image, references=tuple(references))
            for image, references in zip(images, names, strict=True)
        ]

    def save(
        self,
        names: Sequence[str],
        destination: str | int,
        *,
        platform: str = "",
        format: ArchiveFormat = "docker",  # noqa: A002 - the word of the command line
        compression: Compression = "none",
        progress: Progress = silent,
    ) -> None:
        """Write images as one archive; the same images always give the same bytes.

        A name that points at an index is written with all platforms, if all of them are here.

        Args:
            names: images as in :meth:`get`; names of the archive are those given here.
            destination: path of a tar to write, an existing or ``/``-ended folder (OCI layout), or
                a writable descriptor.
            platform: only the images for this one.
            format: ``docker`` archives are valid OCI layouts too.
            compression: of the archive as a whole.
            progress: told how far it is.

        Raises:
            NotFound, Invalid: as :meth:`get`.
            Corrupt: a blob is missing.
        """
        from proa.image.archive.save import Saved, save_archive

        with self.lease():
            chosen: dict[tuple[str, str], Saved] = {}
            for name in names:
                record = resolve(self.references, name)
                given = given_name(record, name)
                index = record.index if given and not platform else ""
                image = self.get_for(name, platform)
                saved = chosen.setdefault((image.manifest_digest, index), Saved(image, index))
                if given and given not in saved.names:
                    saved.names.append(given)
            save_archive(
                self.content,
                builtins.list(chosen.values()),
                destination,
                format=format,
                compression=compression,
                progress=progress,
            )

    def import_rootfs(
        self,
        source: str | int,
        reference: str = "",
        *,
        changes: Sequence[str] = (),
        message: str = "",
        platform: str = "",
        progress: Progress = silent,
    ) -> Image:
        """Make a one-layer image of a root filesystem's tar.

        Args:
            source: path or readable descriptor, any compression.
            reference: name of the image; empty: nameless.
            changes: Dockerfile lines: CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, USER, VOLUME, WORKDIR,
                STOPSIGNAL.
            message: comment of the history entry.
            platform: what it is made for; empty: the host's.
            progress: told how far it is.

        Raises:
            Invalid: a malformed reference, change or platform.
            Corrupt: the tar is cut short or hostile.
        """
        from proa.image.rootfs import ImportOptions, import_tar

        options = ImportOptions(changes=tuple(changes), comment=message, platform=platform)
        return self.make(
            lambda: import_tar(
                self.content, self.snapshots, source, options, self._limits, progress
            ),
            reference,
        )

    def make(self, build: Callable[[], Digest], reference: str = "") -> Image:
        """Run ``build``, which puts an image into content and snapshots, and name the image.

        Args:
            build: returns the manifest's digest; runs while nothing is collected.
            reference: name of the image; empty: nameless.

        Raises:
            Invalid: a malformed reference; ``build`` has not run.
        """
        name = str(parse_target(reference)) if reference else ""
        with self.making():
            image = self._catalog.add(build(), limits=self._limits)
            put_name(self.references, name, image.manifest_digest, image.id)
        return self._with_names(image)

    def unpack(self, manifest_digest: Digest, layers: LayerReader) -> Image:
        """Unpack an image whose documents are in the content store; it has no name yet.

        The caller has held a lease (:meth:`making`) since before it stored the documents.

        Raises:
            Corrupt, Invalid, Unsupported: what is wrong with its documents or layers.
        """
        return self._catalog.add(manifest_digest, layers=layers, limits=self._limits)

    def name(self, image: Image, names: Sequence[str], index: str = "") -> Image:
        """Give an image names (normalized, with a tag or a digest), the last one last.

        All of it is durable: the caller has held a lease since before it was stored.

        Args:
            image: unpacked.
            names: normalized.
            index: digest of the stored index that the names point at; empty: at the manifest.
        """
        for one in names:
            put_name(self.references, one, image.manifest_digest, image.id, index)
        return self._with_names(image)

    def ensure_unpacked(self, image: Image) -> None:
        """Make sure that every layer's directory is there, unpacking what is missing.

        Raises:
            Corrupt: a blob is missing or damaged.
        """
        if all(os.path.exists(f"{self.root}/{lower}") for lower in image.lowers):
            return
        with self.lease():
            self._catalog.add(image.manifest_digest, limits=self._limits)

    def exists(self, image_ids: Collection[str]) -> set[str]:
        """Return those of the image ids that are in the store."""
        return {record.image_id for record in self.references.list()} & set(image_ids)

    def _with_names(self, image: Image) -> Image:
        tagged, digested = names_of(self.references.list(), image.id)
        return msgspec.structs.replace(image, references=tagged, repo_digests=digested)

    @contextmanager
    def making(self, resumable: tuple[type[BaseException], ...] = ()) -> Iterator[None]:
        """Hold a lease while content is made; afterwards collect what turned out to be useless.

        What earlier makers had staged when they were killed is removed first.

        Args:
            resumable: failures after which the content is left, for another attempt to go on from.
        """
        self._upkeep.sweep_if_idle()
        try:
            with self.lease():
                yield
        except resumable:
            raise
        except BaseException:
            self._upkeep.collect_if_idle()
            raise
