"""``proa volume``: from the first name to the last byte."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.support.engines import Proa
from tests.support.images import ensure_busybox

pytestmark = pytest.mark.requires("root", "userns", "overlay", "busybox")


@pytest.fixture
def box(fresh_proa: Proa) -> Proa:
    """The command line on a root of its own that has the busybox image."""
    ensure_busybox(fresh_proa)
    return fresh_proa


def run(box: Proa, *words: str) -> str:
    return box.ok("run", "--rm", "--network", "none", *words)


def test_life(box: Proa) -> None:
    assert box.ok("volume", "create", "--label", "job=ci", "data") == "data"
    assert box.ok("volume", "create", "data") == "data"
    run(box, "-v", "data:/d", "busybox", "sh", "-c", "echo kept > /d/file")
    (document,) = json.loads(box.ok("volume", "inspect", "data"))
    assert document["Labels"] == {"job": "ci"}
    assert (Path(document["Mountpoint"]) / "file").read_text() == "kept\n"
    assert box.ok("volume", "ls", "-q", "-f", "label=job=ci") == "data"
    assert box.ok("volume", "rm", "data") == "data"
    assert not os.path.exists(document["Mountpoint"])
    assert box("volume", "inspect", "data").code == 1


def test_in_use(box: Proa) -> None:
    box.ok("create", "--name", "user", "-v", "held:/d", "busybox")
    done = box("volume", "rm", "held")
    assert (done.code, done.stdout) == (1, "")
    assert "held" in done.stderr
    assert "user" in done.stderr
    box.ok("rm", "user")
    assert box.ok("volume", "rm", "held") == "held"


def test_anonymous_ones_go_with_their_container(box: Proa) -> None:
    run(box, "-v", "/d", "busybox", "true")
    assert box.ok("volume", "ls", "-q") == ""
    box.ok("create", "--name", "user", "-v", "/d", "busybox")
    assert len(box.ok("volume", "ls", "-q").split()) == 1
    box.ok("rm", "-v", "user")
    assert box.ok("volume", "ls", "-q") == ""


def test_prune(box: Proa) -> None:
    box.ok("volume", "create", "named")
    box.ok("create", "--name", "user", "-v", "/d", "busybox")
    box.ok("rm", "user")
    (anonymous,) = set(box.ok("volume", "ls", "-q").split()) - {"named"}
    assert "Total" not in box.ok("volume", "prune", stdin=b"n\n")
    pruned = box.ok("volume", "prune", stdin=b"y\n")
    assert anonymous in pruned
    assert box.ok("volume", "ls", "-q") == "named"
    assert "named" in box.ok("volume", "prune", "-af")
    assert box.ok("volume", "ls", "-q") == ""


def test_refusals(box: Proa) -> None:
    for words in (
        ["rm", "nx"],
        ["inspect", "nx"],
        ["create", "a/b"],
        ["create", "-d", "nfs", "ab"],
    ):
        done = box("volume", *words)
        assert done.code == 1
        assert len(done.stderr.splitlines()) == 1
    assert box("volume", "rm", "-f", "nx").code == 0
