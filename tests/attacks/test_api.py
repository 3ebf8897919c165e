"""Attacks on ``proa serve``: exposure, rebinding, smuggling, dawdling, aborted requests.

Rows "exposure, rebinding, smuggling" and "attach and exec leaks" of the catalogue.
"""

from __future__ import annotations

import json
import os
import re
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import engines, images
from tests.support.hijack import Hijacked
from tests.support.serving import Api, UnixConnection, serving

pytestmark = pytest.mark.requires("root", "overlay", "busybox")

V = "/v1.51"
ABORTS = {"attach": 10_000, "waiting": 500, "exec": 120, "logs": 120, "stats": 120}
REQUESTS = 10_000
SLACK_KB = 4096


@pytest.fixture(scope="module")
def server() -> Iterator[Api]:
    with engines.temporary_root() as proa:
        images.ensure_busybox(proa)
        with serving(proa) as api:
            yield api
        proa.remove_all()


def _send(api: Api, data: bytes, timeout_s: float = 20.0) -> bytes:
    """Send bytes and return everything that comes back until the server hangs up or is silent."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(timeout_s)
        sock.connect(api.path)
        try:
            sock.sendall(data)
        except BrokenPipeError:
            pass  # refused before the end: what it said is still there
        got = b""
        try:
            while more := sock.recv(65536):
                got += more
        except (TimeoutError, ConnectionResetError):
            pass
        return got


def _statuses(got: bytes) -> list[int]:
    """Return the status codes of all answers in what came back."""
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", got)]


def _measures(api: Api) -> tuple[int, int, int]:
    """Return the server's descriptors, threads and resident memory in kB."""
    pid = api.process.pid
    rss = next(
        line for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        if line.startswith("Rss:")
    )  # fmt: skip
    fds = len(os.listdir(f"/proc/{pid}/fd"))
    return fds, len(os.listdir(f"/proc/{pid}/task")), int(rss.split()[1])


def _settled(api: Api, fds: int, tasks: int) -> tuple[int, int, int]:
    """Wait until the server is back at its baseline; return the last reading."""
    deadline = time.monotonic() + 20
    while True:
        now = _measures(api)
        if (now[0] <= fds and now[1] <= tasks) or time.monotonic() > deadline:
            return now
        time.sleep(0.05)  # idle threads end by a clock of their own


def test_exposure_the_socket_is_for_its_owner_alone(server: Api):
    assert stat.S_IMODE(os.stat(server.path).st_mode) == 0o660
    assert stat.S_IMODE(os.stat(os.path.dirname(server.path)).st_mode) == 0o700
    listening = Path(f"/proc/{server.process.pid}/net/tcp").read_text().splitlines()[1:]
    own = {
        os.readlink(f"/proc/{server.process.pid}/fd/{fd}")
        for fd in os.listdir(f"/proc/{server.process.pid}/fd")
    }
    assert not [line for line in listening if f"socket:[{line.split()[9]}]" in own]


@pytest.mark.parametrize(
    "lines",
    [
        b"Host: evil.example",
        b"Host: evil.example:2375",
        b"Host: 127.0.0.1.evil.example",
        b"Host: localhost.evil.example",
        b"Host: localhost\r\nOrigin: http://evil.example",
        b"Host: localhost\r\nOrigin: null",
        b"Host: localhost\r\nOrigin: https://localhost.evil.example",
        b"Host: localhost\r\nSec-Fetch-Site: cross-site",
    ],
)
def test_rebinding_foreign_names_are_refused(server: Api, lines: bytes):
    for target in (b"GET /_ping", b"GET /containers/json", b"POST /containers/create"):
        got = _send(server, target + b" HTTP/1.1\r\n" + lines + b"\r\n\r\n")
        assert _statuses(got) == [403], got


@pytest.mark.parametrize(
    "host", [b"docker", b"localhost", b"localhost:2375", b"api.moby.localhost", b"127.0.0.1:2376",
             b"[::1]:80", b"%2Fvar%2Frun%2Fdocker.sock", b""],
)  # fmt: skip
def test_rebinding_names_of_real_clients_are_known(server: Api, host: bytes):
    got = _send(server, b"GET /_ping HTTP/1.1\r\nHost: " + host + b"\r\nConnection: close\r\n\r\n")
    assert _statuses(got) == [200], got


HIDDEN = b"GET /containers/json HTTP/1.1\r\nHost: docker\r\n\r\n"


