"""Streams over ``proa serve``: attach, exec, logs, events, with the docker command line and raw."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support import images
from tests.support.clients import Docker
from tests.support.hijack import Hijacked, read_message, send_message, websocket
from tests.support.serving import Api, UnixConnection
from tests.support.terminal import Terminal

pytestmark = pytest.mark.requires("root", "overlay", "busybox", "docker-cli")

V = "/v1.51"


@pytest.fixture(autouse=True)
def _busybox(api: Api) -> Iterator[None]:
    images.ensure_busybox(api.proa)
    yield
    for identity in api.proa.ok("ps", "-aq").split():
        api.proa.ok("rm", "-f", identity)


@pytest.fixture
def docker(api: Api, tmp_path: Path) -> Docker:
    return Docker(api, tmp_path / "client")


def create(api: Api, *command: str, **config: Any) -> str:
    """Create a container."""
    body = {"Image": images.BUSYBOX, "Cmd": list(command), **config}
    return str(api.ok("POST", "/containers/create", body).json()["Id"])


def start(api: Api, identity: str) -> None:
    """Start a container."""
    api.ok("POST", f"/containers/{identity}/start")


def test_a_megabyte_each_way_is_the_same_at_the_other_end(docker: Docker):
    data = os.urandom(1 << 20)
    with docker.spawn("run", "--rm", "-i", images.BUSYBOX, "cat") as process:
        out, err = process.communicate(data, timeout=60)
    assert (out == data, err, process.returncode) == (True, b"", 0)


def test_outputs_stay_apart_and_the_code_comes_through(docker: Docker):
    done = docker("run", "--rm", images.BUSYBOX, "sh", "-c", "echo out; echo err >&2; exit 44")
    assert done == (44, "out\n", "err\n")
    missing = docker("run", "--rm", images.BUSYBOX, "no-such-command")
    assert (missing.code, "executable file not found" in missing.stderr) == (127, True)
    refused = docker("run", "--rm", images.BUSYBOX, "/etc/passwd")
    assert refused.code == 126


def test_exec_with_input_outputs_and_code(docker: Docker):
    docker.ok("run", "-d", "--name", "box", images.BUSYBOX, "sleep", "600")
    done = docker("exec", "-i", "box", "sh", "-c", "cat; echo err >&2; exit 5", stdin=b"words")
    assert done == (5, "words", "err\n")
    assert docker("exec", "box", "no-such-command").code == 127
    assert docker.ok("exec", "-e", "A=b", "-u", "7", "-w", "/tmp", "box", "sh", "-c",
                     "echo $A $(id -u) $(pwd)") == "b 7 /tmp"  # fmt: skip
    docker.ok("exec", "-d", "box", "sh", "-c", "echo later > /note")
    while docker("exec", "box", "cat", "/note").stdout != "later\n":
        pass


def test_exec_ends_though_a_child_of_it_holds_its_output(docker: Docker):
    docker.ok("run", "-d", "--name", "box", images.BUSYBOX, "sleep", "600")
    assert docker.ok("exec", "box", "sh", "-c", "sleep 600 & echo done", timeout_s=20) == "done"


def test_a_terminal_with_its_size_and_detach_keys(docker: Docker):
    from tests.support.clients import find_docker

    words = [find_docker(), "run", "-it", "--name", "shell", images.BUSYBOX, "sh"]
    with Terminal(words, env=docker.environment()) as terminal:
        terminal.resize(33, 101)
        terminal.expect("#")
        terminal.type("until stty size | grep '33 101'; do :; done; echo si''zed\n")
        terminal.expect("sized")
        terminal.type("\x10\x11")
        assert terminal.wait() == 0
    assert docker.ok("inspect", "-f", "{{.State.Running}}", "shell") == "true"
    with Terminal([find_docker(), "attach", "shell"], env=docker.environment()) as terminal:
        terminal.type("echo $((40 + 2))\n")
        terminal.expect("42")
        terminal.type("exit 3\n")
        assert terminal.wait() == 3


def test_start_attached_to_a_container_that_has_ended(docker: Docker):
    docker.ok("create", "-i", "--name", "again", images.BUSYBOX, "sh", "-c", "cat; exit 2")
    for words in (b"first", b"second"):
        done = docker("start", "-ai", "again", stdin=words)
        assert (done.code, done.stdout) == (2, words.decode())


def test_what_was_attached_before_the_start_misses_nothing(api: Api):
    identity = create(api, "sh", "-c", "echo out; echo err >&2")
    target = f"{V}/containers/{identity}/attach?stream=1&stdout=1&stderr=1"
    with Hijacked(api, target) as one, Hijacked(api, target) as other:
        assert one.status == 101
        assert one.headers["content-type"] == "application/vnd.docker.multiplexed-stream"
        start(api, identity)
        assert one.read_frames() == {1: b"out\n", 2: b"err\n"}
        other.read_frames()


def test_a_container_that_the_command_line_starts_is_joined(api: Api):
    identity = create(api, "sh", "-c", "while ! read word; do :; done; echo got $word",
                      OpenStdin=True, AttachStdin=True)  # fmt: skip
    target = f"{V}/containers/{identity}/attach?stream=1&stdout=1&stdin=1"
    with Hijacked(api, target) as attached:
        api.proa.ok("start", identity)
        attached.sock.sendall(b"hello\n")
        assert attached.read_until(b"got hello\n")


def test_attaching_without_an_upgrade_and_with_early_bytes(api: Api):
    identity = create(api, "cat", OpenStdin=True, StdinOnce=True)
    start(api, identity)
    target = f"{V}/containers/{identity}/attach?stream=1&stdin=1&stdout=1"
    with Hijacked(api, target, upgrade="", early=b"early ") as attached:
        assert attached.status == 200
        assert "content-length" not in attached.headers
        assert "transfer-encoding" not in attached.headers
        attached.sock.sendall(b"late")
        attached.end_input()
        assert attached.read_frames() == {1: b"early late"}


def test_older_clients_get_the_older_content_type(api: Api):
    identity = create(api, "true")
    with Hijacked(api, f"/v1.41/containers/{identity}/attach?stream=1&stdout=1") as attached:
        assert attached.headers["content-type"] == "application/vnd.docker.raw-stream"


def test_attaching_with_the_log_first(api: Api):
    identity = create(api, "sh", "-c", "echo before; read x; echo after $x", OpenStdin=True)
    start(api, identity)
    while b"before" not in api.ok("GET", f"/containers/{identity}/logs", query={"stdout": 1}).body:
        pass
    target = f"{V}/containers/{identity}/attach?logs=1&stream=1&stdin=1&stdout=1"
    with Hijacked(api, target) as attached:
        assert attached.read_frame() == (1, b"before\n")
        attached.sock.sendall(b"now\n")
        assert attached.read_frame() == (1, b"after now\n")


@pytest.mark.parametrize(
    ("query", "status"), [("stream=1", 400), ("stream=1&stdout=1&detachKeys=moon", 400)]
)
def test_what_cannot_be_attached_is_refused(api: Api, query: str, status: int):
    identity = create(api, "sleep", "600", Tty=True, OpenStdin=True)
    start(api, identity)
    with Hijacked(api, f"{V}/containers/{identity}/attach?{query}") as refused:
        assert refused.status == status
    api.ok("POST", f"/containers/{identity}/pause")
    with Hijacked(api, f"{V}/containers/{identity}/attach?stream=1&stdout=1") as paused:
        assert paused.status == 409
    api.ok("POST", f"/containers/{identity}/unpause")


def test_an_attachment_that_is_aborted_leaves_the_container_alone(api: Api):
    identity = create(api, "sh", "-c", "while :; do echo line; sleep 0.01; done")
    start(api, identity)
    with Hijacked(api, f"{V}/containers/{identity}/attach?stream=1&stdout=1") as attached:
        assert attached.read_frame() is not None
    assert api.ok("GET", f"/containers/{identity}/json").json()["State"]["Running"]


def test_input_without_once_stays_open_for_the_next_client(api: Api):
    identity = create(api, "sh", "-c", "read a; read b; echo $a $b", OpenStdin=True)
    start(api, identity)
    target = f"{V}/containers/{identity}/attach?stream=1&stdin=1"
    with Hijacked(api, target) as first:
        first.sock.sendall(b"one\n")
        first.end_input()
    with Hijacked(api, f"{target}&stdout=1") as second:
        second.sock.sendall(b"two\n")
        assert second.read_frame() == (1, b"one two\n")


def test_a_websocket_carries_both_directions(api: Api):
    identity = create(api, "cat", OpenStdin=True)
    start(api, identity)
    target = f"{V}/containers/{identity}/attach/ws?stream=1&stdin=1&stdout=1"
    with websocket(api, target) as socket:
        assert (socket.status, socket.headers["upgrade"]) == (101, "websocket")
        send_message(socket, b"over the web")
        assert read_message(socket) == (2, b"over the web")
        send_message(socket, b"here?", opcode=9)
        assert read_message(socket) == (10, b"here?")
        send_message(socket, (1000).to_bytes(2, "big"), opcode=8)
        assert read_message(socket)[0] == 8
    with Hijacked(api, target, method="GET", upgrade="") as plain:
        assert plain.status == 400


def test_a_resized_exec_sees_its_size(api: Api):
    identity = create(api, "sleep", "600")
    start(api, identity)
    body = {"Cmd": ["sh", "-c", "stty size; read x; stty size"], "Tty": True, "AttachStdin": True}
    made = api.ok("POST", f"/containers/{identity}/exec", body).json()["Id"]
    sent = json.dumps({"Tty": True, "ConsoleSize": [20, 70]}).encode()
    with Hijacked(api, f"{V}/exec/{made}/start", body=sent) as stream:
        stream.read_until(b"20 70")
        api.ok("POST", f"/exec/{made}/resize", query={"h": 25, "w": 90})
        stream.sock.sendall(b"\n")
        stream.read_until(b"25 90")
        stream.read_all()
    assert api.ok("GET", f"/exec/{made}/json").json()["ExitCode"] == 0


def test_followed_logs_end_with_the_container(docker: Docker):
    docker.ok("run", "-d", "--name", "talker", images.BUSYBOX, "sh", "-c",
              "for n in 1 2 3; do echo $n; sleep 0.1; done")  # fmt: skip
    assert docker.ok("logs", "-f", "talker", timeout_s=20) == "1\n2\n3"
    assert docker.ok("logs", "--tail", "1", "talker") == "3"
    assert docker.ok("logs", "-f", "--since", "1h", "talker", timeout_s=20).startswith("1")


def test_followed_logs_end_with_their_client(api: Api):
    identity = create(api, "sleep", "600")
    start(api, identity)
    before = _threads(api)
    connections = []
    for _ in range(5):
        connection = UnixConnection(api.path)
        connection.request("GET", f"{V}/containers/{identity}/logs?stdout=1&follow=1")
        connection.getresponse()
        connections.append(connection)
    assert _in_work(api) > 5
    for connection in connections:
        connection.close()
    while _in_work(api) > 1:
        pass
    assert _threads(api) <= before + 6


def test_events_are_told_as_they_happen(docker: Docker):
    # From a moment on, so that nothing depends on when the client has connected.
    words = ("events", "--since", f"{time.time():.9f}", "--filter", "type=container")
    with docker.spawn(*words, "--format", "{{.Action}}") as process:
        assert process.stdout is not None
        docker.ok("run", "--rm", images.BUSYBOX, "true")
        told = [process.stdout.readline().decode().strip() for _ in range(4)]
        assert told == ["create", "start", "die", "destroy"]
        process.terminate()


def test_stats_of_a_container_end_when_it_is_removed(docker: Docker):
    docker.ok("run", "-d", "--name", "used", images.BUSYBOX, "sleep", "600")
    shown = docker.ok("stats", "--no-stream", "--format", "{{.Name}} {{.PIDs}}", "used")
    assert shown == "used 1"
    api = docker.api
    connection = UnixConnection(api.path, 30)
    connection.request("GET", f"{V}/containers/used/stats?stream=1")
    stream = connection.getresponse()
    assert json.loads(stream.readline())["name"] == "/used"
    docker.ok("rm", "-f", "used")
    for line in stream:
        assert json.loads(line)["id"]
    connection.close()


def test_waiting_begins_before_the_start(api: Api):
    identity = create(api, "sh", "-c", "exit 9", HostConfig={"AutoRemove": True})
    connection = UnixConnection(api.path, 30)
    connection.request("POST", f"{V}/containers/{identity}/wait?condition=removed")
    answer = connection.getresponse()
    start(api, identity)
    assert json.loads(answer.read())["StatusCode"] == 9
    connection.close()


def test_many_wait_for_one(api: Api):
    identity = create(api, "sh", "-c", "read x; exit 8", OpenStdin=True)
    start(api, identity)
    codes: list[int] = []

    def wait() -> None:
        path = f"/containers/{identity}/wait"
        answer = api.ok("POST", path, query={"condition": "next-exit"})
        codes.append(answer.json()["StatusCode"])

    threads = [threading.Thread(target=wait) for _ in range(20)]
    for thread in threads:
        thread.start()
    while _in_work(api) < 20:
        pass
    api.ok("POST", f"/containers/{identity}/kill")
    for thread in threads:
        thread.join(30)
    assert codes == [137] * 20


def test_files_are_copied_both_ways(docker: Docker, tmp_path: Path):
    docker.ok("create", "--name", "files", images.BUSYBOX)
    (tmp_path / "tree/deep").mkdir(parents=True)
    (tmp_path / "tree/deep/file").write_bytes(b"x" * 300_000)
    docker.ok("cp", str(tmp_path / "tree"), "files:/tmp")
    docker.ok("cp", "files:/tmp/tree", str(tmp_path / "back"))
    assert (tmp_path / "back/deep/file").read_bytes() == b"x" * 300_000
    assert docker("cp", "files:/none", str(tmp_path)).code == 1


def test_a_slow_reader_gets_everything(docker: Docker):
    words = ("run", "--rm", images.BUSYBOX, "sh", "-c", "yes 0123456789abcde | head -c 8000000")
    with docker.spawn(*words) as process:
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), True)
        subprocess.run(["sleep", "0.5"], check=True)
        assert len(process.stdout.read()) == 8_000_000


def test_many_clients_at_a_time(docker: Docker):
    docker.ok("run", "-d", "--name", "shared", "--network", "none", images.BUSYBOX, "sleep", "600")

    def work(number: int) -> None:
        words = f"words of {number}"
        if number % 3:
            assert docker.ok("exec", "shared", "echo", words) == words
        else:
            done = docker("run", "--rm", "-i", images.BUSYBOX, "cat", stdin=words.encode())
            assert done == (0, words, "")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(36)))


def _metric(api: Api, name: str) -> float:
    text = api("GET", "/metrics", version="", conforms=False).body.decode()
    return float(next(line for line in text.splitlines() if line.startswith(f"{name} ")).split()[1])


def _threads(api: Api) -> int:
    return int(_metric(api, "proa_server_threads"))


def _in_work(api: Api) -> int:
    return int(_metric(api, "proa_server_requests_in_work"))
