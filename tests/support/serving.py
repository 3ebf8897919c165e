"""``proa serve`` for tests: a server on an engine's root, and plain HTTP to it.

Every answer that goes through :class:`Api` is checked against the published API
(:mod:`tests.support.engine_api`), so that every test of an endpoint is one of its shape too.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

from tests.support import engine_api
from tests.support.engines import Proa, launcher

_START_TIMEOUT_S = 15.0
_STOP_TIMEOUT_S = 20.0
_ANSWER_TIMEOUT_S = 60.0


class Reply(NamedTuple):
    """An answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the document."""
        return json.loads(self.body)

    def lines(self) -> list[Any]:
        """Return the documents of a stream."""
        return [json.loads(line) for line in self.body.splitlines() if line.strip()]

    @property
    def message(self) -> str:
        """Return what an error says."""
        return str(self.json()["message"])


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str, timeout_s: float = _ANSWER_TIMEOUT_S) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        """Connect."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Api:
    """Requests to a server.

    Attributes:
        path: its socket.
        url: the same for ``DOCKER_HOST``.
        proa: the command line on the same root.
    """

    def __init__(self, path: str, proa: Proa, process: subprocess.Popen[bytes]) -> None:
        self.path = path
        self.url = f"unix://{path}"
        self.proa = proa
        self.process = process

    def __call__(
        self,
        method: str,
        target: str,
        body: Any = None,
        *,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        version: str = engine_api.VERSION,
        conforms: bool = True,
    ) -> Reply:
        """Send a request and read the whole answer.

        Args:
            method: of the request.
            target: path without the version.
            body: bytes, or a document that becomes JSON.
            query: parameters; lists are given several times, maps become JSON.
            headers: more of them.
            version: of the API; empty: none in the path.
            conforms: check the answer against the published API.
        """
        path = (f"/v{version}" if version else "") + quote(target, safe="/:@")
        if query:
            words = {
                name: json.dumps(value) if isinstance(value, dict) else value
                for name, value in query.items()
            }
            path += "?" + urlencode(words, doseq=True)
        sent = dict(headers or {})
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            sent.setdefault("Content-Type", "application/json")
        connection = UnixConnection(self.path)
        try:
            connection.request(method, path, body, sent)
            answer = connection.getresponse()
            reply = Reply(answer.status, dict(answer.getheaders()), answer.read())
        finally:
            connection.close()
        if conforms and version == engine_api.VERSION:
            found = engine_api.problems(method, path, reply.status, reply.body)
            assert not found, "; ".join(found)
        return reply

    def ok(self, method: str, target: str, body: Any = None, **options: Any) -> Reply:
        """Send a request that must succeed."""
        reply = self(method, target, body, **options)
        assert reply.status < 400, f"{method} {target} gave {reply.status}: {reply.body!r}"
        return reply

    def environment(self, **more: str) -> dict[str, str]:
        """Return the environment of a client that finds this server."""
        return {**os.environ, "DOCKER_HOST": self.url, **more}


@contextmanager
def serving(proa: Proa, words: Sequence[str] = ()) -> Iterator[Api]:
    """Serve an engine's root; the server is stopped gracefully at the end.

    Args:
        proa: the command line on that root.
        words: more arguments of ``proa serve``.
    """
    path = os.path.join(os.path.dirname(proa.root), "api", "docker.sock")
    os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
    log_path = os.path.join(os.path.dirname(proa.root), "serve.log")
    with open(log_path, "wb") as log:
        process = subprocess.Popen(
            [*proa.prefix, *launcher(), "serve", "--host", f"unix://{path}", *words],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=proa.environment(),
        )
    try:
        _await(path, process, log_path)
        yield Api(path, proa, process)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await(path: str, process: subprocess.Popen[bytes], log_path: str) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while True:
        connection = UnixConnection(path, 1.0)
        try:
            connection.request("GET", "/_ping")
            connection.getresponse().read()
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                with open(log_path, errors="replace") as log:
                    raise AssertionError(f"the server did not start: {log.read()}") from None
            time.sleep(0.02)  # its socket offers no event before it is there
        finally:
            connection.close()
