"""Containers live and die as they should, whoever of the engine's processes is killed."""

from __future__ import annotations

import json
import os
import select
import signal
import threading
import time

import pytest

from proa.engine.zygote.worker import DISMISSAL
from tests.support import engines
from tests.support.images import ensure_busybox

pytestmark = pytest.mark.requires("root", "userns", "overlay")

AWAIT_S = 10.0


@pytest.fixture
def box(proa):
    """The command line on a root that has the busybox image."""
    ensure_busybox(proa)
    yield proa
    proa.remove_all()


def await_true(condition, what):
    """Look every few milliseconds until ``condition`` holds: these are other processes' deeds."""
    deadline = time.monotonic() + AWAIT_S
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen within {AWAIT_S} s"
        time.sleep(0.005)


def inspect(box, name):
    return json.loads(box.ok("inspect", name))[0]


def zygote_of(box):
    """The process that is the parent of the others and leads its own session."""
    pids = engines.processes(box.run_dir)
    leaders = [pid for pid in pids if os.getsid(pid) == pid]
    assert len(leaders) == 1, f"expected one zygote among {pids}"
    return leaders[0]


def host_pid(box, name):
    return int(inspect(box, name)["State"]["Pid"])


def is_gone(pid):
    try:
        with open(f"/proc/{pid}/stat", "rb") as stream:
            return stream.read().rpartition(b")")[2].split()[0] in (b"Z", b"X")
    except OSError:
        return True


def test_output_exit_code_and_stdin_pass_through(box):
    done = box(
        "run", "--rm", "-i", "--network", "none", "busybox",
        "sh", "-c", "cat; echo to-stderr >&2; exit 7", stdin=b"through stdin",
    )  # fmt: skip
    assert done == (7, "through stdin", "to-stderr\n")
    assert box.containers() == []


def test_without_i_the_containers_stdin_is_empty(box):
    done = box("run", "--rm", "--network", "none", "busybox", "cat", stdin=b"not for you")
    assert done == (0, "", "")


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (["sh", "-c", "exit 0"], 0),
        (["sh", "-c", "exit 3"], 3),
        (["sh", "-c", "sh -c 'kill -9 $$'; exit $?"], 137),
        (["no-such-command"], 127),
        (["/etc"], 126),
        (["/etc/hostname"], 126),
    ],
)
def test_exit_codes_are_dockers(box, command, code):
    done = box("run", "--rm", "--network", "none", "busybox", *command)
    assert done.code == code, done.stderr
    if code in (126, 127):
        assert command[0] in done.stderr
    assert box.containers() == []


def test_megabytes_of_output_arrive_whole(box):
    script = "i=0; while [ $i -lt 20000 ]; do echo $i; i=$((i+1)); done"
    done = box("run", "--rm", "--network", "none", "busybox", "sh", "-c", script)
    assert done.stdout.split() == [str(number) for number in range(20000)]


def test_a_container_survives_its_zygote(box):
    box.ok("run", "-d", "--name", "web", "--network", "none", "busybox", "sleep", "600")
    zygote = zygote_of(box)
    os.kill(zygote, signal.SIGKILL)
    await_true(lambda: is_gone(zygote), "the end of the zygote")
    assert inspect(box, "web")["State"]["Status"] == "running"
    box.ok("stop", "-t", "0", "web")
    assert inspect(box, "web")["State"]["ExitCode"] == 137


def test_a_container_survives_its_killed_client(box):
    with box.spawn(
        "run", "--name", "web", "--network", "none", "busybox", "sh", "-c", "echo up; sleep 600"
    ) as client:
        assert client.stdout.readline() == b"up\n"
        client.kill()
        client.wait()
    assert inspect(box, "web")["State"]["Status"] == "running"
    assert box.ok("logs", "web") == "up"
    box.ok("rm", "-f", "web")


