"""Compressed streams, recognized by their first bytes and bounded in what they expand to.

Media types and file names lie; the magic number does not. Every codec is driven piecewise, so that
neither a block nor a bomb is ever held whole.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any, Literal, Protocol

from proa.errors import Corrupt, Invalid
from proa.image.limits import DEFAULT, Limits

Codec = Literal["none", "gzip", "zstd", "bzip2", "xz"]

CHUNK_BYTES = 256 * 1024
"""Size of pieces: large enough that a piece costs more than handing it over, small enough that a
few of them in flight stay in the cache."""

_MAGIC: tuple[tuple[bytes, Codec], ...] = (
    (b"\x1f\x8b\x08", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
)
_MAGIC_BYTES = 6
_XZ_MEMORY_BYTES = 96 * 1024 * 1024  # what decoding level 9 takes (65 MiB) with room to spare


class Decompressor(Protocol):
    """What the codecs of the standard library, isal and zstd have in common."""

    @property
    def eof(self) -> bool:
        """The end of this member or frame was seen."""

    @property
    def needs_input(self) -> bool:
        """Nothing more comes out without more going in."""

    @property
    def unused_data(self) -> bytes:
        """What followed the end."""

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        """Take ``data``, return at most ``max_length`` bytes."""


def detect(start: bytes) -> Codec:
    """Name the codec of a stream by its first bytes (6 suffice)."""
    for magic, codec in _MAGIC:
        if start.startswith(magic):
            return codec
    # A zstd stream may begin with a skippable frame (RFC 8878, 3.1.2), as zstd:chunked layers do.
    if len(start) >= 4 and start[1:4] == b"\x2a\x4d\x18" and start[0] & 0xF0 == 0x50:
        return "zstd"
    return "none"


def peek(chunks: Iterator[bytes]) -> tuple[Codec, Iterator[bytes]]:
    """Name the codec of a stream and return the stream with nothing taken from it."""
    start = b""
    while len(start) < _MAGIC_BYTES:
        chunk = next(chunks, None)
        if chunk is None:
            break
        start += chunk
    return detect(start), itertools.chain((start,), chunks) if start else chunks


def decompressed(chunks: Iterator[bytes], what: str, limits: Limits = DEFAULT) -> Iterator[bytes]:
    """Yield the content of a stream in pieces of at most :data:`CHUNK_BYTES`.

    Several members or frames in a row are one stream, as gzip(1) and zstd(1) have it; zeros after
    the last are padding of a tape or a registry and ignored.

    Args:
        chunks: compressed or not; every chunk is taken, also after the end of the content.
        what: names the stream in messages.
        limits: bounds of ratio and memory.

    Raises:
        Corrupt: damaged, cut short, or followed by something else.
        Invalid: expands beyond the ratio.
    """
    codec, chunks = peek(chunks)
    if codec == "none":
        yield from chunks
        return
    yield from _expand(chunks, codec, what, limits)


def _expand(chunks: Iterable[bytes], codec: Codec, what: str, limits: Limits) -> Iterator[bytes]:
    taken = given = 0
    member: Decompressor | None = None
    failures = _failures(codec)
    for chunk in chunks:
        taken += len(chunk)
        data = chunk
        while data or (member and not member.needs_input):
            if member is None:
                data = data.lstrip(b"\0") if given else data
                if not data:
                    break
                member = _decompressor(codec, limits)
            try:
                piece = member.decompress(data, CHUNK_BYTES)
            except failures as error:
                raise Corrupt(f"{what} is damaged {codec}: {error}") from error
            if piece:
                given += len(piece)
                if given > limits.ratio_floor_bytes and given > taken * limits.ratio:
                    raise Invalid(
                        f"{what} expands more than {limits.ratio}-fold: {taken} bytes of {codec}"
                        f" made {given}"
                    )
                yield piece
            data = b""
            if member.eof:
                data = member.unused_data
                member = None
    if member is not None:
        raise Corrupt(f"{what} is cut short in the middle of its {codec} stream")


def _decompressor(codec: Codec, limits: Limits) -> Decompressor:
    made: Any
    if codec == "gzip":
        from isal import igzip_lib

        made = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
    elif codec == "zstd":
        zstd = zstd_module()
        made = zstd.ZstdDecompressor(
            options={zstd.DecompressionParameter.window_log_max: limits.zstd_window_log}
        )
    elif codec == "xz":
        import lzma

        made = lzma.LZMADecompressor(memlimit=_XZ_MEMORY_BYTES)
    else:
        import bz2

        made = bz2.BZ2Decompressor()
    found: Decompressor = made
    return found


def _failures(codec: Codec) -> tuple[type[Exception], ...]:
    if codec == "gzip":
        from isal import igzip_lib

        # The stub declares an instance where the module has the class.
        error: Any = igzip_lib.IsalError
        return (error, ValueError, EOFError)
    if codec == "zstd":
        return (zstd_module().ZstdError, ValueError, EOFError)
    if codec == "xz":
        import lzma

        return (lzma.LZMAError, EOFError)
    return (OSError, ValueError, EOFError)


def zstd_module() -> Any:
    """Return the zstd module: the standard library's from Python 3.14, its backport before."""
    import sys

    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    return zstd


class Compressor(Protocol):
    """Takes bytes, gives compressed ones."""

    def compress(self, data: bytes | memoryview) -> bytes:
        """Return what is ready."""

    def flush(self) -> bytes:
        """End the stream."""


class _Stored:
    """The identity, where a compressor is asked for."""

    def compress(self, data: bytes | memoryview) -> bytes:
        return bytes(data)

    def flush(self) -> bytes:
        return b""


class _Regular:
    """Feeds a compressor in pieces of one size.

    What isal writes depends on where its input was cut, which for a pipe is a matter of luck.
    """

    def __init__(self, inner: Compressor) -> None:
        self._inner = inner
        self._pending = bytearray()

    def compress(self, data: bytes | memoryview) -> bytes:
        self._pending += data
        if len(self._pending) < CHUNK_BYTES:
            return b""
        whole = len(self._pending) - len(self._pending) % CHUNK_BYTES
        view = memoryview(bytes(self._pending[:whole]))
        del self._pending[:whole]
        return b"".join(
            self._inner.compress(view[start : start + CHUNK_BYTES])
            for start in range(0, whole, CHUNK_BYTES)
        )

    def flush(self) -> bytes:
        last = self._inner.compress(bytes(self._pending))
        self._pending.clear()
        return last + self._inner.flush()


def compressor(codec: Codec) -> Compressor:
    """Return a compressor whose output depends on nothing but its input.

    gzip is isal's level 1: 16 times as fast as zlib's default for a tenth more bytes, with no name
    and no time in the header. zstd is level 3, its default.

    Raises:
        Invalid: a codec that is only read.
    """
    if codec == "none":
        return _Stored()
    made: Any
    if codec == "gzip":
        from isal import isal_zlib

        made = isal_zlib.compressobj(level=1, wbits=31)
    elif codec == "zstd":
        made = zstd_module().ZstdCompressor(level=3)
    else:
        raise Invalid(f"{codec} is only read", "compress with gzip or zstd")
    return _Regular(made)
