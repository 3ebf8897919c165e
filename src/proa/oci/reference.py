"""Names of images, read and completed exactly as Docker does.

Grammar and limits are those of the distribution project's reference package: ``debian`` is
``docker.io/library/debian:latest``, a first component is a registry when it holds a dot or a colon,
is ``localhost``, or holds an upper-case letter.
"""

from __future__ import annotations

import re

import msgspec

from proa.errors import Invalid
from proa.oci.digest import Digest, parse_digest

DEFAULT_DOMAIN = "docker.io"
_LEGACY_DOMAIN = "index.docker.io"
_OFFICIAL = "library/"
DEFAULT_TAG = "latest"
MAX_NAME_LENGTH = 255
MAX_REFERENCE_LENGTH = 1024
"""Longest text that is looked at: name, tag (128) and sha512 digest fit."""

_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?\Z")
_PATH = re.compile(
    r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*\Z"
)
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}\Z")
_IDENTIFIER = re.compile(r"[a-f0-9]{64}\Z")


class Reference(msgspec.Struct, frozen=True, kw_only=True):
    """A normalized name.

    Attributes:
        domain: registry, with port if any.
        path: repository without the registry.
        tag: empty when only a digest was given.
        digest: None without one.
    """

    domain: str
    path: str
    tag: str = ""
    digest: Digest | None = None

    @property
    def repository(self) -> str:
        """Registry and repository, e.g. ``docker.io/library/debian``."""
        return f"{self.domain}/{self.path}"

    @property
    def familiar_repository(self) -> str:
        """The repository as people write it, e.g. ``debian``."""
        if self.domain != DEFAULT_DOMAIN:
            return self.repository
        path = self.path.removeprefix(_OFFICIAL)
        return path if "/" not in path else self.path

    @property
    def familiar(self) -> str:
        """The whole name as people write it, e.g. ``debian:bookworm``."""
        return self.familiar_repository + self._suffix()

    def __str__(self) -> str:
        return self.repository + self._suffix()

    def _suffix(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{tag}@{self.digest}" if self.digest else tag


def parse_reference(text: str) -> Reference:
    """Read a name and complete it; ``latest`` only when neither tag nor digest is given.

    Raises:
        Invalid: malformed, too long, upper case in the repository, or 64 hex digits, which would be
            mistaken for an image id.
    """
    if not text or len(text) > MAX_REFERENCE_LENGTH:
        raise _invalid(text, "it is empty" if not text else "it is too long")
    name, at, digest_text = text.partition("@")
    digest = None
    if at:
        try:
            digest = parse_digest(digest_text)
        except Invalid as error:
            raise _invalid(text, "its digest is malformed") from error
    # A colon after the last slash starts the tag; one before it belongs to a port.
    head, colon, tag = name.rpartition(":")
    if not colon or "/" in tag:
        head, tag = name, ""
    elif not _TAG.match(tag):
        raise _invalid(text, f"the tag {tag[:140]!r} is malformed")
    if _IDENTIFIER.match(head):
        raise _invalid(text, "64 hex digits are an image id, not a name")
    domain, path = _split_domain(head)
    if path != path.lower():
        raise _invalid(text, "a repository name must be lower case")
    if not _DOMAIN.match(domain) or not _PATH.match(path):
        raise _invalid(text, "the name is malformed")
    if len(domain) + 1 + len(path) > MAX_NAME_LENGTH:
        raise _invalid(text, f"the repository name is longer than {MAX_NAME_LENGTH} characters")
    if not tag and digest is None:
        tag = DEFAULT_TAG
    return Reference(domain=domain, path=path, tag=tag, digest=digest)


def _split_domain(name: str) -> tuple[str, str]:
    first, slash, rest = name.partition("/")
    if not slash or not (
        "." in first or ":" in first or first == "localhost" or first != first.lower()
    ):
        domain, path = DEFAULT_DOMAIN, name
    else:
        domain, path = first, rest
    if domain == _LEGACY_DOMAIN:
        domain = DEFAULT_DOMAIN
    if domain == DEFAULT_DOMAIN and "/" not in path:
        path = _OFFICIAL + path
    return domain, path


def _invalid(text: str, why: str) -> Invalid:
    return Invalid(
        f"invalid reference {text[:200]!r}: {why}", "write it as [registry/]name[:tag][@digest]"
    )