@pytest.mark.parametrize("auto_remove", [False, True])
def test_the_death_of_a_supervisor_is_noticed_and_told(box, auto_remove):
    options = ["--rm"] if auto_remove else []
    box.ok("run", "-d", *options, "--name", "web", "--network", "none", "busybox", "sleep", "600")
    init = host_pid(box, "web")
    (supervisor,) = engines.supervisors(box)
    os.kill(supervisor, signal.SIGKILL)
    await_true(lambda: is_gone(init), "the end of the container with its supervisor")
    began = time.monotonic()
    listed = box.ok("ps", "-a", "--format", "{{.Names}} {{.Status}}")
    assert time.monotonic() - began < 2
    if auto_remove:
        assert listed == ""
    else:
        assert listed.startswith("web Exited (137)")
        state = inspect(box, "web")["State"]
        assert (state["ExitCode"], state["Error"]) == (137, "the container's supervisor was killed")
        box.ok("start", "web")
        assert inspect(box, "web")["State"]["Status"] == "running"
        box.ok("rm", "-f", "web")


def test_a_stop_that_finds_a_dead_supervisor_cleans_up(box):
    box.ok("run", "-d", "--name", "web", "--network", "none", "busybox", "sleep", "600")
    (supervisor,) = engines.supervisors(box)
    os.kill(supervisor, signal.SIGKILL)
    box.ok("stop", "web")
    assert inspect(box, "web")["State"]["Status"] == "exited"


def test_signals_of_the_client_reach_the_container(box):
    script = (
        "trap 'echo got USR1' USR1; trap 'echo got TERM; exit 5' TERM; "
        "echo up; while :; do sleep 0.05; done"
    )
    with box.spawn("run", "--rm", "--network", "none", "busybox", "sh", "-c", script) as client:
        assert client.stdout.readline() == b"up\n"
        client.send_signal(signal.SIGUSR1)
        assert client.stdout.readline() == b"got USR1\n"
        client.send_signal(signal.SIGTERM)
        assert client.stdout.readline() == b"got TERM\n"
        assert client.wait(AWAIT_S) == 5


def test_stop_sends_the_stop_signal_then_kills(box):
    script = "trap 'echo asked' TERM; echo up; while :; do sleep 0.05; done"
    box.ok("run", "-d", "--name", "stubborn", "--network", "none", "busybox", "sh", "-c", script)
    await_true(lambda: "up" in box.ok("logs", "stubborn"), "the start")
    began = time.monotonic()
    box.ok("stop", "-t", "1", "stubborn")
    assert 1 <= time.monotonic() - began < 5
    assert inspect(box, "stubborn")["State"]["ExitCode"] == 137
    assert "asked" in box.ok("logs", "stubborn")


def test_a_polite_container_stops_at_once_with_its_own_code(box):
    script = "trap 'exit 3' QUIT; echo up; while :; do sleep 0.05; done"
    box.ok(
        "run", "-d", "--name", "polite", "--stop-signal", "QUIT", "--network", "none", "busybox",
        "sh", "-c", script,
    )  # fmt: skip
    await_true(lambda: "up" in box.ok("logs", "polite"), "the start")
    box.ok("stop", "polite")
    assert inspect(box, "polite")["State"]["ExitCode"] == 3


def test_a_broken_pipeline_ends_the_container(box):
    with box.spawn("run", "--rm", "--network", "none", "busybox", "yes") as client:
        assert client.stdout.read(4) == b"y\ny\n"
        client.stdout.close()
        assert client.wait(AWAIT_S) in (1, 141)
    assert box.containers() == []


def test_a_slow_reader_loses_nothing(box):
    lines = 200_000
    script = f"i=0; while [ $i -lt {lines} ]; do echo line-$i; i=$((i+1)); done"
    with box.spawn(
        "run", "--name", "talker", "--network", "none", "busybox", "sh", "-c", script
    ) as client:
        select.select([client.stdout], [], [])
        time.sleep(0.3)  # the reader is slow: that is what is tested
        received = client.stdout.read()
        assert client.wait(AWAIT_S) == 0
    assert received.count(b"\n") == lines
    assert box.ok("logs", "talker").encode() + b"\n" == received


