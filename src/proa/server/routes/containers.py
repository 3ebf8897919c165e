"""``/containers``: list, look at, create, start, stop, change and remove."""

from __future__ import annotations

import time
from signal import SIGKILL
from typing import Any

from proa.engine.containers.container import Container
from proa.errors import CommandNotExecutable, CommandNotFound
from proa.server import responses
from proa.server.call import Call
from proa.server.encode.containerbody import read_container
from proa.server.encode.fields import Fields
from proa.server.encode.resources import read_resources, read_restart
from proa.server.encode.timestamps import parse_timeout
from proa.server.errors import HttpError, bad_request
from proa.server.responses import Answer
from proa.server.routing import Route
from proa.server.streams.exits import Subscription
from proa.units import parse_signal

_ALIVE = ("running", "paused", "restarting")
_DEATH_TIMEOUT_S = 10.0


def list_containers(call: Call) -> Answer:
    """``GET /containers/json``."""
    entries = call.engine.containers.summaries(
        all=call.query.flag("all"),
        filters=call.query.filters(),
        last=call.query.integer("limit"),
        size=call.query.flag("size"),
    )
    return responses.document(entries)


def inspect(call: Call) -> Answer:
    """``GET /containers/{id}/json``."""
    found: dict[str, Any] = call.engine.containers.inspect(call["id"], size=call.query.flag("size"))
    found["ExecIDs"] = call.memory.execs.ids_of(found["Id"]) or None
    host = found["HostConfig"]
    if host.get("MemorySwappiness") is None:
        host.pop("MemorySwappiness", None)  # the published schema knows no null here
    return responses.document(found)


def create(call: Call) -> Answer:
    """``POST /containers/create``."""
    body = call.json()
    config = read_container(body, call.query.text("platform"))
    created = call.engine.containers.create(
        config, name=call.query.text("name").removeprefix("/"), pull="never"
    )
    return responses.document({"Id": created.id, "Warnings": list(created.warnings)}, 201)


def start(call: Call) -> Answer:
    """``POST /containers/{id}/start``."""
    container = call.engine.containers.get(call["id"])
    if container.status in ("running", "restarting"):
        return responses.empty(304)
    if container.status == "paused":
        raise HttpError(409, "cannot start a paused container, try unpause instead")
    try:
        call.memory.waiting.start(call.engine, container.id)
    except CommandNotFound as error:
        raise HttpError(400, words_of_missing_command(error)) from error
    except CommandNotExecutable as error:
        raise HttpError(400, words_of_missing_command(error)) from error
    return responses.empty()


def words_of_missing_command(error: CommandNotFound | CommandNotExecutable) -> str:
    """Return a message that Docker's client recognizes: it chooses its exit code by the words."""
    needed = (
        ("executable file not found", "no such file or directory")
        if isinstance(error, CommandNotFound)
        else ("permission denied", "is a directory")
    )
    message = str(error)
    return message if any(word in message for word in needed) else f"{message}: {needed[0]}"


def _get_settled(call: Call) -> Container:
    """Return a container that nobody here is about to start."""
    container: Container = call.engine.containers.get(call["id"])
    call.memory.waiting.await_start(container.id)
    return call.engine.containers.get(container.id)


def stop(call: Call) -> Answer:
    """``POST /containers/{id}/stop``."""
    container = _get_settled(call)
    if container.status not in _ALIVE:
        return responses.empty(304)
    call.engine.containers.stop(
        container.id, timeout_s=parse_timeout(call.query), signal=call.query.text("signal")
    )
    return responses.empty()


def restart(call: Call) -> Answer:
    """``POST /containers/{id}/restart``."""
    container = _get_settled(call)
    if container.status not in _ALIVE:
        call.memory.waiting.start(call.engine, container.id)
        return responses.empty()
    call.engine.containers.restart(
        container.id, timeout_s=parse_timeout(call.query), signal=call.query.text("signal")
    )
    return responses.empty()


def kill(call: Call) -> Answer:
    """``POST /containers/{id}/kill``."""
    signal = call.query.text("signal") or "KILL"
    container_id = _get_settled(call).id
    if parse_signal(signal) != SIGKILL:
        call.engine.containers.kill(container_id, signal)
        return responses.empty()
    with call.memory.events.subscribed(container_id) as subscription, call.client.watch() as gone:
        call.engine.containers.kill(container_id, signal)
        _await_death(subscription, gone)
    return responses.empty()


