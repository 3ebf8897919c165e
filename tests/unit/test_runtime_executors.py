"""Both executors do the same with the same plan. Nothing here needs privileges."""

from __future__ import annotations

import errno
import os

import pytest

from proa.errors import Invalid
from proa.linux.process import CLONE_CLEAR_SIGHAND, wait_pidfd
from proa.runtime.executors.arena import CAPACITY_BYTES, Arena
from proa.runtime.executors.selection import Executor, choose
from proa.runtime.plan import Plan, Result, Slot, SlotAddress, Steps, Vector


@pytest.fixture(params=["native", "portable"])
def executor(request: pytest.FixtureRequest) -> Executor:
    return choose(request.param)


class Run:
    """A finished child: how it ended, what it wrote, and its arena."""

    def __init__(self, executor: Executor, plan: Plan, *, late: Plan | None = None) -> None:
        reader, writer = os.pipe2(os.O_CLOEXEC)
        ready_r, ready_w = os.pipe2(os.O_CLOEXEC)
        self.arena = Arena(shared=executor.SEPARATE_MEMORY)
        self.arena.load(plan.segments)
        self.arena.set_slot(OUT, writer)
        self.arena.set_slot(READY, ready_r)
        child = executor.spawn(self.arena, CLONE_CLEAR_SIGHAND)
        if late is not None:
            self.arena.load(late.segments)
        os.write(ready_w, b"x")
        self.end = wait_pidfd(child.pidfd)
        for fd in (writer, child.pidfd, ready_r, ready_w):
            os.close(fd)
        with os.fdopen(reader, "rb") as stream:
            self.output = stream.read()


OUT, READY, TOKEN, KEPT = 1, 2, 3, 4


@pytest.fixture
def steps() -> Steps:
    return Steps()


def say(steps: Steps, text: bytes, **more: object) -> Result:
    return steps.add("say", "write", Slot(OUT), text, len(text), **more)  # type: ignore[arg-type]


def finish(steps: Steps, code: int = 0) -> Plan:
    steps.add("end", "exit_group", code)
    return Plan([steps.compile("test")])


def test_steps_run_in_order_and_results_are_kept(executor: Executor, steps: Steps) -> None:
    copy = steps.add("copy", "dup", Slot(OUT), into=KEPT)
    steps.add("say", "write", copy, b"one ", 4)
    steps.add("say", "write", Slot(KEPT), b"two", 3)
    run = Run(executor, finish(steps, 7))
    assert run.output == b"one two"
    assert run.end == (7, 0)
    assert run.arena.failure() is None
    assert run.arena.results(0)[1:3] == [4, 3]
    assert run.arena.slot(KEPT) == run.arena.results(0)[0]


def test_a_failing_step_stops_the_child_and_is_reported(executor: Executor, steps: Steps) -> None:
    say(steps, b"before")
    steps.add("close what is not open", "close", 1_000_000)
    say(steps, b"after")
    run = Run(executor, finish(steps))
    assert run.output == b"before"
    failure = run.arena.failure()
    assert failure is not None
    assert (failure.number, failure.step.name, failure.errno) == (
        1,
        "close what is not open",
        errno.EBADF,
    )
    assert run.end == (125, 0)


def test_tolerated_errors_go_on_others_do_not(executor: Executor, steps: Steps) -> None:
    steps.add("a", "close", 1_000_000, tolerate=(errno.ENOENT, errno.EPERM, errno.EIO, errno.EBADF))
    say(steps, b"1")
    steps.add("b", "close", 1_000_000, tolerate_all=True)
    say(steps, b"2")
    steps.add("c", "close", 1_000_000, tolerate=(errno.ENOENT,))
    say(steps, b"3")
    run = Run(executor, finish(steps))
    assert run.output == b"12"
    failure = run.arena.failure()
    assert failure is not None
    assert failure.number == 4