def test_one_of_many_wins_a_name(box):
    codes = []

    def run():
        codes.append(
            box("run", "-d", "--name", "one", "--network", "none", "busybox", "sleep", "9")
        )

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done.code for done in codes) == [0] + [125] * 7
    losers = [done.stderr for done in codes if done.code]
    assert all("one" in message and "in use" in message for message in losers)
    assert len(box.containers()) == 1
    box.ok("rm", "-f", "one")


def test_start_and_stop_again_keeps_the_files(box):
    box.ok(
        "create",
        "--name",
        "keeper",
        "--network",
        "none",
        "busybox",
        "sh",
        "-c",
        "date >> /kept; cat /kept",
    )
    for times in (1, 2):
        box.ok("start", "-a", "keeper")
        assert len(box.ok("logs", "keeper").splitlines()) == sum(range(times + 1))


def test_starting_a_running_container_changes_nothing(box):
    box.ok("run", "-d", "--name", "web", "--network", "none", "busybox", "sleep", "600")
    pid = host_pid(box, "web")
    assert box.ok("start", "web") == "web"
    assert host_pid(box, "web") == pid
    refused = box("rm", "web")
    assert refused.code == 1
    assert "web" in refused.stderr
    assert "stop" in refused.stderr
    box.ok("rm", "-f", "web")


def test_restart_on_failure_counts_and_gives_up(box):
    box.ok(
        "run", "-d", "--name", "failing", "--restart", "on-failure:2", "--network", "none",
        "busybox", "sh", "-c", "echo try; exit 4",
    )  # fmt: skip
    assert box.ok("wait", "failing") == "4"
    found = inspect(box, "failing")
    assert (found["RestartCount"], found["State"]["ExitCode"]) == (2, 4)
    assert box.ok("logs", "failing").split() == ["try"] * 3


def test_a_restarting_container_can_be_stopped(box):
    box.ok(
        "run", "-d", "--name", "loop", "--restart", "always", "--network", "none", "busybox", "true"
    )
    await_true(lambda: inspect(box, "loop")["RestartCount"] >= 4, "four restarts")
    box.ok("stop", "loop")
    assert inspect(box, "loop")["State"]["Status"] == "exited"


def test_wait_answers_every_waiter(box):
    box.ok(
        "run", "-d", "--name", "waited", "--network", "none", "busybox", "sh", "-c",
        "trap 'exit 9' TERM; while :; do sleep 0.05; done",
    )  # fmt: skip
    waiters = [box.spawn("wait", "waited") for _ in range(3)]
    await_true(lambda: all(waiter.poll() is None for waiter in waiters), "the waiting")
    box.ok("stop", "waited")
    for waiter in waiters:
        out, _ = waiter.communicate(timeout=AWAIT_S)
        assert out in (b"9\n", b"137\n")


def test_the_engine_is_a_library(box, monkeypatch):
    import proa

    with proa.Engine(box.root, box.run_dir) as engine:
        result = engine.run(
            "busybox", ["sh", "-c", "cat; echo $GREETING >&2; exit 2"],
            env={"GREETING": "moin"}, stdin=b"x" * 300_000, network="none",
        )  # fmt: skip
        assert (result.exit_code, result.stderr) == (2, b"moin\n")
        assert result.stdout == b"x" * 300_000
        assert engine.containers.list(all=True) == []


def test_library_runs_from_many_threads(box):
    import proa

    with proa.Engine(box.root, box.run_dir) as engine:
        results = [b""] * 8

        def run(number):
            results[number] = engine.run("busybox", ["echo", str(number)], network="none").stdout

        threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert results == [b"%d\n" % number for number in range(8)]


