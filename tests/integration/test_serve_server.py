"""The server itself: stopping, being killed, sockets handed over, TLS, many connections, memory."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import ssl
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import guests, images
from tests.support.clients import Docker, find_docker
from tests.support.engines import Proa, launcher
from tests.support.hijack import Hijacked
from tests.support.serving import Api, UnixConnection, serving

pytestmark = pytest.mark.requires("root", "overlay", "busybox")

V = "/v1.51"
IDLE_CONNECTIONS = 1000
BUSY_CONNECTIONS = 200
MEMORY_KB = 60 * 1024


@pytest.fixture
def engine(fresh_proa: Proa) -> Iterator[Proa]:
    images.ensure_busybox(fresh_proa)
    yield fresh_proa
    for identity in fresh_proa.ok("ps", "-aq").split():
        fresh_proa.ok("rm", "-f", identity)


def _create(api: Api, *command: str, **config: Any) -> str:
    body = {"Image": images.BUSYBOX, "Cmd": list(command), **config}
    return str(api.ok("POST", "/containers/create", body).json()["Id"])


def _run(api: Api, *command: str, **config: Any) -> str:
    identity = _create(api, *command, **config)
    api.ok("POST", f"/containers/{identity}/start")
    return identity


def _rss_kb(pid: int) -> int:
    """Return a process' own memory: what it shares with files does not count."""
    fields = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, _, value = line.partition(":")
        fields[name] = int(value.split()[0])
    return fields["Rss"]


def test_every_answer_says_who_is_there(engine: Proa):
    with serving(engine) as api:
        for method, path in (("GET", "/_ping"), ("HEAD", "/_ping"), ("GET", "/none")):
            reply = api(method, path, conforms=False)
            assert reply.headers["Api-Version"] == "1.51"
            assert reply.headers["Ostype"] == "linux"
            assert reply.headers["Docker-Experimental"] == "false"
            assert reply.headers["Server"].startswith("Proa/")
            assert reply.headers["Date"].endswith("GMT")
        assert api("GET", "/none", conforms=False).message == "page not found"
        assert api("DELETE", "/_ping", conforms=False).status == 405


@pytest.mark.parametrize(("version", "status"), [("1.23", 400), ("1.24", 200), ("1.52", 400)])
def test_versions_are_negotiated(engine: Proa, version: str, status: int):
    with serving(engine) as api:
        reply = api("GET", "/containers/json", version=version)
        assert reply.status == status
        if status == 400:
            assert "API version is 1." in reply.message


def test_the_socket_is_closed_to_others_and_removed_at_the_end(engine: Proa, tmp_path: Path):
    path = tmp_path / "own" / "api.sock"
    with serving(engine, ["--host", f"unix://{path}", "--group", "1"]) as api:
        info = path.stat()
        assert stat.S_IMODE(info.st_mode) == 0o660
        assert info.st_gid == 1
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o710
        second = subprocess.run(
            [*launcher(), "serve", "--host", f"unix://{path}"], env=engine.environment(),
            capture_output=True, text=True, check=False, timeout=30,
        )  # fmt: skip
        assert (second.returncode, "listens on" in second.stderr) == (1, True)
        api.process.kill()
        api.process.wait()
        assert path.exists()
    with serving(engine, ["--host", f"unix://{path}"]):
        assert stat.S_ISSOCK(path.stat().st_mode)
    assert not path.exists()


