"""Hosts for network tests: namespaces of the test's own, with iproute2 and nft in them."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from proa.linux import netns
from proa.linux.netlink import link
from proa.linux.netlink.socket import Netlink


class Host:
    """A network namespace; gone with its last descriptor.

    Attributes:
        fd: descriptor of the namespace.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def argv(self, *words: str) -> list[str]:
        """The command line that runs ``words`` in this namespace."""
        return ["nsenter", f"--net=/proc/{os.getpid()}/fd/{self.fd}", "--", *words]

    def __call__(self, *words: str, check: bool = True, stdin: str = "") -> str:
        """Run a program in the namespace and return its output."""
        done = subprocess.run(
            self.argv(*words), input=stdin, capture_output=True, text=True, timeout=30, check=False
        )
        assert not check or done.returncode == 0, f"{words}: {done.stderr}"
        return done.stdout

    def json(self, *words: str) -> Any:
        """Run a program that prints JSON."""
        return json.loads(self(*words) or "[]")

    def spawn(self, *words: str, **options: Any) -> subprocess.Popen[bytes]:
        """Start a program in the namespace."""
        return subprocess.Popen(self.argv(*words), **options)


@contextmanager
def host() -> Iterator[Host]:
    """Make a namespace with its loopback up."""
    made = Host(netns.make())
    try:
        with Netlink(netns_fd=made.fd) as nl:
            link.set_up(nl, 1)
        yield made
    finally:
        os.close(made.fd)


def connect(first: Host, name: str, second: Host, other: str) -> None:
    """Lay a cable: an interface in each of two hosts, both up, without addresses."""
    with Netlink(netns_fd=first.fd) as nl:
        link.add_veth(nl, name, peer=other, peer_netns_fd=second.fd)
    second("ip", "link", "set", other, "up")