def test_an_idle_zygote_leaves_and_takes_nothing_along(fresh_proa):
    ensure_busybox(fresh_proa)
    engines.end_processes(fresh_proa.run_dir)
    env = {"PROA_ZYGOTE_IDLE_S": "0.2"}
    fresh_proa.ok(
        "run", "-d", "--name", "web", "--network", "none", "busybox", "sleep", "600", env=env
    )
    (supervisor,) = engines.supervisors(fresh_proa)
    await_true(
        lambda: engines.processes(fresh_proa.run_dir) == [supervisor], "the zygote's leaving"
    )
    assert inspect(fresh_proa, "web")["State"]["Status"] == "running"


def test_a_command_in_no_zygote_mode_works(box):
    done = box("ps", "-a", env={"PROA_ZYGOTE": "0"})
    assert done.code == 0


def keeper_of(box, name):
    """Wait until the container's supervisor sleeps; return its pid."""
    pid = int(inspect(box, name)["State"]["Pid"])
    with open(f"/proc/{pid}/status", encoding="ascii") as stream:
        parent = int(next(line for line in stream if line.startswith("PPid:")).split()[1])

    def sleeps():
        with open(f"/proc/{parent}/comm", encoding="ascii") as stream:
            return stream.read().strip() == "proa-keeper"

    await_true(sleeps, "the sleep of an idle supervisor")
    return parent


def test_an_idle_supervisor_sleeps_in_a_few_pages(box):
    box.ok("run", "-d", "--name", "idle", "--network", "none", "busybox", "sleep", "600")
    keeper = keeper_of(box, "idle")
    with open(f"/proc/{keeper}/smaps_rollup", encoding="ascii") as stream:
        private = sum(int(line.split()[1]) for line in stream if line.startswith("Private_"))
    assert private <= 100, f"a keeper has {private} kB of its own"
    assert engines.supervisors(box) == [keeper]


def test_output_wakes_a_sleeping_supervisor_and_nothing_is_lost(box):
    script = "printf begun; read word; echo $word; read word; echo $word >&2; sleep 600"
    box.ok("create", "-i", "--name", "talk", "--network", "none", "busybox", "sh", "-c", script)
    box.ok("start", "talk")
    keeper = keeper_of(box, "talk")
    stdin = os.readlink(f"/proc/{host_pid(box, 'talk')}/fd/0")
    with open(f"/proc/{host_pid(box, 'talk')}/fd/0", "wb", buffering=0) as pipe:
        assert stdin.startswith("pipe:")
        pipe.write(b"first\n")
        await_true(lambda: box.ok("logs", "talk") == "begunfirst", "the first line")
        keeper_of(box, "talk")
        pipe.write(b"second\n")
        await_true(lambda: "second" in box("logs", "talk").stderr, "the second line")
    assert keeper_of(box, "talk") == keeper


def test_the_end_of_a_container_wakes_its_supervisor(box):
    script = "read word; exit 6"
    box.ok("create", "-i", "--name", "ends", "--network", "none", "busybox", "sh", "-c", script)
    box.ok("start", "ends")
    keeper = keeper_of(box, "ends")
    with open(f"/proc/{host_pid(box, 'ends')}/fd/0", "wb", buffering=0) as pipe:
        pipe.write(b"go\n")
    assert box.ok("wait", "ends") == "6"
    await_true(lambda: is_gone(keeper), "the end of the keeper")
    assert inspect(box, "ends")["State"]["ExitCode"] == 6


def test_a_sleeping_supervisor_answers_its_clients(box):
    box.ok(
        "run", "-d", "--name", "web", "--network", "none", "busybox", "sh", "-c",
        "trap 'exit 3' TERM; sleep 600 & wait",
    )  # fmt: skip
    keeper_of(box, "web")
    assert box.ok("exec", "web", "echo", "from within") == "from within"
    keeper_of(box, "web")
    box.ok("stop", "web")
    assert inspect(box, "web")["State"]["ExitCode"] == 3


