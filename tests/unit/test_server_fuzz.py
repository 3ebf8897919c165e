"""proa.server.http: whatever bytes a client sends, it gets a 4xx or an answer, never a 5xx."""

from __future__ import annotations

import os
import re
import socket
import threading
from collections.abc import Iterator
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proa.engine.facade import Engine
from proa.server import responses
from proa.server.call import Call
from proa.server.http.exchange import Exchange
from proa.server.http.service import Service
from proa.server.memory import Memory
from proa.server.responses import Answer
from proa.server.routing import Route, Router

_VALID = (
    b"POST /v1.51/echo?all=1&filters={} HTTP/1.1\r\nHost: docker\r\n"
    b"Content-Type: application/json\r\nContent-Length: 13\r\n\r\n"
    b'{"Image":"x"}'
)
_CHUNKS = b"3\r\nabc\r\n0\r\n\r\n"
_STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")


def _echo(call: Call) -> Answer:
    call.query.filters()
    return responses.document(call.json())


def _stream(call: Call) -> Answer:
    return responses.pieces_of(call.body.pieces(), responses.TAR)


@pytest.fixture
def service() -> Iterator[Service]:
    stop_r, stop_w = os.pipe()
    # No handler here asks the engine for anything.
    engine = cast("Engine", None)
    routes = (
        Route("POST", "/echo", _echo),
        Route("PUT", "/stream", _stream),
        Route("GET", "/items/{id}/json", lambda call: responses.text(call["id"])),
    )
    yield Service(engine=engine, router=Router(routes), memory=Memory(engine, stop_r))
    os.close(stop_r)
    os.close(stop_w)


def _exchange(service: Service, data: bytes) -> bytes:
    """Send bytes as one client and return what it gets."""
    client, server = socket.socketpair()
    client.settimeout(10)
    got = bytearray()

    def read() -> None:
        while more := client.recv(65536):
            got.extend(more)

    reader = threading.Thread(target=read)
    reader.start()
    # The client has no more: whoever waits for the rest of a body sees its end.
    client.shutdown(socket.SHUT_WR)
    Exchange(server, service).serve(data)
    server.close()
    reader.join(10)
    client.close()
    return bytes(got)


def _mutations() -> st.SearchStrategy[bytes]:
    def change(positions: list[tuple[int, bytes]]) -> bytes:
        data = bytearray(_VALID)
        for at, piece in positions:
            at %= len(data)
            data[at : at + len(piece)] = piece
        return bytes(data)

    piece = st.one_of(
        st.binary(min_size=1, max_size=4),
        st.sampled_from((b"\r\n", b"\n", b"\0", b": ", b"%2e%2e/", b"chunked", b"-1", b"HTTP/1.0")),
    )
    return st.lists(st.tuples(st.integers(0, 400), piece), min_size=1, max_size=6).map(change)


@given(data=st.one_of(st.binary(max_size=300), _mutations()))
@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_no_bytes_make_the_server_fail(service: Service, data: bytes):
    statuses = [int(status) for status in _STATUS.findall(_exchange(service, data))]
    assert len(statuses) <= 1
    assert all(status < 500 for status in statuses)


@pytest.mark.parametrize(
    ("data", "status", "body"),
    [
        (_VALID, 200, b'{"Image":"x"}'),
        (_VALID.replace(b"POST", b"HEAD"), 405, b""),
        (b"GET /items/a%20b/json HTTP/1.1\r\nHost: d\r\n\r\n", 200, b"a b"),
        (b"HEAD /items/a/json HTTP/1.1\r\nHost: d\r\n\r\n", 200, b""),
        (
            b"PUT /stream HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\n\r\n" + _CHUNKS,
            200,
            _CHUNKS,
        ),
        (b"GET /items/a/json HTTP/1.0\r\n\r\n", 200, b"a"),
    ],
)  # fmt: skip
def test_what_is_well_formed_is_answered(service: Service, data: bytes, status: int, body: bytes):
    head, _, content = _exchange(service, data).partition(b"\r\n\r\n")
    assert int(_STATUS.findall(head)[0]) == status
    assert content.strip() == body.strip() or status == 405


def test_a_client_that_waits_for_100_continue_is_told_to_go_on(service: Service):
    client, server = socket.socketpair()
    client.settimeout(10)
    head = _VALID.partition(b"\r\n\r\n")[0] + b"\r\nExpect: 100-continue\r\n\r\n"
    result: list[Any] = []
    thread = threading.Thread(target=lambda: result.append(Exchange(server, service).serve(head)))
    thread.start()
    assert client.recv(1000).startswith(b"HTTP/1.1 100 ")
    client.sendall(b'{"Image":"x"}')
    assert client.recv(4096).startswith(b"HTTP/1.1 200 ")
    thread.join(10)
    assert result == [b""]
    client.close()
    server.close()