def _await_death(subscription: Subscription, gone: int) -> None:
    """As with Docker, SIGKILL is answered when the container is dead."""
    deadline_s = time.monotonic() + _DEATH_TIMEOUT_S
    while (left_s := deadline_s - time.monotonic()) > 0:
        events = subscription.wait(gone, left_s)
        if events is None or any(event.action in ("die", "destroy") for event in events):
            return


def pause(call: Call) -> Answer:
    """``POST /containers/{id}/pause``."""
    call.engine.containers.pause(call["id"])
    return responses.empty()


def unpause(call: Call) -> Answer:
    """``POST /containers/{id}/unpause``."""
    call.engine.containers.unpause(call["id"])
    return responses.empty()


def rename(call: Call) -> Answer:
    """``POST /containers/{id}/rename``."""
    name = call.query.text("name")
    if not name:
        raise bad_request("Neither old nor new names may be empty")
    call.engine.containers.rename(call["id"], name)
    return responses.empty()


def update(call: Call) -> Answer:
    """``POST /containers/{id}/update``."""
    fields = Fields(call.json())
    call.engine.containers.update(
        call["id"],
        resources=read_resources(fields),
        restart=read_restart(fields.fields("RestartPolicy")),
    )
    return responses.document({"Warnings": []})


def remove(call: Call) -> Answer:
    """``DELETE /containers/{id}``."""
    if call.query.flag("link"):
        raise HttpError(501, "links are not part of this version")
    call.engine.containers.remove(
        call["id"], force=call.query.flag("force"), volumes=call.query.flag("v")
    )
    return responses.empty()


def resize(call: Call) -> Answer:
    """``POST /containers/{id}/resize``."""
    rows, columns = read_size(call)
    container: Container = call.engine.containers.get(call["id"])
    call.engine.containers.resize(container.id, rows=rows, columns=columns)
    return Response200


def read_size(call: Call) -> tuple[int, int]:
    """Return ``h`` and ``w``, in characters.

    Raises:
        HttpError: 400, out of range.
    """
    rows, columns = call.query.integer("h"), call.query.integer("w")
    if not (0 <= rows <= 65535 and 0 <= columns <= 65535):
        raise bad_request(f"invalid size of a terminal: {columns} by {rows}")
    return rows, columns


def top(call: Call) -> Answer:
    """``GET /containers/{id}/top``."""
    options = call.query.text("ps_args", "-ef").split()
    table = call.engine.containers.top(call["id"], options)
    return responses.document(
        {"Titles": list(table.titles), "Processes": [list(row) for row in table.processes]}
    )


def changes(call: Call) -> Answer:
    """``GET /containers/{id}/changes``."""
    found = call.engine.containers.diff(call["id"])
    kinds = {"C": 0, "A": 1, "D": 2}
    return responses.document(
        [{"Path": item.path, "Kind": kinds[item.kind]} for item in found] or None
    )


def prune(call: Call) -> Answer:
    """``POST /containers/prune``."""
    pruned = call.engine.containers.prune(call.query.filters())
    return responses.document(
        {"ContainersDeleted": list(pruned.ids) or None, "SpaceReclaimed": pruned.freed_bytes}
    )


Response200 = responses.Response()

ROUTES = (
    Route("GET", "/containers/json", list_containers),
    Route("POST", "/containers/create", create),
    Route("POST", "/containers/prune", prune),
    Route("GET", "/containers/{id}/json", inspect),
    Route("GET", "/containers/{id}/top", top),
    Route("GET", "/containers/{id}/changes", changes),
    Route("POST", "/containers/{id}/start", start),
    Route("POST", "/containers/{id}/stop", stop),
    Route("POST", "/containers/{id}/restart", restart),
    Route("POST", "/containers/{id}/kill", kill),
    Route("POST", "/containers/{id}/pause", pause),
    Route("POST", "/containers/{id}/unpause", unpause),
    Route("POST", "/containers/{id}/rename", rename),
    Route("POST", "/containers/{id}/update", update),
    Route("POST", "/containers/{id}/resize", resize),
    Route("DELETE", "/containers/{id}", remove),
)
