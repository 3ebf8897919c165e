"""Registries for tests, all on loopback: Debian's ``docker-registry`` and stubs that keep a log.

The real one runs plain, with TLS, with a password file, or behind a token server of our own. The
stubs answer as a test tells them to and remember what they were sent, headers included: that is
how a test proves what was *not* sent.
"""

from __future__ import annotations

import base64
import json
import os
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

USER = "ali"
PASSWORD = "open sesame"
# bcrypt of PASSWORD, the only hash that docker-registry reads; cost 5 keeps the tests quick.
_HTPASSWD = f"{USER}:$2b$05$abcdefghijklmnopqrstuupx2xBUC4954936wVIjyyPHmUBFu0wCW\n"
_START_TIMEOUT_S = 20.0
BASIC = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()


class Certificate(NamedTuple):
    """A self-signed certificate for ``localhost`` and ``127.0.0.1``, which is its own CA."""

    path: str
    key_path: str


def make_certificate(directory: str, name: str = "server") -> Certificate:
    """Make a certificate and its RSA key (token servers sign with RS256) in ``directory``."""
    made = Certificate(f"{directory}/{name}.pem", f"{directory}/{name}.key")
    request = "openssl req -x509 -newkey rsa:2048 -nodes -days 2"
    names = "subjectAltName=DNS:localhost,IP:127.0.0.1"
    files = ("-keyout", made.key_path, "-out", made.path)
    subprocess.run(
        (*request.split(), *files, "-subj", f"/CN={name}", "-addext", names),
        check=True,
        capture_output=True,
    )
    return made


class Registry(NamedTuple):
    """A running ``docker-registry``.

    Attributes:
        host: ``127.0.0.1:port``, as references spell it.
        storage: its directory, to damage things on purpose.
        log_path: one line per request.
    """

    host: str
    storage: str
    log_path: str

    def requests(self) -> list[str]:
        """Return ``METHOD path`` of every request so far, from the access log."""
        with open(self.log_path, encoding="utf-8", errors="replace") as file:
            quoted = [line.split('"')[1] for line in file if " HTTP/1." in line and '"' in line]
        return [words.rpartition(" ")[0] for words in quoted]


@contextmanager
def running_registry(
    directory: str,
    *,
    certificate: Certificate | None = None,
    password: bool = False,
    token_server: TokenServer | None = None,
    mirror_of: str = "",
) -> Iterator[Registry]:
    """Run ``docker-registry`` on a free loopback port until the block ends.

    Args:
        directory: for its files; kept by the caller.
        certificate: serve HTTPS with it.
        password: ask for ``USER`` and ``PASSWORD``.
        token_server: ask for its tokens.
        mirror_of: URL of the registry to be a pull-through cache of.
    """
    port = free_port()
    storage, log_path = f"{directory}/storage", f"{directory}/registry.log"
    os.makedirs(storage, exist_ok=True)
    settings: dict[str, object] = {
        "version": 0.1,
        "log": {"level": "warn"},
        "storage": {
            "filesystem": {"rootdirectory": storage},
            "delete": {"enabled": True},
        },
        "http": {"addr": f"127.0.0.1:{port}"},
    }
    if certificate:
        settings["http"] = {
            "addr": f"127.0.0.1:{port}",
            "tls": {"certificate": certificate.path, "key": certificate.key_path},
        }
    if password:
        with open(f"{directory}/htpasswd", "w") as file:
            file.write(_HTPASSWD)
        settings["auth"] = {"htpasswd": {"realm": "test", "path": f"{directory}/htpasswd"}}
    if token_server:
        settings["auth"] = {
            "token": {
                "realm": token_server.realm,
                "service": token_server.service,
                "issuer": token_server.issuer,
                "rootcertbundle": token_server.certificate.path,
            }
        }
    if mirror_of:
        settings["proxy"] = {"remoteurl": mirror_of}
    with open(f"{directory}/config.yml", "w") as file:
        json.dump(settings, file)  # JSON is YAML
    with open(log_path, "wb") as log:
        process = subprocess.Popen(
            ("docker-registry", "serve", f"{directory}/config.yml"),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={"PATH": os.environ["PATH"], "OTEL_TRACES_EXPORTER": "none"},
        )
    try:
        _wait_for(port, process, log_path)
        yield Registry(f"127.0.0.1:{port}", storage, log_path)
    finally:
        process.kill()
        process.wait()


def free_port() -> int:
    """Return a loopback port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_for(port: int, process: subprocess.Popen[bytes], log_path: str) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            # A listening socket of another process announces itself in no way that can be awaited.
            if process.poll() is not None:
                break
            time.sleep(0.02)
        else:
            return
    with open(log_path, encoding="utf-8", errors="replace") as file:
        raise AssertionError(f"docker-registry did not start: {file.read()}")


class Received(NamedTuple):
    """A request as a stub got it; header names are lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


