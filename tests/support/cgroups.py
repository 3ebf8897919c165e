"""Cgroups for tests: fake trees for unit tests, processes that join real groups for the others."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from proa.cgroups.cgroup import Cgroup
from proa.cgroups.hierarchy import Hierarchy, load_hierarchy
from proa.cgroups.limits import Machine
from proa.cgroups.manager import CgroupManager
from proa.cgroups.node import Node
from proa.linux.process import set_child_subreaper

MACHINE = Machine(frozenset(range(4)), frozenset((0,)))

_V2_CONTROLLERS = "cpuset cpu io memory hugetlb pids"


class FakeTree:
    """Hierarchies in a plain directory that remember what was written to them.

    Attributes:
        root: the directory.
        writes: ``(path below the root, text)`` in order.
        refusals: errors that writing to a path raises.
        born: control files that a new group has, by name of the mount ("" is v2's).
    """

    def __init__(self, root: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.monkeypatch = monkeypatch
        self.writes: list[tuple[str, str]] = []
        self.refusals: dict[str, OSError] = {}
        self.born: dict[str, dict[str, str]] = {}
        monkeypatch.setattr(
            Node, "write_flags", os.O_WRONLY | os.O_CLOEXEC | os.O_CREAT | os.O_TRUNC
        )
        monkeypatch.setattr(Node, "write", self._recorder(Node.write))
        monkeypatch.setattr(Node, "mkdir", self._maker(Node.mkdir))

    def _recorder(
        self, write: Callable[[Node, str, str], None]
    ) -> Callable[[Node, str, str], None]:
        def record(node: Node, file: str, value: str) -> None:
            path = f"{node.path}/{file}".removeprefix(f"{self.root}/")
            if path in self.refusals:
                raise self.refusals[path]
            self.writes.append((path, value))
            write(node, file, value)

        return record

    def _maker(self, mkdir: Callable[[Node], None]) -> Callable[[Node], None]:
        def make(node: Node) -> None:
            mkdir(node)
            path = node.path.removeprefix(f"{self.root}/")
            mount = path.partition("/")[0]
            for file, text in self.born.get(mount, self.born.get("", {})).items():
                self.put(f"{path}/{file}", text)

        return make

    def put(self, path: str, text: str) -> None:
        """Let a control file exist."""
        full = os.path.join(self.root, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "w") as file:
            file.write(text)

    def written(self, below: str = "") -> list[tuple[str, str]]:
        """What was written below a path, with the path taken off; forgets everything."""
        prefix = f"{below}/" if below else ""
        found = [(p.removeprefix(prefix), text) for p, text in self.writes if p.startswith(prefix)]
        self.writes.clear()
        return found

    def v1(self, *controllers: str, together: tuple[str, ...] = ()) -> CgroupManager:
        """A manager on v1, a mount for each controller (those of ``together`` share one)."""
        mounts = {name: os.path.join(self.root, name) for name in controllers}
        mounts |= {name: os.path.join(self.root, ",".join(together)) for name in together}
        for mount in mounts.values():
            os.makedirs(mount, exist_ok=True)
        return CgroupManager(Hierarchy(v1=mounts), MACHINE)

    def v2(self, controllers: str = _V2_CONTROLLERS, parent: str = "proa") -> CgroupManager:
        """A manager on v2 with a parent that is there already, as far as a fake can be."""
        for level in ("", parent):
            self.put(os.path.join(level, "cgroup.controllers"), controllers)
            self.put(os.path.join(level, "cgroup.subtree_control"), "")
        return CgroupManager(
            Hierarchy(unified=self.root, v2_controllers=frozenset(controllers.split())), MACHINE
        )


def real_hierarchy(version: str) -> Hierarchy:
    """This machine's v1 hierarchies, or its unified one alone (on hybrid: few controllers)."""
    found = load_hierarchy()
    if version == "v1":
        if found.mode not in ("v1", "hybrid"):
            pytest.skip("no v1 hierarchies are mounted")
        return found
    if not found.unified:
        pytest.skip("no unified hierarchy is mounted")
    return Hierarchy(unified=found.unified, v2_controllers=found.v2_controllers)


_MEMBER = """
import os, sys
for fd in {fds}:
    os.write(fd, b"0")
print("in", flush=True)
sys.stdin.readline()
{code}
"""


class Member:
    """A Python process that joins a group as a container's first process does, then runs code.

    The code runs once :meth:`go` is called; it may print, and read further lines.
    """

    def __init__(self, group: Cgroup, code: str, prefix: tuple[str, ...] = ()) -> None:
        fds = group.join_fds()
        program = _MEMBER.format(fds=fds, code=code)
        self.process = subprocess.Popen(
            [*prefix, sys.executable, "-I", "-S", "-c", program],
            pass_fds=fds,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.pid = self.process.pid
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if line != "in\n":
            _out, err = self.process.communicate()
            raise AssertionError(f"the process could not join: {err}")
        if not fds:
            group.add(self.pid)

    def go(self) -> None:
        """Let the code run."""
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def line(self) -> str:
        """The next line that the code prints."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")

    def finish(self) -> str:
        """Let the code run to its end; what it printed."""
        out, err = self.process.communicate("go\n", timeout=30)
        assert self.process.returncode == 0, err
        return out

    def wait(self) -> int:
        """Exit code, ``-n`` for signal n."""
        self.process.communicate(timeout=30)
        return self.process.returncode

    def end(self) -> None:
        """Kill it if it lives."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None:
                try:
                    stream.close()
                except BrokenPipeError:
                    pass
        self.process.wait()


@contextmanager
def member(group: Cgroup, code: str = "", prefix: tuple[str, ...] = ()) -> Iterator[Member]:
    """A member that is dead afterwards. Default code: wait for the end of stdin."""
    made = Member(group, code or "sys.stdin.read()", prefix)
    try:
        yield made
    finally:
        if group.frozen():
            group.thaw()
        made.end()


def kill_and_reap(group: Cgroup) -> None:
    """Kill a group; adopt and reap what its dead parents leave behind.

    Otherwise the orphans stay zombies until init gets to them, which some inits do once a second.
    """
    before = _children()
    set_child_subreaper()
    try:
        group.kill()
        quiet = 0
        while quiet < 3:
            orphans = _children() - before
            quiet = 0 if orphans else quiet + 1
            for pid in orphans:
                os.waitpid(pid, 0)
            time.sleep(0.001)  # a child changes its parent a moment after it left the group
    finally:
        set_child_subreaper(enabled=False)


def _children() -> set[int]:
    found: set[int] = set()
    for task in os.listdir("/proc/self/task"):
        with open(f"/proc/self/task/{task}/children") as file:
            found.update(map(int, file.read().split()))
    return found
