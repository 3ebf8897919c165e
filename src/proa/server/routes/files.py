"""Files of containers: ``archive``, ``export``, and ``commit``."""

from __future__ import annotations

import base64
import json
import stat
from collections.abc import Iterator
from typing import Any, Final

from proa.engine.containers.archive.copy import PathStat
from proa.image.layers.compression import decompressed
from proa.server import responses
from proa.server.call import Call
from proa.server.encode.fields import Fields
from proa.server.errors import bad_request
from proa.server.pipes import sent_by_client
from proa.server.responses import Answer, Response
from proa.server.routing import Route
from proa.units import format_rfc3339_ns

_GO_BITS: Final = (
    (stat.S_ISDIR, 1 << 31),
    (stat.S_ISLNK, 1 << 27),
    (stat.S_ISBLK, 1 << 26),
    (stat.S_ISFIFO, 1 << 25),
    (stat.S_ISSOCK, 1 << 24),
    (stat.S_ISCHR, 1 << 26 | 1 << 21),
)
"""Go's ``os.FileMode``: what clients read ``mode`` as."""

_GO_FLAGS: Final = ((stat.S_ISUID, 1 << 23), (stat.S_ISGID, 1 << 22), (stat.S_ISVTX, 1 << 20))
_STAT_HEADER: Final = "X-Docker-Container-Path-Stat"


def get_archive(call: Call) -> Answer:
    """``GET`` and ``HEAD /containers/{id}/archive``."""
    path = _path(call)
    found = call.engine.containers.stat_path(call["id"], path)
    headers = ((_STAT_HEADER, encode_stat(found)),)
    if call.method == "HEAD":
        return Response(headers=headers)
    pieces = call.engine.containers.get_archive(call["id"], path)
    return responses.tar(pieces, headers)


def put_archive(call: Call) -> Answer:
    """``PUT /containers/{id}/archive``: a tar, plain or compressed."""
    path = _path(call)
    pieces = decompressed(call.body.pieces(), f"the archive for {path}")
    with sent_by_client():
        call.engine.containers.put_archive(call["id"], path, pieces)
    return Response()


def export(call: Call) -> Answer:
    """``GET /containers/{id}/export``."""
    return responses.tar(_checked(call.engine.containers.export(call["id"])))


def commit(call: Call) -> Answer:
    """``POST /commit``."""
    query = call.query
    container = query.text("container")
    if not container:
        raise bad_request("no container is named")
    repository, tag = query.text("repo"), query.text("tag")
    body: Any = call.json(dict[str, Any] | None, optional=True)
    image = call.engine.containers.commit(
        container,
        f"{repository}:{tag}" if repository and tag else repository,
        author=query.text("author"),
        message=query.text("comment"),
        changes=[*_instructions(Fields(body or {})), *_lines(query.texts("changes"))],
        pause=query.flag("pause", default=True),
    )
    return responses.document({"Id": image.id}, 201)


def encode_stat(found: PathStat) -> str:
    """Return the header's value: JSON in base64."""
    mode = stat.S_IMODE(found.mode) & 0o777
    for matches, bits in _GO_BITS:
        if matches(found.mode):
            mode |= bits
    for flag, bits in _GO_FLAGS:
        if found.mode & flag:
            mode |= bits
    document = {
        "name": found.name,
        "size": found.size_bytes,
        "mode": mode,
        "mtime": format_rfc3339_ns(found.mtime_ns),
        "linkTarget": found.link_target,
    }
    return base64.b64encode(json.dumps(document).encode()).decode()


def _path(call: Call) -> str:
    path = call.query.text("path")
    if not path:
        raise bad_request("bad parameter: 'path' cannot be empty")
    return path


def _checked(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Raise what is wrong before the head goes out: with the first piece."""
    first = next(pieces, b"")

    def chain() -> Iterator[bytes]:
        yield first
        yield from pieces

    return chain()


def _lines(texts: list[str]) -> list[str]:
    return [line for text in texts for line in text.split("\n") if line.strip()]


def _instructions(config: Fields) -> list[str]:
    """Return the fields of a ``Config`` as Dockerfile lines."""
    lines = [f"ENV {_quoted_pair(entry)}" for entry in config.texts("Env")]
    lines += [
        f"LABEL {json.dumps(name)}={json.dumps(value)}"
        for name, value in config.mapping("Labels").items()
    ]
    lines += [f"EXPOSE {port}" for port in config.keys("ExposedPorts")]
    lines += [f"VOLUME {json.dumps([path])}" for path in config.keys("Volumes")]
    for name, instruction in (("User", "USER"), ("WorkingDir", "WORKDIR")):
        if config.text(name):
            lines.append(f"{instruction} {config.text(name)}")
    for name, instruction in (("Entrypoint", "ENTRYPOINT"), ("Cmd", "CMD")):
        if config.texts(name):
            lines.append(f"{instruction} {json.dumps(list(config.texts(name)))}")
    return lines


def _quoted_pair(entry: str) -> str:
    name, _, value = entry.partition("=")
    return f"{name}={json.dumps(value)}"


ROUTES = (
    Route("GET", "/containers/{id}/archive", get_archive),
    Route("PUT", "/containers/{id}/archive", put_archive),
    Route("GET", "/containers/{id}/export", export),
    Route("POST", "/commit", commit),
)
