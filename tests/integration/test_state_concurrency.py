"""proa.db under several processes, and under processes that die."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from proa.engine.model import ContainerState
from proa.engine.state import State
from proa.errors import Conflict, NotFound
from tests.support.records import container, event

PROCESSES = 8
ROUNDS = 60


def spawn(work: Callable[[], None]) -> int:
    """Run ``work`` in a forked child; its exit status tells whether it raised."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException:
            import traceback

            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return pid


def join(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    state = State(str(tmp_path))
    yield state
    state.close()


def test_eight_processes_write_and_none_sees_busy(state: State, tmp_path: Path) -> None:
    def work() -> None:
        own = State(str(tmp_path))
        for number in range(ROUNDS):
            durable = number % 10 == 0
            record = container()
            record = own.containers.insert(record, [event(record.id)], durable=durable)
            own.containers.update_state(
                record.id, ContainerState(status="running"), durable=durable
            )
            assert own.containers.get(record.name).state.status == "running"
            assert own.containers.delete(record.id, [event(record.id)], durable=durable)
        os._exit(0)

    # All begin without a database: creating it is part of the race.
    children = [spawn(work) for _ in range(PROCESSES)]
    assert [join(pid) for pid in children] == [0] * PROCESSES
    assert state.containers.list() == []
    assert len(state.events.list()) == 2 * PROCESSES * ROUNDS
    state.check()


def test_a_name_belongs_to_one_process_at_a_time(tmp_path: Path) -> None:
    names = ["alpha", "beta", "gamma"]
    held = os.open(tmp_path / "held", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def work() -> None:
        own = State(str(tmp_path))
        for number in range(ROUNDS):
            name = names[number % len(names)]
            try:
                record = own.containers.insert(container(name), durable=False)
            except Conflict:
                continue
            os.write(held, f"+{name}\n".encode())
            os.write(held, f"-{name}\n".encode())
            assert own.containers.delete(record.id, durable=False)
        os._exit(0)

    children = [spawn(work) for _ in range(PROCESSES)]
    assert [join(pid) for pid in children] == [0] * PROCESSES
    os.close(held)
    owners = dict.fromkeys(names, 0)
    for line in (tmp_path / "held").read_text().splitlines():
        owners[line[1:]] += 1 if line[0] == "+" else -1
        assert owners[line[1:]] in (0, 1), "two processes held a name at once"


def test_ranges_of_user_ids_are_never_given_twice(state: State, tmp_path: Path) -> None:
    def work() -> None:
        own = State(str(tmp_path))
        for _ in range(30):
            own.containers.insert(container(id="0" * 8 + os.urandom(28).hex()), durable=False)

    children = [spawn(work) for _ in range(PROCESSES)]
    assert [join(pid) for pid in children] == [0] * PROCESSES
    bases = [record.userns_base for record in state.containers.list()]
    assert len(set(bases)) == len(bases) == 30 * PROCESSES


class Step:
    """Kills its process at the n-th line executed inside the state package."""

    def __init__(self, fatal: int) -> None:
        self.left = fatal

    def __call__(self, frame: FrameType, kind: str, argument: Any) -> Step | None:
        if "/engine/state/" not in frame.f_code.co_filename and kind == "call":
            return None
        if kind == "line":
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return self


@pytest.mark.parametrize("durable", [True, False], ids=["full", "normal"])
def test_a_writer_killed_at_any_step_loses_nothing_acknowledged(
    tmp_path: Path, durable: bool
) -> None:
    survived = False
    for fatal in range(1, 2000, 23):
        directory = tmp_path / f"{fatal}"
        directory.mkdir()
        acknowledged, status = _run_killed_writer(directory, Step(fatal), durable=durable)
        state = State(str(directory))
        state.check()
        names = {record.name for record in state.containers.list()}
        assert acknowledged - names == set()
        # Beyond those at most the one whose acknowledgement was cut off, with its event.
        assert len(names - acknowledged) <= 1
        assert {entry.attributes["name"] for entry in state.events.list()} == names
        state.containers.insert(container("next"))
        state.close()
        if status == 0:
            survived = True
            break
    assert survived, "the writer must get through when it is not killed"


def _run_killed_writer(directory: Path, step: Step, *, durable: bool) -> tuple[set[str], int]:
    reading, writing = os.pipe()

    def work() -> None:
        sys.settrace(step)
        state = State(str(directory))
        for name in ("one", "two", "three"):
            record = container(name)
            state.containers.insert(record, [event(record.id)], durable=durable)
            os.write(writing, name.encode() + b"\n")
        state.close()

    pid = spawn(work)
    os.close(writing)
    with open(reading) as pipe:
        names = set(pipe.read().split())
    return names, join(pid)


def test_a_writer_killed_in_the_middle_of_sqlite_loses_nothing_acknowledged(
    state: State, tmp_path: Path
) -> None:
    known: set[str] = set()
    for round_number in range(15):
        reading, writing = os.pipe()

        def work(writing: int = writing) -> None:
            own = State(str(tmp_path))
            while True:
                record = container()
                own.containers.insert(record, [event(record.id)], durable=False)
                os.write(writing, record.id.encode() + b"\n")

        pid = spawn(work)
        os.close(writing)
        with open(reading) as pipe:
            for _ in range(3 + 7 * round_number):
                known.add(pipe.readline().strip())
            os.kill(pid, signal.SIGKILL)
            known.update(line.strip() for line in pipe if line.endswith("\n"))
        assert join(pid) == -signal.SIGKILL
        stored = {record.id for record in state.containers.list()}
        assert known - stored == set()
        assert len(stored - known) <= round_number + 1
    state.check()


def test_an_unsupervised_update_of_a_deleted_container_is_not_found(
    state: State, tmp_path: Path
) -> None:
    record = state.containers.insert(container("web"))

    def work() -> None:
        assert State(str(tmp_path)).containers.delete(record.id)

    assert join(spawn(work)) == 0
    with pytest.raises(NotFound):
        state.containers.update_state(record.id, ContainerState(status="running"))
