"""A swarm of two machines whose default runtime is ``proa-runtime``: how Proa grows past one.

The machines are dockerds in network and UTS namespaces of their own, joined by a cable.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.support.ociruntime import write_launcher
from tests.support.sandboxes import make_root

pytestmark = [
    pytest.mark.requires("root", "busybox", "seccomp", "dockerd", "docker", "nsenter", "ip"),
    pytest.mark.timeout(180),
]

IMAGE = "127.0.0.1:1/box:1"
"""On a registry that refuses at once: a node asks for an image before it takes its own."""

_TIMEOUT_S = 60.0


class Node:
    """One machine: its namespaces are held by a process, its dockerd runs in them."""

    def __init__(self, name: str, base: str, runtime: str) -> None:
        self.address = f"10.99.0.{name[-1]}"
        self._directory = f"{base}/{name}"
        os.mkdir(self._directory)
        script = f"hostname {name} && echo && exec sleep infinity"
        self._holder = subprocess.Popen(
            ["unshare", "--net", "--uts", "sh", "-c", script], stdout=subprocess.PIPE
        )
        self._holder.stdout.readline()
        self.pid = self._holder.pid
        self._runtime = runtime
        self._daemon: subprocess.Popen[bytes] | None = None

    def start(self, link: str) -> None:
        """Raise the cable's end and start dockerd; :meth:`await_start` follows."""
        for words in (
            ("link", "set", "lo", "up"),
            ("addr", "add", f"{self.address}/24", "dev", link),
            ("link", "set", link, "up"),
        ):
            self._inside("ip", *words)
        place = self._directory
        with open(f"{place}/log", "wb") as log:
            self._daemon = subprocess.Popen(
                [*self._enter(), "dockerd", f"--host=unix://{place}/s", f"--data-root={place}/root",
                 f"--exec-root={place}/x", f"--pidfile={place}/pid", "--bridge=none",
                 "--iptables=false", "--ip6tables=false", "--storage-driver=vfs",
                 f"--add-runtime=proa={self._runtime}", "--default-runtime=proa"],
                stdout=log, stderr=log,
            )  # fmt: skip

    def docker(self, *words: str, check: bool = True) -> str:
        done = subprocess.run(
            ["docker", "-H", f"unix://{self._directory}/s", *words], capture_output=True,
            text=True, timeout=_TIMEOUT_S, check=False,
        )  # fmt: skip
        assert not check or done.returncode == 0, f"docker {words}: {done.stderr}"
        return done.stdout.strip()

    def await_start(self) -> None:
        eventually(lambda: "Swarm" in self.docker("info", check=False))

    def tasks(self) -> int:
        """How many containers run here."""
        return len(self.docker("ps", "-q").split())

    def stop(self) -> None:
        if self._daemon is not None:
            self._daemon.send_signal(signal.SIGTERM)
            self._daemon.wait(_TIMEOUT_S)
        self._holder.kill()
        self._holder.communicate()
        # dockerd leaves the namespace mounted that containers on its own network had.
        namespaces = f"{self._directory}/x/netns"
        for name in os.listdir(namespaces) if os.path.isdir(namespaces) else ():
            subprocess.run(["umount", f"{namespaces}/{name}"], check=False, capture_output=True)

    def _enter(self) -> list[str]:
        return ["nsenter", f"--net=/proc/{self.pid}/ns/net", f"--uts=/proc/{self.pid}/ns/uts"]

    def _inside(self, *words: str) -> None:
        subprocess.run([*self._enter(), *words], check=True)


def eventually(look: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _TIMEOUT_S
    while not look():
        assert time.monotonic() < deadline
        time.sleep(0.2)  # a swarm tells nobody that it has settled


@contextmanager
def two_nodes(runtime: str) -> Iterator[Sequence[Node]]:
    with ExitStack() as stack:
        base = stack.enter_context(tempfile.TemporaryDirectory(prefix="psw-", dir="/var/tmp"))
        nodes = []
        for name in ("node1", "node2"):
            nodes.append(Node(name, base, runtime))
            stack.callback(nodes[-1].stop)
        ends = [("link", "add", "swarm1", "netns", str(nodes[0].pid), "type", "veth"),
                ("peer", "name", "swarm2", "netns", str(nodes[1].pid))]  # fmt: skip
        subprocess.run(["ip", *ends[0], *ends[1]], check=True)
        for node, link in zip(nodes, ("swarm1", "swarm2"), strict=True):
            node.start(link)
        for node in nodes:
            node.await_start()
        yield nodes


@pytest.fixture
def launcher(tmp_path: Path) -> str:
    return write_launcher(tmp_path / "proa-runtime")


def test_a_service_is_scheduled_scaled_and_moved(launcher: str, tmp_path: Path) -> None:
    make_root(str(tmp_path / "image"))
    archive = str(tmp_path / "image.tar")
    subprocess.run(["tar", "-C", str(tmp_path / "image"), "-cf", archive, "."], check=True)
    with two_nodes(launcher) as (manager, worker):
        for node in (manager, worker):
            node.docker("import", archive, IMAGE)
            assert node.docker("info", "-f", "{{.DefaultRuntime}}") == "proa"
        at = [f"--advertise-addr={manager.address}", f"--listen-addr={manager.address}:2377"]
        manager.docker("swarm", "init", *at)
        token = manager.docker("swarm", "join-token", "-q", "worker")
        at = [f"--advertise-addr={worker.address}", f"--listen-addr={worker.address}:2377"]
        worker.docker("swarm", "join", *at, "--token", token, f"{manager.address}:2377")

        script = "trap 'exit 0' TERM; while :; do sleep 0.1; done"
        manager.docker("service", "create", "-d", "--name", "web", "--replicas", "10", "--network",
                       "host", "--no-resolve-image", IMAGE, "sh", "-c", script)  # fmt: skip
        eventually(lambda: replicas(manager) == "10/10")
        assert sorted((manager.tasks(), worker.tasks())) == [5, 5]
        assert "proa-runtime" in runtimes(manager)

        manager.docker("service", "scale", "-d", "web=12")
        eventually(lambda: replicas(manager) == "12/12")
        assert manager.tasks() + worker.tasks() == 12

        name = manager.docker("node", "ls", "--filter", "role=worker", "-q")
        manager.docker("node", "update", "--availability", "drain", name)
        eventually(lambda: (manager.tasks(), worker.tasks()) == (12, 0))

        manager.docker("service", "rm", "web")
        eventually(lambda: manager.tasks() == 0)
        worker.docker("swarm", "leave")
        manager.docker("swarm", "leave", "--force")


def replicas(manager: Node) -> str:
    return manager.docker("service", "ls", "--format", "{{.Replicas}}")


def runtimes(node: Node) -> str:
    """The program that made one of the containers, as dockerd knows it."""
    first = node.docker("ps", "-q").split()[0]
    (shown,) = json.loads(node.docker("inspect", first))
    assert shown["HostConfig"]["Runtime"] in ("", "proa")
    return str(json.loads(node.docker("info", "-f", "{{json .Runtimes}}"))["proa"]["path"])