def test_skips_on_success_and_on_error(executor: Executor, steps: Steps) -> None:
    say(steps, b"1", skip=2, skip_on="success")
    say(steps, b"x")
    say(steps, b"x")
    steps.add("c", "close", 1_000_000, tolerate_all=True, skip=1, skip_on="error")
    say(steps, b"x")
    steps.add("c", "close", 1_000_000, tolerate_all=True, skip=1, skip_on="success")
    say(steps, b"2")
    say(steps, b"3", skip=1, skip_on="error")
    say(steps, b"4")
    assert Run(executor, finish(steps)).output == b"1234"


def test_a_result_above_zero_can_be_a_failure(executor: Executor, steps: Steps) -> None:
    steps.add("zero", "umask", 0)
    steps.add("zero again", "umask", 0o22, zero_only=True)
    say(steps, b"ok")
    steps.add("not zero", "umask", 0, zero_only=True)
    say(steps, b"x")
    run = Run(executor, finish(steps))
    assert run.output == b"ok"
    failure = run.arena.failure()
    assert failure is not None
    assert (failure.step.name, failure.errno) == ("not zero", 0)


def test_all_six_arguments_arrive(executor: Executor, steps: Steps) -> None:
    code = steps.add("map", "mmap", 0, 4096, 1, 0x22, 2**64 - 1, 0)
    steps.add("unmap", "munmap", code, 4096)
    say(steps, b"mapped")
    assert Run(executor, finish(steps)).output == b"mapped"


def test_segments_follow_each_other_and_keep_to_their_own_results(executor: Executor) -> None:
    first, second = Steps(), Steps()
    first.add("copy", "dup", Slot(OUT), into=KEPT)
    say(first, b"one ")
    say(second, b"two ")
    second.add("say", "write", Slot(KEPT), b"three", 5)
    second.add("end", "exit_group", 0)
    segments = [first.compile("first"), second.compile("second")]
    run = Run(executor, Plan(segments))
    assert run.output == b"one two three"
    assert run.arena.results(1)[:2] == [4, 5]
    assert run.arena.results(-1) == run.arena.results(1)


def test_segments_can_be_loaded_while_the_child_waits(executor: Executor, steps: Steps) -> None:
    steps.add("wait", "read", Slot(READY), SlotAddress(TOKEN), 1)
    late = Steps()
    say(late, b"late")
    run = Run(executor, Plan([steps.compile("early")]), late=finish(late))
    assert run.output == b"late"
    assert run.arena.slot(TOKEN) == ord("x")


def test_execve_gets_its_vectors(executor: Executor, steps: Steps) -> None:
    steps.add("stdout", "dup3", Slot(OUT), 1, 0)
    argv = Vector((b"sh", b"-c", b'echo "$1 $WORD"', b"sh", b"first"))
    steps.add("exec", "execve", b"/nowhere/sh", argv, Vector(()), tolerate=(errno.ENOENT,))
    steps.add("exec", "execve", b"/bin/sh", argv, Vector((b"WORD=second",)))
    run = Run(executor, Plan([steps.compile("exec")]))
    assert run.output == b"first second\n"
    assert run.end == (0, 0)
    assert run.arena.failure() is None
    assert run.arena.current()[0] == 2


def test_the_child_has_default_signal_handlers(executor: Executor, steps: Steps) -> None:
    steps.add("end by a signal", "getpid", into=KEPT)
    steps.add("end by a signal", "kill", Slot(KEPT), 10)
    run = Run(executor, finish(steps))
    assert run.end == (0, 10)


def test_an_arena_refuses_more_than_it_holds() -> None:
    arena = Arena(shared=False)
    steps = Steps()
    steps.add("big", "write", 1, bytes(CAPACITY_BYTES), 1)
    with pytest.raises(Invalid, match="too long"):
        arena.load([steps.compile("big")])
    arena.close()


def test_an_unknown_executor_is_refused() -> None:
    with pytest.raises(Invalid, match="unknown executor"):
        choose("fast")


def test_auto_is_the_native_executor_where_there_is_machine_code() -> None:
    assert choose("auto").NAME == "native"
