"""Descriptors: type, digest and size of content (OCI image spec, "Content Descriptors")."""

from __future__ import annotations

import msgspec

from proa.errors import Invalid
from proa.oci.digest import Digest, parse_digest
from proa.oci.platform import Platform


class Descriptor(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """Names content by digest; nothing is trusted about content that has no descriptor.

    Attributes:
        media_type: what the content is.
        digest: checked when decoded: it becomes a path.
        size: bytes, exactly.
        urls: other places of the content; never fetched.
        platform: in an index, what the manifest is for.
    """

    media_type: str
    digest: Digest
    size: int
    urls: tuple[str, ...] | None = None
    annotations: dict[str, str] | None = None
    platform: Platform | None = None
    artifact_type: str = ""

    def __post_init__(self) -> None:
        try:
            parse_digest(self.digest)
        except Invalid as error:
            # msgspec reports ValueError from a decoded Struct as its own ValidationError.
            raise ValueError(error.message) from error
        if self.size < 0:
            raise ValueError(f"descriptor of {self.digest} has the negative size {self.size}")
