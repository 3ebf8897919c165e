"""A child made ahead becomes a container like any other, or leaves nothing."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from proa.linux.process import pidfd_send_signal
from proa.runtime import groups, spare
from proa.runtime.executors.selection import choose
from proa.runtime.process import ProcessIsolation, drop_spare
from tests.support.sandboxes import KINDS, Boxes, make_process, make_root, make_spec

pytestmark = pytest.mark.requires("root", "userns", "idmap", "overlay", "busybox")


class Nest:
    """One executor's spare child, and containers made with that executor."""

    def __init__(self, name: str, boxes: Boxes) -> None:
        self.executor = choose(name)
        self.boxes = boxes

    def keep(self) -> int:
        """Keep a spare child; return its pid."""
        spare.keep(self.executor)
        assert spare._spare is not None
        return spare._spare[1].launch.child.pid


@pytest.fixture(params=["native", "portable"])
def nest(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Nest]:
    make_root(str(tmp_path / "layer"))
    isolation = ProcessIsolation(executor=request.param)
    boxes = Boxes(isolation, str(tmp_path / "state"), str(tmp_path / "layer"))
    yield Nest(request.param, boxes)
    boxes.close()
    drop_spare()
    groups.manager().close()


def namespaces(pid: int | str) -> dict[str, str]:
    place = f"/proc/{pid}/ns"
    return {name: os.readlink(f"{place}/{name}") for name in os.listdir(place)}


def test_the_next_container_is_the_spare_child(nest: Nest) -> None:
    pid = nest.keep()
    with nest.boxes.running() as sandbox:
        assert sandbox.init.pid == pid
        outside, inside = namespaces("self"), namespaces(pid)
        assert not {name for name in outside if outside[name] == inside[name]}
    assert spare._spare is None


def test_output_and_exit_status_are_those_of_any_container(nest: Nest) -> None:
    nest.keep()
    outcome = nest.boxes.run(make_spec(make_process("sh", "-c", "cat; exit 3")), text=b"hello")
    assert (outcome.out, outcome.status.code) == ("hello", 3)


def test_a_container_that_shares_a_namespace_leaves_it_alone(nest: Nest) -> None:
    pid = nest.keep()
    kinds = tuple(kind for kind in KINDS if kind != "ipc")
    assert nest.boxes.run(make_spec(make_process("true"), kinds=kinds)).status.code == 0
    assert nest.keep() == pid
    drop_spare()
    assert not os.path.exists(f"/proc/{pid}")


def test_a_spare_child_that_died_is_replaced(nest: Nest) -> None:
    pid = nest.keep()
    assert spare._spare is not None
    pidfd_send_signal(spare._spare[1].launch.child.pidfd, signal.SIGKILL)
    with nest.boxes.running() as sandbox:
        assert sandbox.init.pid != pid


def test_a_failed_creation_ends_it(nest: Nest) -> None:
    pid = nest.keep()
    process = make_process("no-such-command")
    with pytest.raises(Exception, match="no-such-command"):
        nest.boxes.run(make_spec(process))
    assert not os.path.exists(f"/proc/{pid}")


def test_dropping_one_leaves_no_descriptor(nest: Nest) -> None:
    nest.keep()
    drop_spare()
    before = sorted(os.listdir("/proc/self/fd"))
    for _ in range(20):
        nest.keep()
        drop_spare()
    assert sorted(os.listdir("/proc/self/fd")) == before
