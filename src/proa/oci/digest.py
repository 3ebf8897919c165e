"""Digests of content, and the two kinds that layers have (OCI image spec, "Layer ChainID").

Three strings that look alike and must never be mixed are three types: :data:`Digest` names a blob
as it is stored and sent, :data:`DiffID` names a layer's uncompressed tar, :data:`ChainID` names a
stack of layers.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import NewType

from proa.errors import Invalid

Digest = NewType("Digest", str)
DiffID = NewType("DiffID", str)
ChainID = NewType("ChainID", str)

# The registered algorithms. Hex is lower case by the spec, which is what keeps one blob from having
# two names; \Z and not $, which would let a line feed through into a path.
_DIGEST = re.compile(r"(?:sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})\Z")


def parse_digest(text: str) -> Digest:
    """Check that ``text`` is a digest that can safely become a path.

    Raises:
        Invalid: unknown algorithm, wrong length, upper case, or anything that is not hex.
    """
    if not _DIGEST.match(text):
        raise Invalid(
            f"{text[:160]!r} is not a digest",
            "a digest is sha256: and 64 or sha512: and 128 lower-case hex digits",
        )
    return Digest(text)


def parse_diff_id(text: str) -> DiffID:
    """Check that ``text`` is the digest of an uncompressed layer; errors as ``parse_digest``."""
    return DiffID(parse_digest(text))


def parse_chain_id(text: str) -> ChainID:
    """Check that ``text`` is the digest of a stack of layers; errors as ``parse_digest``."""
    return ChainID(parse_digest(text))


def digest_of(data: bytes) -> Digest:
    """Return the sha256 digest of ``data``."""
    return Digest(f"sha256:{hashlib.sha256(data).hexdigest()}")


def algorithm(digest: str) -> str:
    """Return ``sha256`` or ``sha512``."""
    return digest.partition(":")[0]


def encoded(digest: str) -> str:
    """Return the hex digits."""
    return digest.partition(":")[2]


def chain_ids(diff_ids: Iterable[DiffID]) -> tuple[ChainID, ...]:
    """Return the chain id of every layer, lowest layer first.

    ``ChainID(L0) = DiffID(L0)`` and ``ChainID(L0|...|Ln) = sha256(ChainID(L0|...|Ln-1) " "
    DiffID(Ln))``: the same layer on another parent is another snapshot.
    """
    chain: list[ChainID] = []
    for diff_id in diff_ids:
        text = f"{chain[-1]} {diff_id}" if chain else ""
        chain.append(ChainID(digest_of(text.encode())) if text else ChainID(diff_id))
    return tuple(chain)
