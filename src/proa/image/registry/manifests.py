"""Manifests, tags and referrers of a repository (OCI distribution spec 1.1, "Endpoints").

A manifest is its bytes: they are hashed as received, compared with the digest that was asked for or
that the registry announced, and never re-encoded.
"""

from __future__ import annotations

import hashlib
from urllib.parse import parse_qsl, urlencode, urlsplit

import msgspec

from proa.errors import Corrupt, Invalid, NotFound, Unsupported
from proa.image.registry.answers import read_limited
from proa.image.registry.client import Request
from proa.image.registry.repository import Repository, escape
from proa.image.registry.transport import Answer, discard
from proa.oci import mediatype
from proa.oci.codec import MAX_DOCUMENT_BYTES, decode_json, encode_json
from proa.oci.descriptor import Descriptor
from proa.oci.digest import Digest, algorithm, digest_of, encoded, parse_digest
from proa.oci.index import Index

ACCEPT = ", ".join(
    (
        mediatype.OCI_INDEX,
        mediatype.DOCKER_INDEX,
        mediatype.OCI_MANIFEST,
        mediatype.DOCKER_MANIFEST,
        "*/*;q=0.1",
    )
)
_PAGE = 1000
# 100 pages of 1000: no honest repository has more tags, and a dishonest one has no end.
_PAGES = 100


class Fetched(msgspec.Struct, frozen=True, kw_only=True):
    """A manifest or index as it came: ``data`` has the digest and size of ``descriptor``."""

    descriptor: Descriptor
    data: bytes


class _Tags(msgspec.Struct, frozen=True):
    tags: list[str] | None = None


def get_manifest(repository: Repository, name: str, expected: Descriptor | None = None) -> Fetched:
    """Fetch a manifest or an index.

    Args:
        repository: where.
        name: a tag or a digest.
        expected: the entry of an index that led here: size and media type must agree too.

    Raises:
        NotFound: no such tag or digest.
        Corrupt: larger than a registry may store, or not what its digest, its size or the
            registry's own announcement says.
    """
    what = f"manifest {name} of {repository}"
    answer = repository.read(_request("GET", repository, name))
    announced = answer.headers.get("Docker-Content-Digest")
    media_type = _media_type(answer)
    data = read_limited(answer, MAX_DOCUMENT_BYTES, what)
    wanted = name if ":" in name else announced
    if wanted:
        digest = _parse_announced(wanted, what)
        found = f"{algorithm(digest)}:{hashlib.new(algorithm(digest), data).hexdigest()}"
        if found != digest:
            raise Corrupt(f"{what} has the digest {found} instead of {digest}")
    else:
        digest = digest_of(data)
    if expected is not None:
        if len(data) != expected.size:
            raise Corrupt(f"{what} is {len(data)} bytes long instead of {expected.size}")
        media_type = expected.media_type
    descriptor = Descriptor(media_type=media_type, digest=digest, size=len(data))
    return Fetched(descriptor=descriptor, data=data)


def find_digest(repository: Repository, name: str) -> Digest | None:
    """Ask what a tag points at without fetching it; None where there is no answer to that.

    Hub counts fetched manifests against a limit, not these questions.
    """
    try:
        answer = repository.read(_request("HEAD", repository, name))
    except (NotFound, Invalid, Unsupported):
        return None
    announced = answer.headers.get("Docker-Content-Digest")
    discard(answer)
    return _parse_announced(announced, f"manifest {name} of {repository}") if announced else None


def put_manifest(repository: Repository, name: str, media_type: str, data: bytes) -> bool:
    """Store a manifest under a tag or its digest; everything it names must be there already.

    Returns:
        Whether the registry lists it by its ``subject`` itself (``OCI-Subject``): if not, and the
        manifest has a subject, :func:`add_referrer` is due.
    """
    answer = repository.ask(
        Request(
            method="PUT",
            target=f"manifests/{escape(name)}",
            doing=f"cannot push the manifest {name} to {repository}",
            headers={"Content-Type": media_type},
            body=lambda: data,
            success=(200, 201, 202),
        )
    )
    announced = answer.headers.get("Docker-Content-Digest")
    lists_referrers = "OCI-Subject" in answer.headers
    discard(answer)
    if announced and announced.startswith("sha256:") and announced != digest_of(data):
        raise Corrupt(f"{repository} stored {name} as {announced} instead of {digest_of(data)}")
    return lists_referrers


