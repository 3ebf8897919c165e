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

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager

from proa.image.model import ArchiveFormat, HistoryEntry, Image, Progress, Removal, silent
from proa.image.references import References
from proa.oci.mediatype import Compression

# Inside the class, ``list`` is its method.
Images = list[Image]
Removals = list[Removal]
Steps = list[HistoryEntry]

InUse = Callable[[], Mapping[str, str]]
"""Returns image id -> name of one container that uses it; called with the store locked."""


def nobody() -> Mapping[str, str]:
    """No container uses any image."""
    return {}


class ImageStore:
    """All images of one state root. Making one touches no disk; safe to share between threads."""

    def __init__(self, root: str, references: References) -> None:
        """Bind the store to ``root`` (absolute path) and the engine's table of names."""
        self.root = root
        self.references = references

    def lease(self) -> AbstractContextManager[None]:
        """Keep images from being removed until the caller has recorded that it uses one."""
        raise NotImplementedError

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
        raise NotImplementedError

    def list(self) -> Images:
        """Return every image once, newest first, nameless ones included."""
        raise NotImplementedError

    def tag(self, source: str, target: str) -> str:
        """Make ``target`` another name of ``source``; return the normalized name.

        Raises:
            NotFound, Invalid: as :meth:`get`; a target with a digest is Invalid.
        """
        raise NotImplementedError

    def remove(self, name: str, *, force: bool = False, in_use: InUse = nobody) -> Removals:
        """Remove a name, and the image with its last name (Docker's rules).

        With ``force``, an image that a container uses loses its names and stays, nameless, until
        the container is gone; an id with several names loses all of them.

        Raises:
            NotFound, Invalid: as :meth:`get`.
            Conflict: in use, or an id with names in several repositories, without ``force``.
        """
        raise NotImplementedError

    def prune(self, *, every: bool = False, in_use: InUse = nobody) -> tuple[Removals, int]:
        """Remove nameless images (``every``: all) that no container uses, and all garbage.

        Returns:
            What was removed, and how many bytes that freed.
        """
        raise NotImplementedError

    def history(self, name: str) -> Steps:
        """Return how the image came to be, newest step first; errors as :meth:`get`."""
        raise NotImplementedError

    def load(self, source: str | int, *, platform: str = "", progress: Progress = silent) -> Images:
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
        raise NotImplementedError

    def save(
        self,
        names: Sequence[str],
        destination: str | int,
        *,
        format: ArchiveFormat = "docker",  # noqa: A002 - the word of the command line
        compression: Compression = "none",
        progress: Progress = silent,
    ) -> None:
        """Write images as one archive; the same images always give the same bytes.

        Args:
            names: images as in :meth:`get`; names of the archive are those given here.
            destination: path of a tar to write, an existing or ``/``-ended folder (OCI layout), or
                a writable descriptor.
            format: ``docker`` archives are valid OCI layouts too.
            compression: of the archive as a whole.
            progress: told how far it is.
        """
        raise NotImplementedError

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
        raise NotImplementedError

    def ensure_unpacked(self, image: Image) -> None:
        """Make sure that every layer's directory is there, unpacking what is missing.

        Raises:
            Corrupt: a blob is missing or damaged.
        """
        raise NotImplementedError

    def exists(self, image_ids: Collection[str]) -> set[str]:
        """Return those of the image ids that are in the store."""
        raise NotImplementedError
