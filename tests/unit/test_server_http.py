"""proa.server: paths, versions, parameters, heads, frames; everything that needs no socket."""

from __future__ import annotations

import os
import select
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proa.engine.model import EventRecord
from proa.errors import ProaError
from proa.server import errors, responses
from proa.server.call import Query
from proa.server.errors import HttpError
from proa.server.http import guard
from proa.server.metrics import Metrics
from proa.server.routes.table import ROUTES
from proa.server.routing import Route, Router, decode_path, split_version
from proa.server.streams.exits import Subscription
from proa.server.streams.pump import Pump, frame
from proa.server.streams.websocket import accept_handshake, encode_message
from proa.server.threads import Threads
from tests.support import engine_api


def _handler(_call: Any) -> responses.Answer:
    return responses.empty()


def _router(*rows: str) -> Router:
    pairs = [row.split(" ", 1) for row in rows]
    return Router(Route(method, template, _handler) for method, template in pairs)


def test_every_published_operation_has_a_route():
    router = Router(ROUTES)
    missing = [
        f"{operation.method} {operation.path}"
        for operation in engine_api.operations()
        if not _is_found(router, operation.method, operation.example_path())
    ]
    assert missing == []


def _is_found(router: Router, method: str, path: str) -> bool:
    try:
        router.find(method, path.encode())
    except HttpError:
        return False
    return True


def test_fixed_paths_win_over_variables_and_names_may_have_slashes():
    router = _router("GET /images/{name...}/json", "GET /images/json", "GET /things/{id}/json")
    assert router.find("GET", b"/images/json").variables == {}
    found = router.find("GET", b"/v1.40/images/a.example/b/c:1/json")
    assert (found.variables, found.version) == ({"name": "a.example/b/c:1"}, (1, 40))
    assert router.find("HEAD", b"/things/x%3Ay/json").variables == {"id": "x:y"}
    with pytest.raises(HttpError) as caught:
        router.find("GET", b"/things/a/b/json")
    assert caught.value.status == 404
    with pytest.raises(HttpError) as caught:
        router.find("PUT", b"/images/json")
    assert caught.value.status == 405


@pytest.mark.parametrize(
    "path", [b"/a/../b", b"/a/%2e%2e/b", b"/a%2f..%2fb", b"/./a", b"/a%00", b"/%ff", b"a", b""]
)
def test_paths_that_lead_elsewhere_are_refused(path: bytes):
    with pytest.raises(HttpError) as caught:
        decode_path(path)
    assert caught.value.status == 400


@given(st.binary(max_size=60))
def test_any_path_is_decoded_or_refused(raw: bytes):
    try:
        decoded = decode_path(b"/" + raw)
    except HttpError as error:
        decoded, status = "", error.status
    else:
        status = 400
    assert (status, ".." in decoded.split("/")) == (400, False)


def test_versions_without_and_with_a_prefix():
    assert split_version("/_ping") == ((1, 51), "/_ping")
    assert split_version("/v1.24/info") == ((1, 24), "/info")
    for version in ("1.23", "1.52", "9.0"):
        with pytest.raises(HttpError, match="API version is 1"):
            split_version(f"/v{version}/info")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1", True), ("true", True), ("yes", True), ("0", False), ("False", False), ("", False),
     ("none", False), ("no", False)],
)  # fmt: skip
def test_truth_by_dockers_rule(text: str, expected: bool):
    assert Query(f"all={text}").flag("all") is expected


def test_parameters():
    query = Query("a=1&a=2&n=x&filters=%7B%22label%22%3A%5B%22k%3Dv%22%5D%7D")
    assert (query.text("a"), query.texts("a"), query.flag("none")) == ("1", ["1", "2"], False)
    assert query.filters() == {"label": ["k=v"]}
    assert Query('filters={"a":{"x":true,"y":false}}').filters() == {"a": ["x"]}
    for bad in ("filters=[1]", "filters=x", 'filters={"a":1}'):
        with pytest.raises(HttpError):
            Query(bad).filters()
    with pytest.raises(HttpError):
        query.integer("n")


def test_every_kind_of_error_has_a_status():
    kinds = {kind.kind for kind in _subclasses(ProaError)}
    assert kinds <= set(errors.STATUS_OF_KIND)


def _subclasses(kind: type[ProaError]) -> Iterator[type[ProaError]]:
    for sub in kind.__subclasses__():
        if sub.__module__ == "proa.errors":
            yield sub
            yield from _subclasses(sub)


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\nHost: d\r\n\r\n",
        b"GET / HTTP/2.0\r\nHost: d\r\n\r\n",
        b"GET /\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 4\r\ncontent-length: 4\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 4, 4\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: \r\n\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"a" * 70_000 + b"\r\n\r\n",
    ],
)
def test_ambiguous_heads_are_refused(head: bytes):
    with pytest.raises(HttpError) as caught:
        guard.check_head(head)
    assert caught.value.status in (400, 431)
    assert caught.value.close


@pytest.mark.parametrize(
    ("host", "local"),
    [("docker", True), ("", True), ("localhost:2375", True), ("api.moby.localhost", True),
     ("127.0.0.1", True), ("[::1]:2376", True), ("%2Frun%2Fx.sock", True), ("box.lan", True),
     ("evil.example", False), ("localhost.evil.example", False), ("1.2.3.4.evil", False),
     ("docker.", True), ("a b", False)],
)  # fmt: skip
def test_hosts_that_can_only_mean_this_server(host: str, local: bool):
    assert guard.is_local(host, frozenset({"box.lan"})) is local


