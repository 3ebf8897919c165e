"""``/_ping``, ``/version`` and ``/metrics``: is anybody there, and who."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from functools import cache
from typing import Any

from proa.server import responses
from proa.server.call import Call
from proa.server.responses import Answer, Response
from proa.server.routing import NEWEST, OLDEST, Route, format_version

_PING_HEADERS = (
    ("Builder-Version", "1"),
    ("Cache-Control", "no-cache, no-store, must-revalidate"),
    ("Pragma", "no-cache"),
    ("Swarm", "inactive"),
)


def ping(_call: Call) -> Answer:
    """``GET`` and ``HEAD /_ping``: clients read the API version from the headers."""
    return responses.text("OK", headers=_PING_HEADERS)


def version(call: Call) -> Answer:
    """``GET /version``."""
    return responses.document(_encode_version(dict(call.engine.system.version())))


def metrics(call: Call) -> Answer:
    """``GET /metrics`` for Prometheus; Docker has it on an address of its own."""
    states: Counter[str] = Counter(
        item.state.status for item in call.engine.containers.list(all=True)
    )
    return Response(
        body=call.memory.metrics.render(dict(states)).encode(),
        content_type="text/plain; version=0.0.4; charset=utf-8",
    )


def _encode_version(known: dict[str, Any]) -> dict[str, Any]:
    engine = {
        "ApiVersion": format_version(NEWEST),
        "Arch": known["Arch"],
        "BuildTime": _build_time(),
        "Experimental": "false",
        "GitCommit": "",
        "GoVersion": f"python{known['PythonVersion']}",
        "KernelVersion": known["KernelVersion"],
        "MinAPIVersion": format_version(OLDEST),
        "Os": known["Os"],
    }
    return {
        "Platform": {"Name": "Proa"},
        "Components": [{"Name": "Engine", "Version": known["Version"], "Details": engine}],
        "Version": known["Version"],
        **{name: value for name, value in engine.items() if name != "Experimental"},
    }


@cache
def _build_time() -> str:
    """When this copy was installed: the nearest thing to a build that Python has."""
    import os

    moment = datetime.fromtimestamp(int(os.stat(__file__).st_mtime), tz=UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.000000000+00:00")


ROUTES = (
    Route("GET", "/_ping", ping),
    Route("GET", "/version", version),
    Route("GET", "/metrics", metrics),
)
