"""Reading a tar archive as a stream: headers, their extensions, and nothing held but one entry."""

from __future__ import annotations

from collections.abc import Iterator

from proa.errors import Corrupt, Invalid
from proa.image.layers import header as tar
from proa.image.layers import sparse
from proa.image.layers.entry import REGULAR, Entry
from proa.image.layers.pax import Extended
from proa.image.layers.stream import BLOCK_BYTES, ByteStream
from proa.image.limits import DEFAULT, Limits


class TarReader:
    """Iterates the entries of a stream.

    The data of an entry is read before the next entry is asked for, or passed over.

    Attributes:
        stream: where the data of the current entry is read from, through this class's methods.
    """

    def __init__(
        self,
        stream: ByteStream,
        what: str,
        *,
        limits: Limits = DEFAULT,
        require_end: bool = True,
    ) -> None:
        """Read ``stream``.

        Args:
            stream: an uncompressed archive.
            what: names it in messages, e.g. ``layer sha256:...``.
            limits: bounds of what an entry may ask for.
            require_end: an archive without its end blocks is cut short; False where a digest of the
                whole says better whether it is (some writers leave them out).
        """
        self.stream = stream
        self._what = what
        self._limits = limits
        self._require_end = require_end
        self._left = 0
        self._padding = 0

    def __iter__(self) -> Iterator[Entry]:
        """Yield entries; afterwards the stream is read to its end.

        Raises:
            Corrupt: no tar, cut short, or data after the end.
            Invalid: an entry that asks for more than the limits.
        """
        extended: Extended | None = None
        extension_bytes = 0
        long_name = long_link = b""
        while block := self._next_header():
            entry = tar.parse_header(block, self._what)
            kind = entry.kind
            if kind in tar.EXTENSIONS:
                # Together: a chain of headers for one entry is as large as one large header.
                extension_bytes += entry.size
                data = self._read_extension(entry, extension_bytes)
                if kind == tar.GNU_LONG_NAME:
                    long_name = data.partition(b"\0")[0]
                elif kind == tar.GNU_LONG_LINK:
                    long_link = data.partition(b"\0")[0]
                elif kind == tar.PAX_NEXT:
                    extended = extended or Extended(self._what, self._limits)
                    extended.add(data)
                # Global records are passed over as Docker does: what holds for "all further
                # entries" is a way to change entries that were checked one by one.
                continue
            if long_name:
                entry.name = long_name
            if long_link:
                entry.link = long_link
            self._complete(entry, block, extended)
            extended = None
            extension_bytes = 0
            long_name = long_link = b""
            yield entry
        self._check_end()

    def copy_data(self, fd: int, size: int) -> None:
        """Write the next ``size`` bytes of the current entry's data to ``fd``."""
        self._take(size)
        self.stream.copy(fd, size)

    def read_data(self, limit_bytes: int) -> bytes:
        """Return all that is left of the current entry's data.

        Raises:
            Invalid: more than ``limit_bytes``.
        """
        size = self._left
        if size > limit_bytes:
            raise Invalid(f"{self._what} has a document of {size} bytes, more than {limit_bytes}")
        self._take(size)
        return self.stream.read(size)

    def data(self) -> Iterator[memoryview]:
        """Yield what is left of the current entry's data; what is not taken is passed over."""
        for view in self.stream.views(self._left):
            self._left -= len(view)
            yield view

    def _next_header(self) -> bytes:
        """Pass over what is left of the last entry; return a header, empty at the archive's end."""
        if self._left or self._padding:
            self.stream.skip(self._left + self._padding)
            self._left = self._padding = 0
        block = self.stream.read_block()
        if not block and self._require_end:
            raise Corrupt(f"{self._what} is cut short: the end of the archive is missing")
        return b"" if block == tar.ZERO_BLOCK else block

    def _complete(self, entry: Entry, block: bytes, extended: Extended | None) -> None:
        if extended:
            extended.apply(entry)
        if entry.kind == REGULAR and extended is None:
            if entry.size < 0:
                raise self._negative()
            self._left = entry.size
            self._padding = -entry.size % BLOCK_BYTES
            return
        if not tar.has_data(entry.kind):
            entry.size = entry.real_size = 0
        if entry.size < 0:
            raise self._negative()
        stored = entry.size
        if entry.kind == tar.GNU_SPARSE:
            sparse.read_old_map(entry, block, self.stream.read_block, self._what, self._limits)
            entry.kind = REGULAR
        elif extended and (
            extended.sparse_pairs or any(key.startswith(b"GNU.sparse.") for key in extended.records)
        ):
            sparse.read_pax_map(entry, extended, self.stream.read_block, self._what, self._limits)
        self._left = entry.size
        self._padding = -stored % BLOCK_BYTES

    def _negative(self) -> Corrupt:
        return Corrupt(f"{self._what} has an entry of negative size")

    def _read_extension(self, entry: Entry, total_bytes: int) -> bytes:
        limit = self._limits.extended_header_bytes
        if entry.size < 0 or total_bytes > limit:
            raise Invalid(
                f"{self._what} has an extended header of {total_bytes} bytes, more than {limit}"
            )
        data = self.stream.read(entry.size)
        self.stream.skip(-entry.size % BLOCK_BYTES)
        return data

    def _take(self, size: int) -> None:
        assert size <= self._left, "more data asked for than the entry has"
        self._left -= size

    def _check_end(self) -> None:
        for view in self.stream.rest():
            # bytes.count runs at memory speed and keeps no copy of the piece.
            if bytes(view).count(0) != len(view):
                raise Corrupt(
                    f"{self._what} has data after its end",
                    "two archives in one file, or a damaged one; tools would disagree on it",
                )
