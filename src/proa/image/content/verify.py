"""Digest and size of bytes as they pass by: nothing is read a second time to be checked."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from proa.errors import Corrupt
from proa.oci.descriptor import Descriptor
from proa.oci.digest import Digest, algorithm


class Meter:
    """Counts and hashes.

    Attributes:
        size: bytes so far.
    """

    __slots__ = ("_algorithm", "_hash", "size")

    def __init__(self, algorithm_name: str = "sha256") -> None:
        """Start with nothing."""
        self._algorithm = algorithm_name
        self._hash = hashlib.new(algorithm_name)
        self.size = 0

    def update(self, data: bytes | memoryview) -> None:
        """Take the next bytes."""
        self._hash.update(data)
        self.size += len(data)

    def digest(self) -> Digest:
        """Return the digest of all bytes so far."""
        return Digest(f"{self._algorithm}:{self._hash.hexdigest()}")


def check(meter: Meter, expected: Descriptor | Digest, what: str) -> None:
    """Compare what passed with what was promised.

    Raises:
        Corrupt: another size or digest.
    """
    digest = expected.digest if isinstance(expected, Descriptor) else expected
    if isinstance(expected, Descriptor) and meter.size != expected.size:
        raise Corrupt(
            f"{what} has {meter.size} bytes where its descriptor says {expected.size}",
            "the content is damaged or cut short; fetch or load it again",
        )
    found = meter.digest()
    if found != digest:
        raise Corrupt(
            f"{what} has the digest {found} where {digest} was promised",
            "the content is damaged; fetch or load it again",
        )


def verified(chunks: Iterator[bytes], expected: Descriptor, what: str) -> Iterator[bytes]:
    """Pass ``chunks`` on; raise at their end unless they are what the descriptor says.

    Raises:
        Corrupt: another digest; or another size, as soon as there is more than promised.
    """
    meter = Meter(algorithm(expected.digest))
    for chunk in chunks:
        meter.update(chunk)
        if meter.size > expected.size:
            check(meter, expected, what)
        yield chunk
    check(meter, expected, what)
