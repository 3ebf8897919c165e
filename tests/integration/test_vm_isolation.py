"""Containers in virtual machines on the command line: what works with processes works here.

One guest takes seconds where it is emulated, so a few of them serve many questions.
"""

from __future__ import annotations

import json
import os
import re
import signal
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import engines, guests
from tests.support.engines import Proa
from tests.support.terminal import Terminal

pytestmark = [pytest.mark.requires(*guests.REQUIRES), pytest.mark.timeout(300)]

TOLD_S = 2.0


@pytest.fixture(scope="module")
def engine() -> Iterator[Proa]:
    with engines.temporary_root() as proa:
        guests.prepare(proa)
        yield proa
        proa.remove_all()


@pytest.fixture(scope="module")
def web(engine: Proa, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A guest on a network with a volume, a read-only bind and a published port."""
    shared = tmp_path_factory.mktemp("shared")
    (shared / "index.html").write_text("from a guest\n")
    engine.ok("network", "create", "net")
    guests.run_vm(
        engine, "--name", "web", "-v", "data:/data", "-v", f"{shared}:/www:ro",
        "-p", "127.0.0.1::80", "--memory", "100m", "--pids-limit", "50", guests.BUSYBOX,
        "httpd", "-f", "-p", "80", "-h", "/www",
        network="net",
    )  # fmt: skip
    yield "web"
    engine.ok("rm", "-f", "-v", "web")
    engine.ok("network", "rm", "net")


def test_streams_and_exit_code_of_a_foreground_run(engine: Proa) -> None:
    done = engine(
        "run", "--rm", "-i", "--isolation", "vm", "--network", "none", guests.BUSYBOX,
        "sh", "-c", "cat; uname -r >&2; exit 7",
        stdin=b"typed\n",
    )  # fmt: skip
    assert (done.code, done.stdout) == (7, "typed\n")
    release = done.stderr.splitlines()[-1]
    assert release != os.uname().release, "the kernel is the guest's own"
    assert engine.containers() == []


def test_a_command_that_is_not_there_is_127(engine: Proa) -> None:
    done = engine(
        "run", "--rm", "--isolation", "vm", "--network", "none", guests.BUSYBOX, "missing"
    )
    assert done.code == 127
    assert "missing" in done.stderr


def test_it_is_reached_by_name_and_by_port(engine: Proa, web: str) -> None:
    asked = ("wget", "-q", "-O-", "http://web/")
    found = engine.ok("run", "--rm", "--network", "net", guests.BUSYBOX, *asked)
    assert found == "from a guest"
    port = engine.ok("port", web, "80").rpartition(":")[2]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as answer:
        assert answer.read() == b"from a guest\n"


def test_it_reaches_others_by_name(engine: Proa, web: str) -> None:
    engine.ok("run", "-d", "--name", "peer", "--network", "net", guests.BUSYBOX, "sleep", "100")
    try:
        assert "1 packets received" in engine.ok("exec", web, "ping", "-c", "1", "peer")
    finally:
        engine.ok("rm", "-f", "peer")


def test_read_only_is_the_hosts_word_and_volumes_are_shared(engine: Proa, web: str) -> None:
    done = engine("exec", web, "sh", "-c", "mount -o remount,rw /www; touch /www/x")
    assert done.code != 0
    assert "Read-only" in done.stderr
    engine.ok("exec", web, "sh", "-c", "echo kept > /data/file; chown 5:6 /data/file")
    script = "cat /data/file; stat -c %u:%g /data/file"
    flags = ("run", "--rm", "--network", "none", "-v", "data:/data")
    assert engine.ok(*flags, guests.BUSYBOX, "sh", "-c", script) == "kept\n5:6"


def test_limits_and_counters_are_those_of_the_guests_kernel(engine: Proa, web: str) -> None:
    files = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/pids.max")
    assert engine.ok("exec", web, "cat", *files) == f"{100 << 20}\n50"
    engine.ok("update", "--memory", "90m", web)
    assert engine.ok("exec", web, "cat", files[0]) == str(90 << 20)
    refused = engine("update", "--memory", "4g", web)
    assert refused.code != 0
    assert "stop the container" in refused.stderr
    assert "httpd -f" in engine.ok("top", web)
    row = json.loads(engine.ok("stats", "--no-stream", "--format", "{{json .}}", web))
    assert row["PIDs"] == "1"
    assert row["NetIO"] != "0B / 0B"


def test_a_pause_stops_it_and_its_agent_still_answers(engine: Proa, web: str) -> None:
    engine.ok("pause", web)
    try:
        assert "Paused" in engine.ok("ps", "--filter", f"name={web}")
        assert engine("exec", web, "true").code != 0
        engine.ok("stats", "--no-stream", web)
    finally:
        engine.ok("unpause", web)
    engine.ok("exec", web, "true")


def test_a_terminal_follows_the_users_size(engine: Proa, web: str) -> None:
    words = [*engines.launcher(), "exec", "-it", web, "sh"]
    with Terminal(words, env=engine.environment(), rows=31, columns=91) as terminal:
        terminal.type("stty size; tty\n")
        terminal.expect("31 91")
        terminal.expect("/dev/pts/")
        terminal.resize(32, 92)
        terminal.type("sleep 1; stty size; exit 4\n")
        terminal.expect("32 92")
        assert terminal.wait() == 4


def test_files_go_in_and_out_and_changes_are_kept(engine: Proa, tmp_path: Path) -> None:
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir/file").write_text("content")
    name = "files"
    guests.run_vm(engine, "--name", name, "-v", "/data", guests.BUSYBOX, "sleep", "1000")
    engine.ok("cp", f"{tmp_path}/dir", f"{name}:/tmp/dir")
    engine.ok("exec", name, "sh", "-c", "mv /tmp/dir /moved; rm /etc/passwd; echo v > /data/v")
    engine.ok("cp", f"{name}:/data/v", f"{tmp_path}/v")
    assert (tmp_path / "v").read_text() == "v\n"
    changes = engine.ok("diff", name).splitlines()
    assert {"A /moved/file", "D /etc/passwd"} <= set(changes)
    engine.ok("commit", name, "changed")
    script = "cat /moved/file; ls /etc/passwd"
    done = engine("run", "--rm", "--network", "none", "changed", "sh", "-c", script)
    assert done.stdout == "content"
    assert "No such file" in done.stderr
    engine.ok("stop", "-t", "0", name)
    engine.ok("cp", f"{tmp_path}/v", f"{name}:/stopped")
    assert "A /stopped" in engine.ok("diff", name).splitlines()
    engine.ok("start", name)
    assert engine.ok("exec", name, "cat", "/stopped", "/moved/file") == "v\ncontent"
    engine.ok("rm", "-f", "-v", name)


def test_the_end_of_qemu_is_told_at_once(engine: Proa) -> None:
    identity = guests.run_vm(engine, guests.BUSYBOX, "sleep", "1000")
    pid = int(engine.ok("inspect", "--format", "{{.State.Pid}}", identity))
    with engine.spawn("wait", identity) as waiting:
        time.sleep(0.2)  # the command has to have asked; nothing shows that from outside
        os.kill(pid, signal.SIGKILL)
        start_s = time.monotonic()
        assert waiting.stdout is not None
        assert waiting.stdout.read() == b"137\n"
        assert time.monotonic() - start_s < TOLD_S
    engine.ok("rm", "-f", identity)


def test_a_guest_that_hangs_is_told_and_can_be_killed(engine: Proa) -> None:
    identity = guests.run_vm(engine, guests.BUSYBOX, "sleep", "1000")
    pid = int(engine.ok("inspect", "--format", "{{.State.Pid}}", identity))
    os.kill(pid, signal.SIGSTOP)
    start_s = time.monotonic()
    done = engine("exec", identity, "true")
    assert done.code != 0
    # Two seconds; more only where the whole host is so slow that starting the guest took long.
    patience = re.search(r"takes more than ([0-9.e+]+) s to answer", done.stderr)
    assert patience is not None
    assert time.monotonic() - start_s < float(patience[1]) + 1
    engine.ok("kill", identity)
    assert engine.ok("wait", identity) == "137"
    engine.ok("rm", identity)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--network", "host"), "network"),
        (("--network", "none", "--pid", "host"), "pid"),
        (("--network", "none", "-v", "/dev/null:/x"), "/dev/null"),
    ],
)
def test_what_a_guest_cannot_have_is_refused(
    engine: Proa, words: tuple[str, ...], named: str
) -> None:
    before = engine.containers()
    done = engine("run", "--rm", "--isolation", "vm", *words, guests.BUSYBOX, "true")
    assert done.code == 125
    assert named in done.stderr
    assert engine.containers() == before


def test_the_same_from_python(engine: Proa) -> None:
    import proa
    from proa.engine.config import ContainerConfig

    with proa.Engine(engine.root, engine.run_dir) as library:
        told = library.run(guests.BUSYBOX, ["uname", "-r"], network="none", isolation="vm")
        assert told.exit_code == 0
        assert told.stdout.decode().strip() != os.uname().release
        config = ContainerConfig(
            image=guests.BUSYBOX, command=("sleep", "1000"), isolation="vm", network_mode="none"
        )
        container = library.containers.create(config)
        try:
            container.start()
            done = container.exec(["sh", "-c", "echo out; echo err >&2; exit 3"]).result()
            assert (done.exit_code, done.stdout, done.stderr) == (3, b"out\n", b"err\n")
        finally:
            container.remove(force=True)
