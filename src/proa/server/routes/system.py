"""The engine as a whole: ``/info`` and what everything takes on disk."""

from __future__ import annotations

import hashlib
import os
import time
import uuid

from proa.engine.diskusage import DiskUsage
from proa.server import responses
from proa.server.call import Call
from proa.server.encode import system as encode
from proa.server.encode import volumes as encode_volumes
from proa.server.errors import bad_request
from proa.server.responses import Answer
from proa.server.routing import Route

_KINDS = {
    "image": ("Images", "LayersSize"),
    "container": ("Containers",),
    "volume": ("Volumes",),
    "build-cache": ("BuildCache",),
}


def info(call: Call) -> Answer:
    """Answer ``GET /info``."""
    facts = call.engine.system.info()
    document = encode.info(
        facts,
        identity=_identity(str(facts["DockerRootDir"])),
        now_ns=time.time_ns(),
        descriptors=len(os.listdir("/proc/self/fd")),
    )
    return responses.document(document)


def _identity(root: str) -> str:
    """Return an id of this state root on this machine, the same at every start."""
    try:
        with open("/etc/machine-id", "rb") as file:
            machine = file.read().strip()
    except OSError:
        machine = os.uname().nodename.encode()
    digest = hashlib.sha256(b"proa engine\0" + machine + b"\0" + os.fsencode(root)).digest()
    return str(uuid.UUID(bytes=digest[:16]))


def disk_usage(call: Call) -> Answer:
    """Answer ``GET /system/df``; ``type`` chooses what is shown."""
    wanted = call.query.texts("type")
    for kind in wanted:
        if kind not in _KINDS:
            raise bad_request(f"unknown object type: {kind}")
    found = call.engine.system.df()
    document = encode.disk_usage(found, _containers(call, found), _volumes(call, found))
    if wanted:
        shown = {name for kind in wanted for name in _KINDS[kind]}
        document = {name: value for name, value in document.items() if name in shown}
    return responses.document(document)


def _containers(call: Call, found: DiskUsage) -> list[dict[str, object]]:
    sizes = encode.container_sizes(found)
    return [
        {**entry, **sizes.get(str(entry["Id"]), {})}
        for entry in call.engine.containers.summaries(all=True)
    ]


def _volumes(call: Call, found: DiskUsage) -> list[dict[str, object]]:
    volumes = call.engine.volumes
    return [
        encode_volumes.volume(
            volumes.inspect(one.volume.name),
            size_bytes=one.size_bytes,
            containers=one.containers,
        )
        for one in found.volumes
    ]


ROUTES = (
    Route("GET", "/info", info),
    Route("GET", "/system/df", disk_usage),
)
