"""Registries behind a proxy: plain requests pass through it, TLS goes through a tunnel."""

from __future__ import annotations

import base64
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from proa.errors import Unavailable
from proa.image.registry.client import Client
from proa.image.registry.credentials import Credentials
from proa.image.registry.hosts import Registries, RegistryTable
from proa.image.registry.manifests import list_tags
from proa.image.registry.repository import Repository
from proa.oci.reference import parse_reference
from tests.support.registry import (
    BASIC,
    PASSWORD,
    USER,
    Received,
    Reply,
    make_certificate,
    running_stub,
)

TAGS = Reply(200, {}, b'{"tags": ["1"]}')
SECRET = base64.b64encode(b"proxy-user:proxy-word").decode()


class Tunnel(NamedTuple):
    """A proxy that only knows CONNECT.

    Attributes:
        heads: the head of every request that it got.
    """

    url: str
    heads: list[bytes]


@contextmanager
def running_tunnel(target: str) -> Iterator[Tunnel]:
    """Run a proxy whose every tunnel leads to ``target``, whatever name is asked for."""
    listener = socket.create_server(("127.0.0.1", 0))
    heads: list[bytes] = []
    host, _, port = target.rpartition(":")

    def serve() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with client, socket.create_connection((host, int(port))) as upstream:
                heads.append(_read_head(client))
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                _splice(client, upstream)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield Tunnel(f"127.0.0.1:{listener.getsockname()[1]}", heads)
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def _read_head(client: socket.socket) -> bytes:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += client.recv(4096)
    return head


def _splice(one: socket.socket, other: socket.socket) -> None:
    while True:
        readable, _, _ = select.select((one, other), (), ())
        for source in readable:
            data = source.recv(65536)
            if not data:
                return
            (other if source is one else one).sendall(data)


def _tags(name: str, table: RegistryTable, environment: dict[str, str]) -> list[str]:
    mine = Credentials(username=USER, password=PASSWORD)
    with Client(Registries(registry={name: table}), mine, environment=environment) as client:
        return list_tags(Repository(client, parse_reference(f"{name}/cave")))


def test_plain_requests_pass_through_the_proxy() -> None:
    with running_stub(lambda request: TAGS) as proxy:
        environment = {"HTTP_PROXY": f"http://proxy-user:proxy-word@{proxy.host}"}
        assert _tags("far.test", RegistryTable(plain_http=True), environment) == ["1"]
        (asked,) = proxy.received
    assert asked.path == "http://far.test/v2/cave/tags/list?n=1000"
    assert asked.headers["proxy-authorization"] == f"Basic {SECRET}"


def test_tls_goes_through_a_tunnel_and_the_proxy_sees_no_credentials(tmp_path: Path) -> None:
    certificate = make_certificate(str(tmp_path))
    challenge = Reply(401, {"WWW-Authenticate": 'Basic realm="x"'})

    def answer(request: Received) -> Reply:
        return TAGS if request.headers.get("authorization") == BASIC else challenge

    with (
        running_stub(answer, certificate=certificate) as registry,
        running_tunnel(registry.host) as tunnel,
    ):
        table = RegistryTable(insecure=True)
        environment = {"https_proxy": f"http://proxy-user:proxy-word@{tunnel.url}"}
        assert _tags("far.test", table, environment) == ["1"]
    (head,) = tunnel.heads
    assert head.startswith(b"CONNECT far.test:443 ")
    assert SECRET.encode() in head
    assert BASIC.encode() not in head
    assert registry.saw("proxy-authorization") == []


def test_an_excluded_registry_is_not_asked_for_through_the_proxy() -> None:
    with running_stub(lambda request: TAGS) as proxy:
        environment = {"HTTP_PROXY": proxy.url, "NO_PROXY": ".test"}
        with pytest.raises(Unavailable, match=r"cannot reach far\.test"):
            _tags("far.test", RegistryTable(plain_http=True), environment)
        assert proxy.received == []
