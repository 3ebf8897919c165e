"""Writing blobs to a repository (OCI distribution spec 1.1, "Pushing blobs").

A blob that another repository of the registry has is mounted; the rest goes over the wire in
chunks. Registries and their proxies drop long requests, so every chunk is a request of its own and
a broken one is continued at the offset that the registry says it has.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from urllib.parse import quote

from proa.errors import Conflict, Corrupt, Invalid, NotFound, ProaError, Unavailable
from proa.image.registry.client import Request
from proa.image.registry.repository import Repository
from proa.image.registry.retry import backoff_s
from proa.image.registry.transport import Answer, discard
from proa.oci.descriptor import Descriptor
from proa.oci.digest import Digest

CHUNK_BYTES = 32 << 20
_FAILURES_WITHOUT_PROGRESS = 4
_RANGE = re.compile(r"(?:bytes=)?0-(\d+)\Z", re.ASCII)

Content = Callable[[int, int], Iterable[bytes]]
"""Called with the first byte and the byte after the last; gives exactly these, each time anew."""


def start_upload(repository: Repository, digest: Digest, source: str = "") -> str | None:
    """Open an upload, or mount the blob from another repository of the same registry.

    Args:
        repository: where to.
        digest: of the blob.
        source: name of a repository that has it; empty to not try mounting.

    Returns:
        The location to upload to, or None when the blob was mounted.
    """
    query = f"?mount={quote(digest)}&from={quote(source, safe='')}" if source else ""
    answer = repository.ask(
        Request(
            method="POST",
            target=f"blobs/uploads/{query}",
            doing=f"cannot push to {repository}",
            headers={"Content-Length": "0"},
            success=(201, 202),
        )
    )
    location = answer.headers.get("Location") or ""
    discard(answer)
    if answer.status == 201:
        return None
    return _check_location(location, repository)


def upload(
    repository: Repository,
    descriptor: Descriptor,
    content: Content,
    location: str,
    sent: Callable[[int], None],
    chunk_bytes: int = CHUNK_BYTES,
) -> None:
    """Send a blob to an open upload and close it; the registry verifies the digest.

    Args:
        repository: where to.
        descriptor: of the blob.
        content: gives its bytes, see :data:`Content`.
        location: from :func:`start_upload`.
        sent: told the offset that the registry has.
        chunk_bytes: longest body of one request.

    Raises:
        Corrupt: the registry found another digest.
        Unavailable: it failed too often without getting further.
    """
    offset, failures = 0, 0
    while True:
        try:
            if descriptor.size - offset <= chunk_bytes:
                _finish(repository, descriptor, content, location, offset)
                sent(descriptor.size)
                return
            end = offset + chunk_bytes
            location = _patch(repository, descriptor, content, location, offset, end)
            offset, failures = end, 0
        except (Unavailable, NotFound, Conflict) as error:
            # NotFound: the registry forgot the upload. Conflict: it is at another offset.
            failures += 1
            if failures > _FAILURES_WITHOUT_PROGRESS or repository.client.stop.is_set():
                raise
            repository.client.pause(backoff_s(failures - 1), repository.endpoints[-1])
            before = offset
            location, offset = _resume(repository, descriptor, location, error)
            if offset > before:
                failures = 0
        sent(offset)


def _patch(
    repository: Repository,
    descriptor: Descriptor,
    content: Content,
    location: str,
    start: int,
    end: int,
) -> str:
    answer = repository.ask(
        Request(
            method="PATCH",
            location=location,
            doing=f"cannot push blob {descriptor.digest} to {repository}",
            headers={
                "Content-Type": "application/octet-stream",
                "Content-Length": str(end - start),
                "Content-Range": f"{start}-{end - 1}",
            },
            body=lambda: content(start, end),
            success=(201, 202, 204, 416),
            attempts=1,
        )
    )
    _refuse_offset(answer, descriptor)
    return _check_location(answer.headers.get("Location") or location, repository)


def _finish(
    repository: Repository, descriptor: Descriptor, content: Content, location: str, start: int
) -> None:
    """Send what is left, maybe all, together with the digest."""
    left = descriptor.size - start
    headers = {"Content-Length": str(left), "Content-Type": "application/octet-stream"}
    if start and left:
        headers["Content-Range"] = f"{start}-{descriptor.size - 1}"
    joint = "&" if "?" in location else "?"
    try:
        answer = repository.ask(
            Request(
                method="PUT",
                location=f"{location}{joint}digest={quote(descriptor.digest)}",
                doing=f"cannot push blob {descriptor.digest} to {repository}",
                headers=headers,
                body=(lambda: content(start, descriptor.size)) if left else None,
                success=(201, 202, 204, 416),
                attempts=1,
            )
        )
    except Invalid as error:
        # DIGEST_INVALID and SIZE_INVALID: what arrived is not what was announced.
        raise Corrupt(
            error.message, "the stored blob may be damaged: pull or build it again"
        ) from (error)
    _refuse_offset(answer, descriptor)


def _refuse_offset(answer: Answer, descriptor: Descriptor) -> None:
    discard(answer)
    if answer.status == 416:
        raise Conflict(f"the registry is at another offset of blob {descriptor.digest}")


def _resume(
    repository: Repository, descriptor: Descriptor, location: str, error: ProaError
) -> tuple[str, int]:
    """Ask how far an upload came; open a new one when the registry does not know it any more."""
    if error.kind != "not-found":
        try:
            answer = repository.ask(
                Request(
                    method="GET",
                    location=location,
                    doing=f"cannot continue to push blob {descriptor.digest} to {repository}",
                    success=(204,),
                    attempts=2,
                )
            )
        except ProaError:
            pass
        else:
            discard(answer)
            found = _RANGE.match(answer.headers.get("Range") or "")
            # "0-0" is what registries say about an upload that is still empty.
            offset = int(found[1]) + 1 if found and found[1] != "0" else 0
            if offset <= descriptor.size:
                next_location = answer.headers.get("Location") or location
                return _check_location(next_location, repository), offset
    opened = start_upload(repository, descriptor.digest)
    return _check_location(opened or "", repository), 0


def _check_location(location: str, repository: Repository) -> str:
    if not location:
        raise Corrupt(f"{repository} opened an upload without saying where")
    return location
