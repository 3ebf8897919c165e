"""From files to a tar, as a stream: of one tree, or of a stack of layers as overlayfs shows it.

An entry always has the length that its header promised, whatever becomes of the file meanwhile; how
the files are found is told in :mod:`proa.image.layers.treewalk`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence

from proa.image.layers.treewalk import Item, Walker
from proa.image.layers.writer import encode_header

Pieces = Iterator[bytes]

_READ_BYTES = 1024 * 1024
_BLOCK_BYTES = 512
END = bytes(2 * _BLOCK_BYTES)


class Packer:
    """Packs trees into one archive; the caller yields :data:`END` after the last of them."""

    def __init__(self, *, shift: int = 0) -> None:
        """Prepare.

        Args:
            shift: subtracted from owners; ids outside its range become nobody's.
        """
        self._walker = Walker(shift=shift)

    def pack(self, fd: int, name: bytes) -> Pieces:
        """Yield the tar of one object (O_PATH) as ``name``; a directory with all below it.

        Raises:
            OSError: something cannot be read.
        """
        return _encode(self._walker.walk(fd, name))

    def pack_below(self, stack: Sequence[int], prefix: bytes) -> Pieces:
        """Yield the tar of what is below a directory.

        Args:
            stack: the directory in every layer that has it (O_PATH), uppermost first.
            prefix: stands before every name.
        """
        return _encode(self._walker.walk_below(stack, prefix))


def _encode(items: Iterable[Item]) -> Pieces:
    for entry, data in items:
        yield encode_header(entry)
        if data >= 0:
            yield from _contents(data, entry.size)


def _contents(fd: int, size: int) -> Pieces:
    """Yield exactly ``size`` bytes and the padding: cut, or filled up, if the file has changed."""
    left = size
    while left:
        piece = os.read(fd, min(left, _READ_BYTES))
        if not piece:
            break
        left -= len(piece)
        yield piece
    while left:
        count = min(left, _READ_BYTES)
        left -= count
        yield bytes(count)
    if padding := -size % _BLOCK_BYTES:
        yield bytes(padding)