class Peers:
    """A pump between a client's socket and the pipes of a container."""

    def __init__(self, **options: Any) -> None:
        self.client, server = socket.socketpair()
        self.client.settimeout(5)
        out_r, self.out = os.pipe()
        err_r, self.err = os.pipe()
        self.input, in_w = os.pipe()
        self._fds = [out_r, err_r]
        self.server = server

        def end_input() -> None:
            os.close(in_w)

        self.pump = Pump(
            server, {out_r: 1, err_r: 2}, stdin_fd=in_w, on_stdin_end=end_input, **options
        )
        self._in_w = in_w
        self.thread = threading.Thread(target=self.pump.run)
        self.thread.start()

    def end_outputs(self) -> None:
        """The container closes its outputs."""
        for fd in (self.out, self.err):
            os.close(fd)

    def close(self) -> None:
        """Wait for the pump, close the rest."""
        self.thread.join(5)
        assert not self.thread.is_alive()
        for fd in (*self._fds, self.input):
            os.close(fd)
        self.client.close()
        self.server.close()


def test_a_pump_frames_both_outputs_and_ends_with_them():
    peers = Peers()
    os.write(peers.out, b"one")
    assert peers.client.recv(100) == frame(1, b"one")
    os.write(peers.err, b"two")
    assert peers.client.recv(100) == frame(2, b"two")
    peers.client.shutdown(socket.SHUT_WR)
    assert os.read(peers.input, 10) == b""
    peers.end_outputs()
    peers.close()


def test_a_pump_passes_input_on_in_order_after_early_bytes():
    peers = Peers(early=b"first ", multiplexed=False)
    peers.client.sendall(b"second")
    peers.client.shutdown(socket.SHUT_WR)
    got = b""
    while data := os.read(peers.input, 100):
        got += data
    assert got == b"first second"
    os.write(peers.out, b"raw")
    assert peers.client.recv(100) == b"raw"
    peers.end_outputs()
    peers.close()


def test_a_pump_does_not_deadlock_when_both_directions_are_full():
    peers = Peers(multiplexed=False)
    size = 3_000_000

    def echo() -> None:
        while data := os.read(peers.input, 65536):
            view = memoryview(data)
            while view:
                view = view[os.write(peers.out, view) :]
        peers.end_outputs()

    container = threading.Thread(target=echo)
    container.start()

    def send() -> None:
        peers.client.sendall(b"x" * size)
        peers.client.shutdown(socket.SHUT_WR)

    sender = threading.Thread(target=send)
    sender.start()
    got = 0
    while data := peers.client.recv(65536):
        got += len(data)
        if got == size:
            break
    sender.join(5)
    container.join(5)
    assert got == size
    peers.close()


def test_a_pump_notices_a_client_that_is_gone_in_silence():
    peers = Peers()
    peers.client.close()
    peers.thread.join(5)
    assert peers.pump.client_gone
    peers.end_outputs()
    os.close(peers.input)
    peers.server.close()
    for fd in peers._fds:
        os.close(fd)


def test_a_pump_passes_on_what_is_there_when_the_end_is_told():
    end_r, end_w = os.pipe()
    peers = Peers(end_fd=end_r, ends_with_outputs=False)
    os.write(peers.out, b"last words")
    os.write(end_w, b"x")
    assert peers.client.recv(100) == frame(1, b"last words")
    peers.thread.join(5)
    assert not peers.thread.is_alive()
    peers.end_outputs()
    peers.client.shutdown(socket.SHUT_WR)
    os.close(peers._in_w)
    for fd in (end_r, end_w):
        os.close(fd)
    peers.close()


def test_websocket_handshake_is_the_one_of_the_standard():
    head = accept_handshake(
        {"upgrade": "websocket", "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
         "sec-websocket-version": "13"}
    )  # fmt: skip
    assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in head
    for headers in ({}, {"upgrade": "websocket", "sec-websocket-key": "x"}):
        with pytest.raises(HttpError):
            accept_handshake(headers)


@pytest.mark.parametrize(("size", "head"), [(5, 2), (200, 4), (70_000, 10)])
def test_websocket_lengths(size: int, head: int):
    assert len(encode_message(b"x" * size)) == size + head


def test_threads_are_made_when_needed_and_end_when_idle():
    threads = Threads(most=4)
    gate, started = threading.Event(), threading.Semaphore(0)

    def job() -> None:
        started.release()
        gate.wait(5)

    for _ in range(6):
        threads.submit(job)
    for _ in range(4):
        assert started.acquire(timeout=5)
    assert threads.busy == 6
    gate.set()
    for _ in range(2):
        assert started.acquire(timeout=5)
    poll = select.poll()
    for _ in range(500):
        if not threads.busy:
            break
        poll.poll(10)
    assert threads.busy == 0


def test_metrics_are_prometheus_text():
    metrics = Metrics()
    metrics.count_request("GET", 200, 0.02)
    metrics.show("proa_server_connections", lambda: 7)
    lines = metrics.render({"running": 2}).splitlines()
    assert 'proa_server_requests_total{method="GET",status="200"} 1' in lines
    assert 'proa_server_request_seconds_bucket{le="0.025"} 1' in lines
    assert "proa_server_connections 7" in lines
    assert 'proa_containers{state="running"} 2' in lines
    assert all(line.startswith(("#", "proa_")) for line in lines)


def test_a_subscription_tells_late_events_only_to_who_wants_them():
    subscription = Subscription("abc")

    def event(action: str, offset_ns: int) -> EventRecord:
        return EventRecord(sequence=1, time_ns=subscription.since_ns + offset_ns,
                           type="container", action=action, actor_id="abc")  # fmt: skip

    for late, expected in ((False, ["start"]), (True, ["die", "start"])):
        subscription.put(event("die", -1))
        subscription.put(event("start", 1))
        assert [item.action for item in subscription.take(late=late)] == expected
    assert subscription.take() == []
    subscription.close()
