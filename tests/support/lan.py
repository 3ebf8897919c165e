"""An engine on a host of its own, and a neighbour on the same LAN; all in namespaces of the test.

::

    neighbour 192.0.2.2 ── eth0 ──── lan0 ── 192.0.2.1 engine's host ── proa bridges ── containers
              fd00:2::2                      fd00:2::1
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support import engines, netns
from tests.support.images import ensure_busybox

HOST = "192.0.2.1"
NEIGHBOUR = "192.0.2.2"
HOST6, NEIGHBOUR6 = "fd00:2::1", "fd00:2::2"
AWAIT_S = 5.0


class Lan:
    """The two hosts and the engine.

    Attributes:
        host: where the engine runs.
        neighbour: another host on its LAN.
        proa: the engine's command line.
    """

    def __init__(self, host: netns.Host, neighbour: netns.Host, proa: engines.Proa) -> None:
        self.host = host
        self.neighbour = neighbour
        self.proa = proa

    def serve(self, name: str, *words: str, command: str = "httpd -f -vv -p 80 -h /srv") -> None:
        """Start a container that serves its own name over HTTP on port 80."""
        script = f"mkdir -p /srv; echo {name} >/srv/index.html; exec {command}"
        self.proa.ok("run", "-d", "--name", name, *words, "busybox", "sh", "-c", script)
        pid = self.proa.ok("inspect", "-f", "{{.State.Pid}}", name)
        await_true(lambda: _is_listening(pid, 80), f"the start of {name}'s server")

    def fetch(self, who: netns.Host, url: str, timeout_s: float = 5.0) -> str:
        """Fetch a page from a host; empty when nothing answers."""
        return who("curl", "-s", "-m", str(timeout_s), url, check=False).strip()

    def fetch_inside(self, container: str, url: str) -> str:
        """Fetch a page from a container; empty when nothing answers."""
        done = self.proa("exec", container, "timeout", "3", "wget", "-qO-", url)
        return done.stdout.strip() if done.code == 0 else ""

    def address(self, container: str, network: str = "bridge") -> str:
        """IPv4 address of a running container."""
        template = f'{{{{(index .NetworkSettings.Networks "{network}").IPAddress}}}}'
        return self.proa.ok("inspect", "-f", template, container)

    @contextmanager
    def inside(self, container: str) -> Iterator[netns.Host]:
        """The container's network namespace as a host, for programs that its image lacks."""
        pid = self.proa.ok("inspect", "-f", "{{.State.Pid}}", container)
        fd = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            yield netns.Host(fd)
        finally:
            os.close(fd)

    def links(self) -> list[str]:
        """Names of the host's interfaces."""
        return [item["ifname"] for item in self.host.json("ip", "-j", "link")]


@contextmanager
def lan() -> Iterator[Lan]:
    """Make the hosts and the engine, with the busybox image in it."""
    with netns.host() as host, netns.host() as neighbour:
        netns.connect(host, "lan0", neighbour, "eth0")
        for who, name, four, six in (
            (host, "lan0", HOST, HOST6), (neighbour, "eth0", NEIGHBOUR, NEIGHBOUR6),
        ):  # fmt: skip
            who("ip", "addr", "add", f"{four}/24", "dev", name)
            who("ip", "addr", "add", f"{six}/64", "dev", name, "nodad")
        with engines.temporary_root(host.argv()) as proa:
            ensure_busybox(proa)
            yield Lan(host, neighbour, proa)


@contextmanager
def program(
    who: netns.Host, code: str, *words: str, stdin: bool = False
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a Python program on a host; it prints a line once it is ready."""
    argv = who.argv(sys.executable, "-c", code, *words)
    pipe = subprocess.PIPE if stdin else None
    with subprocess.Popen(argv, stdin=pipe, stdout=subprocess.PIPE, cwd=os.getcwd()) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline()
            yield process
        finally:
            process.kill()


def _is_listening(pid: str, port: int) -> bool:
    found = ""
    for table in ("tcp", "tcp6"):
        with open(f"/proc/{pid}/net/{table}") as file:
            found += file.read()
    return f":{port:04X} 00000000" in found


def await_true(condition, what: str, timeout_s: float = AWAIT_S) -> None:
    """Look every few milliseconds until ``condition`` holds: these are other processes' deeds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen within {timeout_s} s"
        time.sleep(0.01)
