"""From a name in a registry to the manifest of one image for one platform."""

from __future__ import annotations

import msgspec

from proa.errors import Corrupt
from proa.image.registry.manifests import Fetched, get_manifest
from proa.image.registry.repository import Repository
from proa.oci import mediatype
from proa.oci.digest import Digest
from proa.oci.index import parse_index, select
from proa.oci.manifest import Manifest, is_index, parse_manifest
from proa.oci.platform import Platform
from proa.oci.reference import Reference

_MAX_NESTING = 4
"""Indexes on the way to a manifest. Honest ones need two; a digest cannot contain itself, but a
registry that answers by tag could go on for ever."""


class Resolved(msgspec.Struct, frozen=True, kw_only=True):
    """What a name means for a platform.

    Attributes:
        top: digest of what the name itself points at: an index or the manifest.
        indexes: what was passed on the way, the outermost first; empty when the name points at the
            manifest.
    """

    top: Digest
    indexes: tuple[Fetched, ...]
    fetched: Fetched
    manifest: Manifest


def resolve_manifest(repository: Repository, reference: Reference, wanted: Platform) -> Resolved:
    """Fetch manifests until there is the one of an image.

    Args:
        repository: where to ask.
        reference: its digest, else its tag, says what for.
        wanted: which entry of an index to take.

    Raises:
        NotFound: no such name.
        Unsupported: no image for the platform, or no image at all.
        Corrupt: not what its digest, size or media type says; indexes without end.
    """
    name = str(reference.digest or reference.tag)
    fetched = get_manifest(repository, name)
    top = fetched.descriptor.digest
    indexes: list[Fetched] = []
    for _ in range(_MAX_NESTING):
        what = f"manifest {fetched.descriptor.digest} of {repository}"
        index = is_index(fetched.data, what)
        _check_announced(fetched.descriptor.media_type, index=index, what=what)
        if not index:
            manifest = parse_manifest(fetched.data, what)
            return Resolved(top=top, indexes=tuple(indexes), fetched=fetched, manifest=manifest)
        indexes.append(fetched)
        entry = select(parse_index(fetched.data, what), wanted, reference.familiar)
        fetched = get_manifest(repository, entry.digest, entry)
    raise Corrupt(f"{reference.familiar} is an index of indexes without end")


def _check_announced(media_type: str, *, index: bool, what: str) -> None:
    """Refuse content that is announced as one thing and reads as another (CVE-2021-41190)."""
    if media_type in (mediatype.MANIFESTS if index else mediatype.INDEXES):
        raise Corrupt(f"{what} is announced as {media_type} and has the content of another kind")