@pytest.mark.parametrize(
    "request_",
    [
        b"POST /x HTTP/1.1\r\nHost: d\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"0\r\n\r\n" + HIDDEN,
        b"POST /x HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n"
        b"0\r\n\r\n" + HIDDEN,
        b"POST /x HTTP/1.1\r\nHost: d\r\nContent-Length: 4\r\nContent-Length: 40\r\n\r\nabcd"
        + HIDDEN,
        b"POST /x HTTP/1.1\r\nHost: d\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\nabcd"
        + HIDDEN,
        b"POST /x HTTP/1.1\r\nHost: d\r\nContent-Length: +4\r\n\r\nabcd" + HIDDEN,
        b"POST /x HTTP/1.1\r\nHost: d\r\nContent-Length: 4, 4\r\n\r\nabcd" + HIDDEN,
        b"POST /x HTTP/1.1\r\nHost: d\r\nContent-Length: -1\r\n\r\n" + HIDDEN,
        b"POST /x HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: identity\r\n\r\n" + HIDDEN,
        b"POST /x HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + HIDDEN,
        b"POST /x HTTP/1.1\r\nHost: d\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
        b"POST /x HTTP/1.1\r\nHost: d\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
        b"GET /x HTTP/1.1\nHost: d\n\n\r\n\r\n" + HIDDEN,
        b"GET /x HTTP/1.1\r\nHost: d\nX: y\r\n\r\n" + HIDDEN,
        b"GET /x HTTP/1.1\r\nHost: d\r\nHost: evil.example\r\n\r\n" + HIDDEN,
        b"GET /x HTTP/1.1\r\nNo-Host: d\r\n\r\n" + HIDDEN,
        b"GET /x HTTP/9.9\r\nHost: d\r\n\r\n" + HIDDEN,
        b"GET  /x HTTP/1.1\r\nHost: d\r\n\r\n" + HIDDEN,
        b"GET /x y HTTP/1.1\r\nHost: d\r\n\r\n" + HIDDEN,
        b"G\x00T /x HTTP/1.1\r\nHost: d\r\n\r\n" + HIDDEN,
        b"CONNECT evil.example:80 HTTP/1.1\r\nHost: d\r\n\r\n" + HIDDEN,
        b"TRACE / HTTP/1.1\r\nHost: d\r\n\r\n" + HIDDEN,
        b"GET /x HTTP/1.1\r\nHost: d\r\nX: a\rb\r\n\r\n" + HIDDEN,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
def test_smuggling_what_two_parsers_read_differently_is_refused(server: Api, request_: bytes):
    statuses = _statuses(_send(server, request_))
    assert len(statuses) == 1, statuses
    assert 400 <= statuses[0] < 500


def test_smuggling_a_broken_body_ends_the_connection(server: Api):
    head = (
        b"POST /containers/create HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n"
    )
    for body in (b"zz\r\n", b"-5\r\nhello\r\n", b"5;\nhello\r\n0\r\n\r\n", b"fffffffffffffffff\r\n",
                 b"3\r\nabcdef\r\n0\r\n\r\n"):  # fmt: skip
        statuses = _statuses(_send(server, head + body + HIDDEN, 3.0))
        assert all(400 <= status < 500 for status in statuses), (body, statuses)
        assert len(statuses) <= 1


@pytest.mark.parametrize(
    "path",
    [
        "/containers/%2e%2e/json", "/containers/../json", "/%2e%2e/%2e%2e/etc/passwd",
        "/v1.51/../_ping", "/containers/a%2f..%2fb/json", "/images/../../x/json",
        "/containers/a%00b/json", "/containers/%ff%fe/json", "//_ping", "/./_ping", "_ping",
        "/containers/" + "a" * 5000 + "/json", "*", "http://evil.example/_ping",
    ],
)  # fmt: skip
def test_traversal_paths_lead_nowhere(server: Api, path: str):
    statuses = _statuses(
        _send(
            server,
            f"GET {path} HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n".encode("latin-1"),
        )
    )
    assert statuses == [200] if path.startswith("http://") else statuses[0] in (400, 404), statuses


def test_oversized_heads_and_bodies_are_refused(server: Api):
    pad = b"X-Pad: " + b"a" * 100_000 + b"\r\n"
    got = _send(server, b"GET /_ping HTTP/1.1\r\nHost: d\r\n" + pad + b"\r\n")
    assert _statuses(got) in ([431], [400])
    many = b"".join(b"H%d: v\r\n" % number for number in range(20_000))
    got = _send(server, b"GET /_ping HTTP/1.1\r\nHost: d\r\n" + many + b"\r\n")
    assert _statuses(got) in ([431], [400])
    body = json.dumps({"Image": "x" * 8_000_000}).encode()
    reply = server("POST", "/containers/create", body, headers={"Content-Type": "application/json"})
    assert reply.status == 413
    deep = b"[" * 200_000
    reply = server("POST", "/containers/create", deep, headers={"Content-Type": "application/json"})
    assert reply.status == 400


def test_slowloris_costs_no_thread_and_is_hung_up_on(server: Api):
    baseline = _measures(server)
    slow = []
    for _ in range(300):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(30)
        sock.connect(server.path)
        sock.sendall(b"GET /_ping HTTP/1.1\r\nHost: docker\r\nX-Slow: ")
        slow.append(sock)
    assert server.ok("GET", "/_ping", version="").status == 200
    assert _measures(server)[1] <= baseline[1] + 3
    began = time.monotonic()
    for sock in slow:
        assert sock.recv(4096).startswith(b"HTTP/1.1 408 ")
        sock.close()
    assert time.monotonic() - began < 20
    assert _settled(server, baseline[0], baseline[1])[0] <= baseline[0]


@pytest.mark.parametrize("kind", list(ABORTS))
def test_aborted_streams_leave_nothing(server: Api, kind: str):
    identity = server.ok(
        "POST", "/containers/create",
        {"Image": images.BUSYBOX, "Cmd": ["sleep", "600"], "OpenStdin": True},
    ).json()["Id"]  # fmt: skip
    if kind != "waiting":
        server.ok("POST", f"/containers/{identity}/start")
    targets = {
        "attach": ("POST", f"{V}/containers/{identity}/attach?stream=1&stdin=1&stdout=1&stderr=1"),
        "waiting": ("POST", f"{V}/containers/{identity}/attach?stream=1&stdin=1&stdout=1"),
        "logs": ("GET", f"{V}/containers/{identity}/logs?stdout=1&follow=1"),
        "stats": ("GET", f"{V}/containers/{identity}/stats"),
    }
    for _ in range(20):
        _abort(server, identity, kind, targets)
    before = _rest(server)
    for _ in range(ABORTS[kind]):
        _abort(server, identity, kind, targets)
    after = _settled(server, before[0], before[1])
    assert after[0] <= before[0], "descriptors"
    assert after[1] <= before[1], "tasks"
    server.ok("DELETE", f"/containers/{identity}", query={"force": 1})


def _rest(api: Api) -> tuple[int, int, int]:
    """Return the reading of a server that has nothing to do."""
    deadline, last = time.monotonic() + 20, _measures(api)
    while time.monotonic() < deadline:
        time.sleep(0.3)
        now = _measures(api)
        if now[:2] == last[:2] and now[1] <= 4:
            return now
        last = now
    return last


def _abort(api: Api, identity: str, kind: str, targets: dict[str, tuple[str, str]]) -> None:
    if kind == "exec":
        body = {"Cmd": ["true"], "AttachStdin": True, "AttachStdout": True}
        made = api.ok("POST", f"/containers/{identity}/exec", body).json()["Id"]
        with Hijacked(api, f"{V}/exec/{made}/start", body=b"{}"):
            return
    method, target = targets[kind]
    if method == "GET":
        connection = UnixConnection(api.path)
        connection.request(method, target)
        connection.getresponse()
        connection.close()
        return
    with Hijacked(api, target):
        return


def test_thousands_of_requests_make_nothing_grow(server: Api):
    server.ok("POST", "/containers/create", {"Image": images.BUSYBOX}, query={"name": "grown"})
    connection = UnixConnection(server.path)

    def ask(count: int) -> None:
        for number in range(count):
            target = ("/containers/json?all=1", "/containers/grown/json", "/none", "/version")
            connection.request("GET", V + target[number % 4])
            connection.getresponse().read()

    ask(REQUESTS // 3)
    before = _measures(server)
    ask(REQUESTS)
    after = _measures(server)
    connection.close()
    server.ok("DELETE", "/containers/grown")
    assert after[0] <= before[0], "descriptors"
    assert after[1] <= before[1] + 1, "tasks"
    assert after[2] <= before[2] + SLACK_KB, "memory"