def test_tcp_is_refused_without_certificates(engine: Proa):
    done = subprocess.run(
        [*launcher(), "serve", "--host", "tcp://127.0.0.1:0"], env=engine.environment(),
        capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    assert (done.returncode, "TLS client certificates" in done.stderr) == (1, True)


def test_a_graceful_stop_lets_requests_end_and_containers_live(engine: Proa):
    with serving(engine) as api:
        waited = _create(api, "sleep", "600")
        api.ok("POST", f"/containers/{waited}/start")
        codes: list[int] = []
        stopping = _run(api, "sh", "-c", "trap 'sleep 1; exit 3' TERM; while :; do sleep 0.1; done")
        thread = threading.Thread(
            target=lambda: codes.append(api("POST", f"/containers/{stopping}/stop").status)
        )
        thread.start()
        while "stop" not in engine.ok("ps", "-a") and not _in_work(api, 2):
            pass
        with Hijacked(api, f"{V}/containers/{waited}/attach?stream=1&stdout=1") as attached:
            api.process.send_signal(signal.SIGTERM)
            assert attached.read_all() == b""
        assert api.process.wait(20) == 0
        thread.join(20)
        assert codes == [204]
        assert engine.ok("inspect", "-f", "{{.State.Running}}", waited) == "true"


def test_a_killed_server_loses_nothing(engine: Proa):
    lines = 2000
    script = f"for n in $(seq {lines}); do echo line $n; done; read x; exit 21"
    with serving(engine) as api:
        containers = [_create(api, "sh", "-c", script, OpenStdin=True) for _ in range(3)]
        attached = [
            Hijacked(api, f"{V}/containers/{item}/attach?stream=1&stdout=1&stdin=1")
            for item in containers
        ]
        stop = threading.Event()
        load = [threading.Thread(target=_load, args=(api, stop)) for _ in range(4)]
        for thread in load:
            thread.start()
        for item in containers:
            api.ok("POST", f"/containers/{item}/start")
        for stream in attached:
            assert stream.read_frame() is not None
        api.process.kill()
        api.process.wait()
        stop.set()
        for thread in load:
            thread.join()
        for stream in attached:
            stream.close()
    with serving(engine) as api:
        found = api.ok("GET", "/containers/json").json()
        assert {entry["Id"] for entry in found} == set(containers)
        for item in containers:
            with Hijacked(api, f"{V}/containers/{item}/attach?stream=1&stdin=1") as again:
                again.sock.sendall(b"go on\n")
                again.end_input()
                assert api.ok("POST", f"/containers/{item}/wait").json()["StatusCode"] == 21
            logged = engine.ok("logs", item).split("\n")
            assert logged == [f"line {number}" for number in range(1, lines + 1)]


def _load(api: Api, stop: threading.Event) -> None:
    while not stop.is_set():
        connection = UnixConnection(api.path, 5.0)
        try:
            connection.request("GET", f"{V}/containers/json?all=1")
            connection.getresponse().read()
        except (OSError, http.client.HTTPException):
            return
        finally:
            connection.close()


def test_sockets_are_taken_over_from_systemd(engine: Proa, tmp_path: Path):
    path = str(tmp_path / "activated.sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path)
        listener.listen()
        # The client is there before the server, as with socket activation.
        client = UnixConnection(path)
        client.request("GET", "/_ping")
        script = (
            "import os, sys; fd = int(sys.argv[1]); os.dup2(fd, 3);"
            "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1');"
            "os.execv(sys.argv[2], sys.argv[2:])"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", script, str(listener.fileno()), *launcher(), "serve"],
            env=engine.environment(), pass_fds=[listener.fileno()],
        )  # fmt: skip
        try:
            assert client.getresponse().read() == b"OK"
            client.close()
        finally:
            process.terminate()
            assert process.wait(20) == 0
    assert os.path.exists(path)


def test_many_idle_and_many_busy_connections_in_little_memory(engine: Proa):
    with serving(engine) as api:
        api.ok("GET", "/containers/json")
        idle = []
        for _ in range(IDLE_CONNECTIONS):
            connection = UnixConnection(api.path)
            connection.connect()
            idle.append(connection)
        assert api.ok("GET", "/containers/json").status == 200
        assert _rss_kb(api.process.pid) < MEMORY_KB
        held = _create(api, "sleep", "600")
        busy = []
        for _ in range(BUSY_CONNECTIONS):
            connection = UnixConnection(api.path)
            connection.request("POST", f"{V}/containers/{held}/wait?condition=removed")
            busy.append((connection, connection.getresponse()))
        began = time.monotonic()
        assert api.ok("GET", "/containers/json").status == 200
        assert time.monotonic() - began < 2
        assert _gauge(api, "proa_server_requests_in_work") >= BUSY_CONNECTIONS
        for connection in idle[:5]:
            connection.request("GET", "/_ping")
            assert connection.getresponse().read() == b"OK"
        api.ok("DELETE", f"/containers/{held}")
        for connection, answer in busy:
            assert answer.read().startswith(b'{"StatusCode":')
            connection.close()
        for connection in idle:
            connection.close()


def test_a_connection_that_waits_for_its_next_request_holds_no_thread(engine: Proa):
    with serving(engine) as api:
        kept = UnixConnection(api.path)
        for _ in range(3):
            assert _ping(kept) == b"OK"
            deadline = time.monotonic() + 5
            # The request that asks is in work itself.
            while _gauge(api, "proa_server_requests_in_work") > 1:
                assert time.monotonic() < deadline
        kept.close()


def test_metrics_count_what_was_done(engine: Proa):
    with serving(engine) as api:
        _create(api, "true")
        for _ in range(3):
            api("GET", "/containers/none/json")
        text = api("GET", "/metrics", version="", conforms=False).body.decode()
        assert 'proa_server_requests_total{method="GET",status="404"} 3' in text
        assert 'proa_containers{state="created"} 1' in text
        assert "proa_server_request_seconds_bucket" in text


def test_requests_are_logged_as_fields(engine: Proa):
    with serving(engine) as api:
        api("GET", "/containers/none/json")
    log = Path(os.path.dirname(engine.root), "serve.log").read_text()
    (line,) = [line for line in log.splitlines() if "/containers/none/json" in line]
    assert "server.request method=GET" in line
    assert "status=404" in line
    assert "No such container" in line


@pytest.mark.requires(*guests.REQUIRES, "docker-cli")
def test_a_virtual_machine_by_dockers_own_flag(fresh_proa: Proa, tmp_path: Path):
    guests.prepare(fresh_proa)
    with serving(fresh_proa) as api:
        docker = Docker(api, tmp_path / "client")
        docker.ok("run", "-d", "--isolation=vm", "--network=none", "--name=guest", guests.BUSYBOX,
                  "sleep", "600")  # fmt: skip
        assert docker.ok("exec", "guest", "uname", "-r") != os.uname().release
        done = docker("exec", "-i", "guest", "sh", "-c", "cat; exit 9", stdin=b"into the guest")
        assert (done.code, done.stdout) == (9, "into the guest")
        assert docker.ok("inspect", "-f", "{{.HostConfig.Isolation}}", "guest") == "vm"
        docker.ok("rm", "-f", "guest")


@pytest.mark.requires("openssl", "docker-cli")
def test_tcp_with_client_certificates(engine: Proa, tmp_path: Path):
    _make_certificates(tmp_path)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = [
        "--host", f"tcp://127.0.0.1:{port}", "--tlscacert", str(tmp_path / "ca.pem"),
        "--tlscert", str(tmp_path / "server.pem"), "--tlskey", str(tmp_path / "server.key"),
    ]  # fmt: skip
    with serving(engine, words) as api:
        identity = _create(api, "cat", OpenStdin=True, StdinOnce=True)
        trusting = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
        stranger = http.client.HTTPSConnection("127.0.0.1", port, context=trusting, timeout=10)
        with pytest.raises((ssl.SSLError, OSError, http.client.HTTPException)):
            _ping(stranger)
        stranger.close()
        trusting.load_cert_chain(tmp_path / "client.pem", tmp_path / "client.key")
        known = http.client.HTTPSConnection("127.0.0.1", port, context=trusting, timeout=10)
        assert _ping(known) == b"OK"
        known.request("GET", "/_ping", headers={"Host": "evil.example"})
        assert known.getresponse().status == 403
        known.close()
        environment = {
            **os.environ, "DOCKER_HOST": f"tcp://127.0.0.1:{port}", "DOCKER_TLS_VERIFY": "1",
            "DOCKER_CERT_PATH": str(tmp_path / "client"),
        }  # fmt: skip
        done = subprocess.run(
            [find_docker(), "start", "-ai", identity], env=environment, input=b"over tls",
            capture_output=True, check=False, timeout=30,
        )  # fmt: skip
        assert (done.stdout, done.stderr) == (b"over tls", b"")


def _ping(connection: http.client.HTTPConnection) -> bytes:
    connection.request("GET", "/_ping")
    return connection.getresponse().read()


def _make_certificates(directory: Path) -> None:
    """Make an authority, and certificates of a server and a client."""

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=directory, check=True, capture_output=True)

    new = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl("req", "-x509", *new, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=authority",
            "-days", "2")  # fmt: skip
    for name, extra in (
        ("server", "subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth"),
        ("client", "extendedKeyUsage=clientAuth"),
    ):
        (directory / f"{name}.ext").write_text(extra)
        openssl("req", *new, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj",
                f"/CN={name}")  # fmt: skip
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key",
                "-out", f"{name}.pem", "-days", "2", "-extfile", f"{name}.ext")  # fmt: skip
    client = directory / "client"
    client.mkdir()
    for source, target in (
        ("ca.pem", "ca.pem"), ("client.pem", "cert.pem"), ("client.key", "key.pem"),
    ):  # fmt: skip
        (client / target).write_bytes((directory / source).read_bytes())


def _gauge(api: Api, name: str) -> float:
    text = api("GET", "/metrics", version="", conforms=False).body.decode()
    return float(next(line for line in text.splitlines() if line.startswith(f"{name} ")).split()[1])


def _in_work(api: Api, least: int) -> bool:
    return _gauge(api, "proa_server_requests_in_work") >= least