def test_a_sleeping_supervisor_finds_a_new_zygote(box):
    box.ok("run", "-d", "--name", "web", "--network", "none", "busybox", "sleep", "600")
    keeper = keeper_of(box, "web")
    for pid in engines.processes(box.run_dir):
        if pid != keeper:
            os.kill(pid, signal.SIGKILL)
    init = host_pid(box, "web")
    for pid in engines.processes(box.run_dir):
        if pid != keeper:
            os.kill(pid, signal.SIGKILL)
    os.kill(init, signal.SIGKILL)
    await_true(lambda: is_gone(keeper), "the end of the container without anybody's help")
    assert inspect(box, "web")["State"]["ExitCode"] == 137


def test_the_death_of_a_keeper_is_told_like_that_of_a_supervisor(box):
    box.ok("run", "-d", "--name", "web", "--network", "none", "busybox", "sleep", "600")
    keeper = keeper_of(box, "web")
    init = host_pid(box, "web")
    os.kill(keeper, signal.SIGKILL)
    await_true(lambda: is_gone(init), "the end of the container with its keeper")
    assert inspect(box, "web")["State"]["Error"] == "the container's supervisor was killed"


def test_a_killed_worker_costs_a_sleeping_container_nothing(box):
    box.ok("run", "-d", "--name", "web", "--network", "none", "busybox", "sleep", "600")
    keeper = keeper_of(box, "web")
    with box.spawn("wait", "web") as waiter:
        await_true(lambda: len(engines.supervisors(box)) == 2, "a worker that acts for the keeper")
        (worker,) = set(engines.supervisors(box)) - {keeper}
        os.kill(worker, signal.SIGKILL)
        await_true(lambda: is_gone(worker), "the end of the worker")
        assert inspect(box, "web")["State"]["Status"] == "running"
        assert box.ok("exec", "web", "echo", "alive") == "alive"
        box.ok("kill", "web")
        assert waiter.communicate(timeout=AWAIT_S) == (b"137\n", b"")


def test_a_sleeping_container_is_restarted_under_a_new_parent(box):
    box.ok("run", "-d", "--name", "web", "--network", "none", "busybox", "sleep", "600")
    keeper = keeper_of(box, "web")
    first = host_pid(box, "web")
    box.ok("restart", "-t", "0", "web")
    await_true(lambda: is_gone(keeper), "the end of the first keeper")
    assert host_pid(box, "web") != first
    assert keeper_of(box, "web") != keeper
    assert box.ok("exec", "web", "echo", "again") == "again"
    box.ok("rm", "-f", "web")


def test_a_restart_policy_goes_on_after_a_sleep(box):
    box.ok(
        "run", "-d", "--name", "loop", "--restart", "on-failure:2", "--network", "none", "busybox",
        "sh", "-c", "sleep 1; exit 3",
    )  # fmt: skip
    keeper_of(box, "loop")
    assert box.ok("wait", "loop") == "3"
    assert inspect(box, "loop")["RestartCount"] == 2


def test_a_container_that_closed_its_output_does_not_keep_the_engine_busy(box):
    box.ok(
        "run", "-d", "--name", "quiet", "--network", "none", "busybox",
        "sh", "-c", "exec >&- 2>&-; sleep 600",
    )  # fmt: skip
    keeper_of(box, "quiet")
    workers = set(engines.processes(box.run_dir))
    time.sleep(1)  # what is tested is that nothing happens
    assert set(engines.processes(box.run_dir)) == workers
    box.ok("rm", "-f", "quiet")


def test_a_worker_that_was_taken_takes_no_notice_of_its_dismissal(box):
    """The zygote may dismiss a worker before it has read that a client took it."""
    box.ok("run", "-d", "--name", "web", "--network", "none", "busybox", "sleep", "100")
    supervisor = next(
        pid for pid in engines.processes(box.run_dir) if pid == parent_of(host_pid(box, "web"))
    )
    os.kill(supervisor, DISMISSAL)
    assert box.ok("exec", "web", "echo", "alive") == "alive"


def parent_of(pid):
    with open(f"/proc/{pid}/stat", "rb") as stream:
        return int(stream.read().rpartition(b")")[2].split()[1])
