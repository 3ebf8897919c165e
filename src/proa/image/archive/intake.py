"""Taking an image archive in: one pass over a tar or folder, whatever order its members have.

Names of members are keys of a dictionary and never paths: nothing of an archive is written anywhere
but into the content store, under the digest of its bytes. Which members matter is known only when
the last has been seen (``docker save`` writes its manifest last), so every file becomes a blob;
those that no image needs are unreferenced and collected.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable, Iterator

from proa.errors import Corrupt, Invalid
from proa.fs.rootpath import open_in_root, open_root
from proa.image.content.store import ContentStore
from proa.image.layers.compression import Codec, decompressed, detect
from proa.image.layers.entry import LINK, REGULAR, SYMLINK, Entry
from proa.image.layers.layer import read_chunks
from proa.image.layers.prefetch import Prefetch
from proa.image.layers.reader import TarReader
from proa.image.layers.stream import ByteStream
from proa.image.limits import DEFAULT, Limits
from proa.image.model import Progress, silent
from proa.oci.codec import MAX_DOCUMENT_BYTES
from proa.oci.descriptor import Descriptor
from proa.oci.digest import Digest

_BLOBS = "blobs/"
_DOCUMENTS = ("oci-layout", "repositories")
_IGNORED = ("VERSION", "json")  # of each layer in archives of Docker before 25
_FOLDER_DEPTH = 3  # blobs/sha256/<hex>
_MAGIC_BYTES = 6
_OCTETS = "application/octet-stream"


class Intake:
    """What an archive turned out to hold."""

    def __init__(
        self, content: ContentStore, *, limits: Limits = DEFAULT, progress: Progress = silent
    ) -> None:
        """Take blobs into ``content``."""
        self.content = content
        self._limits = limits
        self._progress = progress
        self._documents: dict[str, bytes] = {}
        self._blobs: dict[str, tuple[Descriptor, Codec]] = {}
        self._links: dict[str, str] = {}
        self._document_bytes = 0

    def read_tar(self, fd: int, what: str) -> None:
        """Take in all members of a tar, compressed or not, from a descriptor that may be a pipe.

        Raises:
            Corrupt, Invalid: no tar, damaged, or more than the limits allow.
        """
        chunks = read_chunks(fd, lambda done: self._progress(what, done))
        ahead = Prefetch(decompressed(chunks, what, self._limits))
        try:
            reader = TarReader(ByteStream(iter(ahead), what), what, limits=self._limits)
            for count, entry in enumerate(reader):
                if count >= self._limits.members:
                    raise Invalid(f"{what} has more than {self._limits.members} members")
                self._add_entry(entry, reader, what)
        finally:
            ahead.close()

    def read_folder(self, path: str) -> None:
        """Take in all files of a folder that has the layout of an archive."""
        root_fd = open_root(path)
        try:
            for name in _files(root_fd, "", self._limits.members):
                fd = open_in_root(root_fd, name, os.O_RDONLY | os.O_NOFOLLOW)
                try:
                    size = os.fstat(fd).st_size
                    self._progress(f"{path}/{name}", 0, size)
                    self._add(name, size, read_chunks(fd), path)
                finally:
                    os.close(fd)
        finally:
            os.close(root_fd)

    def has(self, name: str) -> bool:
        """Say whether there is a document of that name."""
        return name in self._documents

    def document(self, name: str) -> bytes:
        """Return a document by its name in the archive.

        Raises:
            Corrupt: it is not there or too long.
        """
        name = self._resolve(name)
        if name in self._documents:
            return self._documents[name]
        return self.content.read(self.blob(name)[0].digest)

    def blob(self, name: str) -> tuple[Descriptor, Codec]:
        """Return a blob by its name in the archive, and how it is compressed.

        Raises:
            Corrupt: it is not there.
        """
        name = self._resolve(name)
        found = self._blobs.get(name)
        if found is None and name in self._documents:
            data = self._documents[name]
            found = (
                Descriptor(media_type=_OCTETS, digest=self.content.put(data), size=len(data)),
                ("none"),
            )
        if found is None:
            raise Corrupt(f"{name[:200]!r} is missing from the archive")
        return found

    def has_blob(self, descriptor: Descriptor) -> bool:
        """Say whether content is there, from this archive or from before."""
        return self.content.find(descriptor.digest) == descriptor.size

    def _add_entry(self, entry: Entry, reader: TarReader, what: str) -> None:
        name = posixpath.normpath(entry.name.decode("utf-8", "replace").lstrip("/"))
        if entry.kind == REGULAR and entry.extents is None:
            self._add(name, entry.size, reader.data(), what)
        elif entry.kind in (SYMLINK, LINK):
            # Docker wrote a layer that two images share once, and a link for the second.
            target = entry.link.decode("utf-8", "replace")
            base = posixpath.dirname(name) if entry.kind == SYMLINK else ""
            self._links[name] = posixpath.normpath(posixpath.join(base, target))

    def _add(self, name: str, size: int, pieces: Iterable[bytes | memoryview], what: str) -> None:
        if name.startswith(_BLOBS):
            self._add_addressed(name, size, pieces, what)
        elif name in _DOCUMENTS or name.endswith(".json"):
            self._add_document(name, size, pieces, what)
        elif posixpath.basename(name) not in _IGNORED:
            self._add_anonymous(name, size, pieces)

    def _add_addressed(
        self, name: str, size: int, pieces: Iterable[bytes | memoryview], what: str
    ) -> None:
        """Take a blob whose name says its digest; one that is here already is passed over."""
        algorithm, slash, hexadecimal = name.removeprefix(_BLOBS).partition("/")
        if not slash:
            return
        try:
            expected = Descriptor(
                media_type=_OCTETS, digest=Digest(f"{algorithm}:{hexadecimal}"), size=size
            )
        except ValueError as error:
            raise Corrupt(f"{what} has a blob of the malformed name {name[:200]!r}") from error
        if self.content.find(expected.digest) == size:
            fd = self.content.open(expected.digest)
            try:
                self._blobs[name] = (expected, detect(os.read(fd, _MAGIC_BYTES)))
            finally:
                os.close(fd)
            return
        with self.content.ingest(expected) as ingest:
            skip = ingest.offset
            start = b""
            for piece in pieces:
                if len(start) < _MAGIC_BYTES:
                    start += bytes(piece[:_MAGIC_BYTES])
                if skip >= len(piece):
                    skip -= len(piece)
                    continue
                ingest.write(piece[skip:])
                skip = 0
            self._blobs[name] = (ingest.commit(), detect(start))

    def _add_anonymous(self, name: str, size: int, pieces: Iterable[bytes | memoryview]) -> None:
        with self.content.ingest() as ingest:
            start = b""
            for piece in pieces:
                if len(start) < _MAGIC_BYTES:
                    start += bytes(piece[:_MAGIC_BYTES])
                ingest.write(piece)
            self._blobs[name] = (ingest.commit(), detect(start))
        self._progress(name, size, size)

    def _add_document(
        self, name: str, size: int, pieces: Iterable[bytes | memoryview], what: str
    ) -> None:
        self._document_bytes += size
        if size > MAX_DOCUMENT_BYTES or self._document_bytes > self._limits.document_bytes:
            raise Invalid(f"{what} has documents too long to be of an image ({name[:200]!r})")
        if name in self._documents:
            raise Corrupt(f"{what} has {name!r} twice, so that two readers would see two images")
        self._documents[name] = b"".join(bytes(piece) for piece in pieces)

    def _resolve(self, name: str) -> str:
        name = posixpath.normpath(name)
        for _ in range(len(self._links)):
            if name not in self._links:
                break
            name = self._links[name]
        return name


def _files(root_fd: int, top: str, limit: int) -> Iterator[str]:
    """Yield the regular files of a folder, as deep as archives go, without following links."""
    pending = [top]
    count = 0
    while pending:
        directory = pending.pop()
        fd = open_in_root(root_fd, directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            with os.scandir(fd) as entries:
                listed = sorted(entries, key=lambda entry: entry.name)
            for entry in listed:
                name = f"{directory}/{entry.name}" if directory else entry.name
                count += 1
                if count > limit:
                    raise Invalid(f"the folder has more than {limit} members")
                if entry.is_file(follow_symlinks=False):
                    yield name
                elif entry.is_dir(follow_symlinks=False) and name.count("/") < _FOLDER_DEPTH - 1:
                    pending.append(name)
        finally:
            os.close(fd)
