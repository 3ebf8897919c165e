"""A web server in an instance, behind a published port: its first answer, then its speed."""

from __future__ import annotations

import http.client
import socket
import time

from proa.compare.model import Row
from proa.compare.targets.base import TIMEOUT_S, CompareError, Target
from proa.compare.workloads.base import Sample

_REQUESTS = 100
_SIZE_MB = 32
_POLL_S = 0.001
_HOST = "127.0.0.1"


class Http:
    """Runs busybox httpd; the client is this process, on the host."""

    name = "http"
    rows: tuple[Row, ...] = (
        Row(
            key="start.http",
            title="Start to the first HTTP 200",
            definition="From starting the command line (run -d -p, busybox httpd) to the end of the"
            " first answer on the published port, asked for every millisecond.",
            unit="ms",
        ),
        Row(
            key="network.latency",
            title="Request to a published port",
            definition=f"Mean of {_REQUESTS} GETs of 3 bytes, one after the other, each on a"
            " connection of its own; busybox httpd forks for each.",
            unit="us",
        ),
        Row(
            key="network.throughput",
            title="Bytes from a published port",
            definition=f"One GET of {_SIZE_MB} MB from the page cache.",
            unit="MB/s",
            lower_is_better=False,
        ),
    )

    def repeats(self, *, quick: bool) -> int:
        """30, or 5."""
        return 5 if quick else 30

    def seconds(self, target: Target) -> float:
        """A start and some requests."""
        return target.startup_s * 2 + 1.0

    def instances(self, target: Target) -> int:  # noqa: ARG002 - the same for all
        """One."""
        return 1

    def measure(self, target: Target) -> list[Sample]:
        """Start it, ask it."""
        port = _find_port()
        inside = port if target.name == "host" else 80
        home = f"/tmp/proa-compare-{port}"
        script = (
            f"mkdir {home} && echo ok >{home}/small && dd if=/dev/zero of={home}/large bs=1M"
            f" count={_SIZE_MB} 2>/dev/null; exec httpd -f -p {inside} -h {home}"
        )
        begin = time.perf_counter()
        handle = target.start(("-p", f"{_HOST}:{port}:80"), ("sh", "-c", script))
        try:
            first = _await_answer(port, begin + TIMEOUT_S)
            asked = time.perf_counter()
            for _ in range(_REQUESTS):
                _get(port, "/small", 3)
            small = time.perf_counter()
            _get(port, "/large", _SIZE_MB << 20)
            large = time.perf_counter()
        finally:
            target.exec(handle, ("rm", "-rf", home))
            target.stop(handle)
            target.remove(handle)
        return [
            Sample("start.http", (first - begin) * 1e3),
            Sample("network.latency", (small - asked) / _REQUESTS * 1e6),
            Sample("network.throughput", _SIZE_MB * 1.048576 / (large - small)),
        ]


def _find_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _await_answer(port: int, deadline: float) -> float:
    while time.perf_counter() < deadline:
        try:
            _get(port, "/small", 3)
        except (OSError, http.client.HTTPException):
            time.sleep(_POLL_S)  # the poll that the definition names
        else:
            return time.perf_counter()
    raise CompareError("the web server did not answer in time")


def _get(port: int, path: str, size: int) -> None:
    connection = http.client.HTTPConnection(_HOST, port, timeout=10)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
    finally:
        connection.close()
    if answer.status != http.client.OK or len(body) != size:
        raise CompareError(f"answered {answer.status} with {len(body)} bytes instead of {size}")
