"""What comes from registries and goes there: pull, import, push, search, log in, distribution.

Transfers answer with a line of JSON for everything that happens. A client that hangs up cancels its
transfer: the next report finds nobody, and what is half there is continued by the next pull.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from proa.errors import NotFound
from proa.image.model import Image
from proa.oci.reference import parse_reference
from proa.server import pipes, responses
from proa.server.call import Call
from proa.server.credentials import AuthConfig, credentials_of
from proa.server.encode import images as encode
from proa.server.encode.platforms import read_platform
from proa.server.encode.progress import TransferProgress, message, short_digest
from proa.server.errors import HttpError, bad_request
from proa.server.responses import Answer
from proa.server.routing import Route

Emit = Callable[[dict[str, Any]], None]

_SEARCH_LIMIT = 25
_MOST_FOUND = 100


def create(call: Call) -> Answer:
    """Answer ``POST /images/create``: pull, or import the root filesystem in the body."""
    if call.query.text("fromImage"):
        return _pull(call)
    if call.query.text("fromSrc"):
        return _import(call)
    raise bad_request("give 'fromImage' to pull an image, or 'fromSrc' to import one")


def _pull(call: Call) -> Answer:
    name, word = call.query.text("fromImage"), call.query.text("tag")
    platform, credentials = read_platform(call.query), credentials_of(call)
    if word:
        name = f"{name}@{word}" if ":" in word else f"{name}:{word}"
    reference = parse_reference(name)
    images = call.engine.images
    every = reference.digest is None and not name.endswith(f":{reference.tag}")

    def produce(emit: Emit) -> None:
        reporter = _Announcing(emit, f"Pulling from {reference.path}", reference.tag)
        if every:
            for image in images.pull_all_tags(
                name, platform=platform, credentials=credentials, progress=reporter
            ):
                _tell_layers(emit, reporter, image)
                emit(message("", f"Status: Downloaded newer image for {image.references[-1]}"))
            return
        before = _find(call, name)
        image = images.pull(name, platform=platform, credentials=credentials, progress=reporter)
        reporter.announce()
        if before != image.id:
            _tell_layers(emit, reporter, image)
        digests = [one for one in image.repo_digests if one.startswith(f"{reference.repository}@")]
        if digests:
            emit(message("", f"Digest: {digests[-1].rpartition('@')[2]}"))
        what = "Image is up to date" if before == image.id else "Downloaded newer image"
        emit(message("", f"Status: {what} for {reference.familiar}"))

    return responses.json_lines(produce)


class _Announcing(TransferProgress):
    """Says which image is pulled, once the registry has answered that there is one.

    Before that nothing is said, so that "no such image" is an ordinary 404.
    """

    def __init__(self, emit: Emit, words: str, tag: str) -> None:
        super().__init__(
            emit, going="Downloading", done="Download complete", first="Pulling fs layer"
        )
        self._announcement: dict[str, Any] | None = {"status": words, "id": tag}
        self._send = emit

    def announce(self) -> None:
        """Say it, if nobody has yet."""
        words, self._announcement = self._announcement, None
        if words is not None:
            self._send(words)

    def _begin(self, name: str) -> None:
        self.announce()
        super()._begin(name)


def _tell_layers(emit: Emit, reporter: TransferProgress, image: Image) -> None:
    for layer in image.layers:
        name = short_digest(layer.blob.digest)
        emit(message(name, "Pull complete" if name in reporter.layers else "Already exists"))


def _find(call: Call, name: str) -> str:
    try:
        return call.engine.images.get(name).id
    except NotFound:
        return ""


def _import(call: Call) -> Answer:
    query, body = call.query, call.body.pieces()
    if query.text("fromSrc") != "-":
        raise HttpError(501, "importing from a URL is not supported: send the tar as the body")
    name = query.text("repo")
    if name and query.text("tag"):
        name = f"{name}:{query.text('tag')}"
    changes, words = query.texts("changes"), query.text("message")
    platform = query.text("platform")

    def produce(emit: Emit) -> None:
        with pipes.readable(body) as fd, pipes.sent_by_client():
            image = call.engine.images.import_(
                fd, name, changes=changes, message=words, platform=platform
            )
        emit({"status": image.id})

    return responses.json_lines(produce)


def push(call: Call) -> Answer:
    """Answer ``POST /images/{name}/push``; without ``tag`` all tags are pushed."""
    name, word = call["name"], call.query.text("tag")
    platform, credentials = read_platform(call.query), credentials_of(call)
    reference = parse_reference(f"{name}:{word}" if word else name)
    every = not word and not name.endswith(f":{reference.tag}")

    def produce(emit: Emit) -> None:
        emit({"status": f"The push refers to repository [{reference.repository}]"})
        reporter = TransferProgress(emit, going="Pushing", done="Pushed", first="Preparing")
        try:
            done = call.engine.images.push(
                name if every else str(reference),
                all_tags=every,
                platform=platform,
                credentials=credentials,
                progress=reporter,
            )
        except NotFound as error:
            if _find(call, str(reference)):
                raise
            raise NotFound(
                f"An image does not exist locally with the tag: {reference.familiar_repository}"
            ) from error
        for one in done:
            tag = one.reference.rpartition(":")[2]
            emit({"status": f"{tag}: digest: {one.digest} size: {one.size_bytes}"})
            aux = {"Tag": tag, "Digest": one.digest, "Size": one.size_bytes}
            emit({"progressDetail": {}, "aux": aux})

    return responses.json_lines(produce)


def search(call: Call) -> Answer:
    """Answer ``GET /images/search``."""
    term = call.query.text("term")
    if not term:
        raise bad_request("invalid argument: no search term")
    limit = call.query.integer("limit", _SEARCH_LIMIT)
    if not 1 <= limit <= _MOST_FOUND:
        raise bad_request(f"limit {limit} is outside the range of [1, {_MOST_FOUND}]")
    filters = call.query.filters()
    found = encode.search_results(
        call.engine.registries.search(term, limit=limit, credentials=credentials_of(call))
    )
    for kind, values in filters.items():
        if kind in ("is-official", "is-automated"):
            wanted = values[-1].lower() in ("1", "true")
            found = [one for one in found if one[kind.replace("-", "_")] is wanted]
        elif kind == "stars":
            if not all(value.isdecimal() for value in values):
                raise bad_request(f"invalid filter 'stars={values[-1]}'")
            found = [one for one in found if one["star_count"] >= max(map(int, values))]
        else:
            raise bad_request(f"invalid filter '{kind}'")
    return responses.document(found)


def distribution(call: Call) -> Answer:
    """Answer ``GET /distribution/{name}/json``."""
    descriptor, platforms = call.engine.registries.list_platforms(
        call["name"], credentials=credentials_of(call)
    )
    return responses.document(encode.distribution(descriptor, platforms))


def log_in(call: Call) -> Answer:
    """Answer ``POST /auth``: are these credentials good? The client stores them, not we."""
    wanted: AuthConfig = call.json(AuthConfig)
    token = call.engine.registries.check(wanted.server_address, wanted.credentials())
    return responses.document({"Status": "Login Succeeded", "IdentityToken": token})


ROUTES = (
    Route("POST", "/images/create", create),
    Route("GET", "/images/search", search),
    Route("POST", "/images/{name...}/push", push),
    Route("GET", "/distribution/{name...}/json", distribution),
    Route("POST", "/auth", log_in),
)
