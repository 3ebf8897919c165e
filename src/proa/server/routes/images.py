"""Images: what is here, and naming, removing, saving and loading it."""

from __future__ import annotations

from typing import Any

from proa.engine.image_inspect import familiar_name
from proa.server import pipes, responses
from proa.server.call import Call
from proa.server.encode import images as encode
from proa.server.encode.platforms import read_platform
from proa.server.errors import bad_request
from proa.server.responses import Answer
from proa.server.routing import Route


def list_images(call: Call) -> Answer:
    """Answer ``GET /images/json``; intermediate images, which ``all`` adds, do not exist here."""
    filters = call.query.filters()
    if name := call.query.text("filter"):  # before 1.41
        filters.setdefault("reference", []).append(name)
    images = call.engine.images.list(filters)
    shared = None
    if call.query.flag("shared-size"):
        measured = call.engine.system.df().images.images
        shared = {one.image.id: one.shared_bytes for one in measured}
    return responses.document(encode.image_list(images, version=call.version, shared=shared))


def inspect(call: Call) -> Answer:
    """Answer ``GET /images/{name}/json``."""
    return responses.document(
        call.engine.images.inspect(call["name"], platform=read_platform(call.query))
    )


def history(call: Call) -> Answer:
    """Answer ``GET /images/{name}/history``."""
    return responses.document(encode.history(call.engine.images.history(call["name"])))


def tag(call: Call) -> Answer:
    """Answer ``POST /images/{name}/tag``."""
    repository, word = call.query.text("repo"), call.query.text("tag")
    if not repository:
        raise bad_request("repository name must have at least one component")
    call.engine.images.tag(call["name"], f"{repository}:{word}" if word else repository)
    return responses.empty(201)


def remove(call: Call) -> Answer:
    """Answer ``DELETE /images/{name}``."""
    lines = call.engine.images.remove(call["name"], force=call.query.flag("force"))
    return responses.document(encode.removals(lines))


def prune(call: Call) -> Answer:
    """Answer ``POST /images/prune``."""
    pruned = call.engine.images.prune(filters=call.query.filters())
    return responses.document(encode.pruned(pruned.removed, pruned.freed_bytes))


def save_one(call: Call) -> Answer:
    """Answer ``GET /images/{name}/get``."""
    return _save(call, [call["name"]])


def save_many(call: Call) -> Answer:
    """Answer ``GET /images/get``; names come one a parameter, or with commas between them."""
    names = [name for text in call.query.texts("names") for name in text.split(",") if name]
    if not names:
        raise bad_request("no image is named: give 'names'")
    return _save(call, names)


def _save(call: Call, names: list[str]) -> Answer:
    for name in names:
        call.engine.images.get(name)
    save, platform = call.engine.images.save, read_platform(call.query)
    return responses.tar(pipes.written(lambda fd: save(names, fd, platform=platform)))


def load(call: Call) -> Answer:
    """Answer ``POST /images/load``."""
    body, platform = call.body.pieces(), read_platform(call.query)

    def produce(emit: Any) -> None:
        with pipes.readable(body) as fd, pipes.sent_by_client():
            images = call.engine.images.load(fd, platform=platform)
        for image in images:
            names = [familiar_name(name) for name in image.references]
            for name in names:
                emit({"stream": f"Loaded image: {name}\n"})
            if not names:
                emit({"stream": f"Loaded image ID: {image.id}\n"})

    return responses.json_lines(produce)


ROUTES = (
    Route("GET", "/images/json", list_images),
    Route("GET", "/images/get", save_many),
    Route("POST", "/images/load", load),
    Route("POST", "/images/prune", prune),
    Route("GET", "/images/{name...}/json", inspect),
    Route("GET", "/images/{name...}/history", history),
    Route("GET", "/images/{name...}/get", save_one),
    Route("POST", "/images/{name...}/tag", tag),
    Route("DELETE", "/images/{name...}", remove),
)
