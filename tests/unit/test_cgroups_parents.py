"""Parents shared by processes that come and go: plain directories behave alike here."""

from __future__ import annotations

import os

import pytest

from proa.cgroups.node import Node
from proa.cgroups.parents import Parents
from proa.errors import Conflict


class Tree:
    """Two hierarchies, and what was initialised in them."""

    def __init__(self, root: str) -> None:
        self.mounts = (f"{root}/memory", f"{root}/pids")
        for mount in self.mounts:
            os.mkdir(mount)
        self.root = root
        self.initialised: list[str] = []

    def parents(self) -> Parents:
        return Parents(
            self.mounts, lambda level, above: self.initialised.append(level.path[len(self.root) :])
        )

    def left(self) -> list[str]:
        return sorted(
            os.path.join(base, name)[len(self.root) :]
            for mount in self.mounts
            for base, names, _files in os.walk(mount)
            for name in names
        )


@pytest.fixture
def tree(tmp_path: object) -> Tree:
    return Tree(str(tmp_path))


def test_levels_are_made_and_initialised_once(tree: Tree) -> None:
    parents = tree.parents()
    for name in ("c1", "c2"):
        parents.make(tree.mounts[0], "/proa/team", name)
    assert tree.initialised == ["/memory", "/memory/proa", "/memory/proa/team"]
    assert tree.left() == [
        "/memory/proa",
        "/memory/proa/team",
        "/memory/proa/team/c1",
        "/memory/proa/team/c2",
    ]


def test_a_parent_that_was_removed_meanwhile_is_made_again(tree: Tree) -> None:
    parents = tree.parents()
    parents.ensure(tree.mounts[0], "/proa")
    os.rmdir(f"{tree.mounts[0]}/proa")
    node = parents.make(tree.mounts[0], "/proa", "c1")
    assert node.exists()
    assert os.path.isdir(node.path)


def test_a_parent_that_vanishes_at_each_attempt_is_given_up(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    parents = tree.parents()
    mkdir = Node.mkdir

    def raced(node: Node) -> None:
        if node.name == "c1":
            os.rmdir(f"{tree.mounts[0]}/proa")
        mkdir(node)

    monkeypatch.setattr(Node, "mkdir", raced)
    with pytest.raises(Conflict, match="removed again and again"):
        parents.make(tree.mounts[0], "/proa", "c1")


def test_who_leaves_removes_the_empty_parent_everywhere(tree: Tree) -> None:
    parents = tree.parents()
    nodes = [parents.make(mount, "/proa", "c1") for mount in tree.mounts]
    parents.release("/proa")
    assert tree.left() == ["/memory/proa", "/memory/proa/c1", "/pids/proa", "/pids/proa/c1"]
    for node in nodes:
        node.rmdir()
    parents.release("/proa")
    assert tree.left() == []


def test_a_foreign_parent_stays(tree: Tree) -> None:
    os.mkdir(f"{tree.mounts[0]}/theirs")
    parents = tree.parents()
    parents.make(tree.mounts[0], "/theirs/ours", "c1").rmdir()
    parents.release("/theirs/ours")
    assert tree.left() == ["/memory/theirs"]


def test_the_engines_own_parent_is_removed_whoever_made_it(tree: Tree) -> None:
    os.mkdir(f"{tree.mounts[1]}/proa")
    tree.parents().release("/proa")
    assert tree.left() == []


def test_a_pin_keeps_the_parent_until_close(tree: Tree) -> None:
    parents = tree.parents()
    parents.pin("/proa")
    parents.ensure(tree.mounts[0], "/proa")
    parents.release("/proa")
    assert tree.left() == ["/memory/proa"]
    parents.close()
    assert tree.left() == []


def test_a_pin_is_inherited_by_a_fork_and_not_dropped_by_it(tree: Tree) -> None:
    parents = tree.parents()
    parents.pin("/proa")
    parents.ensure(tree.mounts[0], "/proa")
    pid = os.fork()
    if pid == 0:
        parents.close()
        os._exit(0)
    os.waitpid(pid, 0)
    assert tree.left() == ["/memory/proa"]
    parents.close()


def test_a_pin_ends_with_the_process_that_set_it(tree: Tree) -> None:
    parents = tree.parents()
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    parents._pins["/proa"] = pid
    parents.ensure(tree.mounts[0], "/proa")
    parents.release("/proa")
    assert tree.left() == []


def test_find_sees_a_parent_that_was_made_anew(tree: Tree) -> None:
    parents = tree.parents()
    assert parents.find(tree.mounts[0], "/proa", "c1") is None
    parents.make(tree.mounts[0], "/proa", "c1").rmdir()
    os.rmdir(f"{tree.mounts[0]}/proa")
    os.makedirs(f"{tree.mounts[0]}/proa/c1")
    found = parents.find(tree.mounts[0], "/proa", "c1")
    assert found is not None
    assert found.path == f"{tree.mounts[0]}/proa/c1"


def test_descriptors_close_with_the_last_node(tree: Tree) -> None:
    before = set(os.listdir("/proc/self/fd"))
    parents = tree.parents()
    node = parents.make(tree.mounts[0], "/proa", "c1")
    parents.close()
    assert node.exists()
    del node
    assert set(os.listdir("/proc/self/fd")) == before