class Reply(NamedTuple):
    """What a stub answers.

    Attributes:
        cut_after: send only so many bytes of the body, then drop the connection.
    """

    status: int = 200
    headers: Mapping[str, str] = {}
    body: bytes = b""
    cut_after: int | None = None


class Stub:
    """An HTTP(S) server that answers by a function and keeps what it received.

    Attributes:
        host: ``127.0.0.1:port``.
        url: with its scheme.
        received: every request, oldest first.
        connections: how many were made.
    """

    def __init__(self, server: ThreadingHTTPServer, scheme: str) -> None:
        self.host = f"127.0.0.1:{server.server_address[1]}"
        self.url = f"{scheme}://{self.host}"
        self.received: list[Received] = []
        self.connections = 0

    def saw(self, header: str) -> list[str]:
        """Return the values of a header over all requests that had it."""
        name = header.lower()
        return [one.headers[name] for one in self.received if name in one.headers]


@contextmanager
def running_stub(
    answer: Callable[[Received], Reply], *, certificate: Certificate | None = None
) -> Iterator[Stub]:
    """Serve ``answer`` on a free loopback port until the block ends."""
    stubs: list[Stub] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # head and body in one packet: else each answer waits for a delayed ACK

        def handle(self) -> None:
            stubs[0].connections += 1
            super().handle()

        def handle_any(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            received = Received(
                self.command,
                self.path,
                {name.lower(): value for name, value in self.headers.items()},
                self.rfile.read(length) if length else b"",
            )
            stubs[0].received.append(received)
            reply = answer(received)
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            if not any(name.lower() == "content-length" for name in reply.headers):
                self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(reply.body[: reply.cut_after])
            if reply.cut_after is not None:
                self.close_connection = True

        do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = _Server(("127.0.0.1", 0), Handler)
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate.path, certificate.key_path)
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    stubs.append(Stub(server, "https" if certificate else "http"))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield stubs[0]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Server(ThreadingHTTPServer):
    # Clients that keep connections open must not keep the test's end from coming.
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: cut connections are what the tests are about."""


class TokenServer:
    """A token server for ``docker-registry``: gives ``USER`` what is asked, others only ``pull``.

    Attributes:
        realm, service, issuer: as in the registry's settings.
        asked: (account, scopes) of every request for a token.
    """

    service = "test-registry"
    issuer = "test-issuer"

    def __init__(self, certificate: Certificate) -> None:
        self.certificate = certificate
        self.realm = ""
        self.lifetime_s = 300
        self.asked: list[tuple[str, tuple[str, ...]]] = []

    def answer(self, request: Received) -> Reply:
        """Answer one request of the token protocol (``GET``, or ``POST`` with a refresh token)."""
        query = parse_qs(urlsplit(request.path).query)
        account = ""
        if request.method == "POST":
            form = parse_qs(request.body.decode())
            query = {"scope": form.get("scope", [""])[0].split(), "service": form["service"]}
            if form.get("refresh_token") != [f"identity-of-{USER}"]:
                return Reply(401)
            account = USER
        elif "authorization" in request.headers:
            if request.headers["authorization"] != BASIC:
                return Reply(401)
            account = USER
        scopes = tuple(query.get("scope", []))
        self.asked.append((account, scopes))
        document: dict[str, object] = {
            "token": self._sign(account, scopes),
            "expires_in": self.lifetime_s,
        }
        if "offline_token" in query:
            document["refresh_token"] = f"identity-of-{account}"
        return Reply(200, {"Content-Type": "application/json"}, json.dumps(document).encode())

    def _sign(self, account: str, scopes: tuple[str, ...]) -> str:
        access = []
        for scope in scopes:
            kind, name, actions = scope.split(":")
            granted = actions.split(",") if account else ["pull"]
            access.append({"type": kind, "name": name, "actions": granted})
        now_s = int(time.time())
        claims = {
            "iss": self.issuer,
            "sub": account,
            "aud": self.service,
            "iat": now_s - 5,
            "nbf": now_s - 5,
            "exp": now_s + self.lifetime_s,
            "jti": str(len(self.asked)),
            "access": access,
        }
        with open(self.certificate.path) as file:
            pem = file.read()
        chain = "".join(line for line in pem.splitlines() if not line.startswith("-----"))
        header = {"typ": "JWT", "alg": "RS256", "x5c": [chain]}
        text = b".".join(_url_base64(json.dumps(part).encode()) for part in (header, claims))
        signature = subprocess.run(
            ("openssl", "dgst", "-sha256", "-sign", self.certificate.key_path),
            input=text,
            check=True,
            capture_output=True,
        ).stdout
        return (text + b"." + _url_base64(signature)).decode()


@contextmanager
def running_token_server(
    certificate: Certificate, *, tls: Certificate | None = None
) -> Iterator[TokenServer]:
    """Run a token server that signs with ``certificate``, over HTTPS when ``tls`` is given."""
    tokens = TokenServer(certificate)
    with running_stub(tokens.answer, certificate=tls) as stub:
        tokens.realm = f"{stub.url}/token"
        yield tokens


def _url_base64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")