def list_tags(repository: Repository) -> list[str]:
    """Return all tags, in the registry's order (lexical by the spec).

    Raises:
        NotFound: no such repository.
        Corrupt: the list does not end.
    """
    tags: list[str] = []
    target, doing = f"tags/list?n={_PAGE}", f"cannot list the tags of {repository}"
    for _ in range(_PAGES):
        answer = repository.ask(Request(method="GET", target=target, doing=doing))
        link = answer.headers.get("Link")
        page = decode_json(
            read_limited(answer, MAX_DOCUMENT_BYTES, doing), _Tags, f"tag list of {repository}"
        )
        tags.extend(page.tags or ())
        last = _parse_next(link)
        if not last:
            return tags
        # Only the position is taken from the link: where to ask is not the registry's to choose.
        target = f"tags/list?{urlencode({'n': _PAGE, 'last': last})}"
    raise Corrupt(f"the tag list of {repository} does not end")


def list_referrers(
    repository: Repository, subject: Digest, artifact_type: str = ""
) -> tuple[Descriptor, ...]:
    """Return what names ``subject`` as its subject: signatures, SBOMs, attestations.

    Registries without the referrers API are asked for the fallback tag of the spec, "Unavailable
    Referrers API".
    """
    query = f"?{urlencode({'artifactType': artifact_type})}" if artifact_type else ""
    doing = f"cannot list the referrers of {subject} in {repository}"
    try:
        answer = repository.ask(
            Request(method="GET", target=f"referrers/{escape(subject)}{query}", doing=doing)
        )
    except NotFound:
        try:
            answer = repository.ask(_request("GET", repository, _fallback_tag(subject)))
        except NotFound:
            return ()
    index = decode_json(read_limited(answer, MAX_DOCUMENT_BYTES, doing), Index, doing)
    return tuple(
        entry
        for entry in index.manifests
        if not artifact_type or entry.artifact_type == artifact_type
    )


def add_referrer(repository: Repository, subject: Digest, referrer: Descriptor) -> None:
    """List ``referrer`` under the fallback tag of ``subject``, for registries without the API."""
    known: tuple[Descriptor, ...] = ()
    tag = _fallback_tag(subject)
    try:
        answer = repository.ask(_request("GET", repository, tag))
    except NotFound:
        pass
    else:
        what = f"referrers of {subject} in {repository}"
        known = decode_json(read_limited(answer, MAX_DOCUMENT_BYTES, what), Index, what).manifests
    if any(entry.digest == referrer.digest for entry in known):
        return
    index = Index(schema_version=2, media_type=mediatype.OCI_INDEX, manifests=(*known, referrer))
    put_manifest(repository, tag, mediatype.OCI_INDEX, encode_json(index))


def _request(method: str, repository: Repository, name: str) -> Request:
    return Request(
        method=method,
        target=f"manifests/{escape(name)}",
        doing=f"cannot read {repository}{'@' if ':' in name else ':'}{name}",
        headers={"Accept": ACCEPT},
    )


def _fallback_tag(subject: Digest) -> str:
    return f"{algorithm(subject)}-{encoded(subject)}"


def _media_type(answer: Answer) -> str:
    """Return the type without parameters; what an answer without one is, its content says."""
    return (answer.headers.get("Content-Type") or "").partition(";")[0].strip().lower()


def _parse_announced(text: str, what: str) -> Digest:
    try:
        return parse_digest(text)
    except Invalid as error:
        raise Corrupt(f"{what} is announced with a malformed digest {text[:100]!r}") from error


def _parse_next(link: str | None) -> str:
    """Return the ``last`` of a ``Link: <...>; rel="next"`` (RFC 8288), or empty."""
    if not link or 'rel="next"' not in link.replace(" ", ""):
        return ""
    url = link.partition("<")[2].partition(">")[0]
    return dict(parse_qsl(urlsplit(url).query)).get("last", "")
