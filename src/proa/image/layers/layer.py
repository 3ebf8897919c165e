"""One layer in one pass: read, verify, decompress, verify, unpack."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from proa.errors import Corrupt
from proa.image.border import Border
from proa.image.content.verify import Meter
from proa.image.layers.apply import Applied, Applier
from proa.image.layers.compression import CHUNK_BYTES, decompressed
from proa.image.layers.prefetch import Prefetch
from proa.image.layers.reader import TarReader
from proa.image.layers.stream import ByteStream
from proa.image.limits import DEFAULT, Limits
from proa.oci.digest import DiffID, algorithm

Tee = Callable[[bytes], None]


def read_chunks(fd: int, report: Callable[[int], None] | None = None) -> Iterator[bytes]:
    """Yield what can be read of a descriptor; ``report`` is told the bytes so far."""
    done = 0
    while chunk := os.read(fd, CHUNK_BYTES):
        done += len(chunk)
        if report:
            report(done)
        yield chunk


def read_range(fd: int, start: int, end: int) -> Iterator[bytes]:
    """Yield the bytes from ``start`` to before ``end``; the descriptor's offset stays.

    Raises:
        Corrupt: the file is shorter.
    """
    while start < end:
        chunk = os.pread(fd, min(CHUNK_BYTES, end - start), start)
        if not chunk:
            raise Corrupt(f"content is cut short at byte {start}")
        start += len(chunk)
        yield chunk


def apply_layer(
    chunks: Iterator[bytes],
    root_fd: int,
    what: str,
    *,
    diff_id: DiffID | None = None,
    tee: Tee | None = None,
    limits: Limits = DEFAULT,
) -> tuple[Applied, DiffID]:
    """Unpack a layer into an empty directory.

    Args:
        chunks: the blob, compressed or not; exhausted, unless something is wrong.
        root_fd: the directory.
        what: names the layer in messages.
        diff_id: what the uncompressed tar must hash to; None: whatever it is.
        tee: also gets the uncompressed tar, in another thread.
        limits: see :class:`~proa.image.limits.Limits`.

    Raises:
        Corrupt: damaged, cut short, or not ``diff_id``.
        Invalid: hostile.
        ProaError: the disk's reasons.
    """
    meter = Meter(algorithm(diff_id) if diff_id else "sha256")

    def metered() -> Iterator[bytes]:
        for chunk in decompressed(chunks, what, limits):
            meter.update(chunk)
            if tee:
                tee(chunk)
            yield chunk

    ahead = Prefetch(metered())
    try:
        with Border(f"cannot unpack {what}"):
            reader = TarReader(
                ByteStream(iter(ahead), what), what, limits=limits, require_end=diff_id is None
            )
            applied = Applier(root_fd, what, limits).run(reader)
    finally:
        ahead.close()
    found = DiffID(meter.digest())
    if diff_id is not None and found != diff_id:
        raise Corrupt(
            f"{what} unpacks to {found} where the image config promises {diff_id}",
            "the image is damaged or was put together wrongly; fetch or load it again",
        )
    return applied, found
