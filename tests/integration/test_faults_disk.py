"""A full disk under the engine's root, as a user of a shell meets it: named, and nothing is lost.

The disk is a file with ext4 in it, mounted through a loop device.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.support import engines, remains
from tests.support.engines import Proa
from tests.support.images import ensure_busybox
from tests.support.layers import LayerBuilder, docker_archive
from tests.support.registry import running_registry

pytestmark = pytest.mark.requires("root", "userns", "overlay", "loop", "busybox", "mkfs.ext4")

DISK_BYTES = 48 << 20
INODES = 2000
AWAIT_S = 20.0
FULL = "no space left on device"
WHAT_HELPS = "free disk space or inodes"
RUN = ("run", "--rm", "--network", "none")


def unmount(place: str) -> bool:
    return subprocess.run(["umount", place], capture_output=True, check=False).returncode == 0


@pytest.fixture
def disk() -> Iterator[Proa]:
    """An engine with the busybox image, whose root fills a small disk."""
    with tempfile.TemporaryDirectory(prefix="proa-d-", dir="/var/tmp") as base:
        image, mounted = f"{base}/image", f"{base}/m"
        os.mkdir(mounted)
        with open(image, "wb") as file:
            file.truncate(DISK_BYTES)
        subprocess.run(["mkfs.ext4", "-q", "-N", str(INODES), image], check=True)
        subprocess.run(["mount", "-o", "loop", image, mounted], check=True)
        proa = Proa(f"{mounted}/root", f"{base}/run")
        try:
            ensure_busybox(proa)
            yield proa
            proa.remove_all()
            assert remains.settled(lambda: remains.contradictions(proa)) == []
        finally:
            engines.end_processes(proa.run_dir)
            await_true(lambda: unmount(mounted), "the last killed process closing its files")


def fill(proa: Proa) -> list[str]:
    """Leave no free block, neither for users nor for root; return what to remove."""
    paths = []
    for size in (1 << 20, 4096, 1):
        paths.append(f"{os.path.dirname(proa.root)}/ballast-{size}")
        descriptor = os.open(paths[-1], os.O_WRONLY | os.O_CREAT)
        try:
            while True:
                os.write(descriptor, bytes(size))
        except OSError:
            os.close(descriptor)
    return paths


def use_up_inodes(proa: Proa) -> list[str]:
    paths: list[str] = []
    try:
        while True:
            path = f"{os.path.dirname(proa.root)}/inode-{len(paths)}"
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT))
            paths.append(path)
    except OSError:
        return paths


def use_up_berths(proa: Proa) -> None:
    """Give the directories that were made ahead to containers."""
    for _ in range(20):
        if proa("create", "--network", "none", "busybox").code:
            return
    raise AssertionError("containers can be made without end on a full disk")


def free(paths: list[str]) -> None:
    for path in paths:
        os.unlink(path)


def refused(proa: Proa, code: int, *words: str) -> None:
    """Check that a command names the disk and says what helps, and that it leaves nothing."""
    before = remains.holdings(proa)
    done = proa(*words)
    assert (done.code, done.stdout) == (code, ""), done
    sentence = done.stderr.splitlines()[-1]
    for word in (os.path.dirname(proa.root), FULL, WHAT_HELPS):
        assert word in sentence, sentence
    assert "Traceback" not in done.stderr
    assert remains.settled(lambda: sorted(remains.holdings(proa) ^ before)) == []


def state(proa: Proa, name: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(proa.ok("inspect", name))[0]["State"]
    return found


def has_ended(pid: object) -> bool:
    """A zombie has: whoever shall reap it may be waiting for room on the disk."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] == b"Z"
    except FileNotFoundError:
        return True


def sleeps(pid: object) -> bool:
    """Whether a container's parent is a keeper."""
    with open(f"/proc/{pid}/status") as file:
        parent = next(line.split()[1] for line in file if line.startswith("PPid:"))
    with open(f"/proc/{parent}/comm") as file:
        return file.read().strip() == "proa-keeper"


def end_zygote(proa: Proa) -> None:
    """Nobody has the database open after this but who is asked next."""
    for pid in engines.processes(proa.run_dir):
        if os.getsid(pid) == pid:
            os.kill(pid, signal.SIGTERM)
    await_true(
        lambda: all(is_keeper(pid) for pid in engines.processes(proa.run_dir)), "the zygote's end"
    )


def is_keeper(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/comm") as file:
            return file.read().strip() == "proa-keeper"
    except OSError:
        return True


def await_true(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + AWAIT_S
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen within {AWAIT_S} s"
        time.sleep(0.02)  # other processes' deeds


def too_big() -> bytes:
    return LayerBuilder().file("big", os.urandom(1 << 20) * 50).tar()


def test_an_archive_that_does_not_fit(disk: Proa, tmp_path: Path) -> None:
    layer = too_big()
    (tmp_path / "layer.tar").write_bytes(layer)
    (tmp_path / "image.tar").write_bytes(docker_archive([layer], names=["big:1"]))
    for words in (("load", "-q", "-i", "image.tar"), ("import", "layer.tar", "big:1")):
        before = remains.holdings(disk)
        done = disk(*words, cwd=str(tmp_path))
        assert (done.code, done.stdout) == (1, "")
        assert FULL in done.stderr
        assert WHAT_HELPS in done.stderr
        assert remains.holdings(disk) == before
    assert "big" not in disk.ok("images")
    assert disk(*RUN, "busybox", "echo", "runs") == (0, "runs\n", "")


@pytest.mark.requires("docker-registry", "skopeo")
def test_a_pull_that_does_not_fit(disk: Proa, tmp_path: Path) -> None:
    small = LayerBuilder().file("small", os.urandom(1 << 20)).tar()
    with running_registry(str(tmp_path)) as registry:
        for name, layer in (("big:1", too_big()), ("small:1", small)):
            (tmp_path / "image.tar").write_bytes(docker_archive([layer], names=[name]))
            source = f"docker-archive:{tmp_path}/image.tar"
            copy = ("skopeo", "copy", "-q", "--dest-tls-verify=false", source)
            subprocess.run((*copy, f"docker://{registry.host}/{name}"), check=True)
        before = remains.holdings(disk)
        done = disk("pull", "-q", f"{registry.host}/big:1")
        assert (done.code, done.stdout) == (1, "")
        assert FULL in done.stderr
        assert WHAT_HELPS in done.stderr
        assert remains.holdings(disk) == before
        disk.ok("pull", f"{registry.host}/small:1")
    assert "big" not in disk.ok("images")
    assert disk(*RUN, "busybox", "echo", "runs") == (0, "runs\n", "")


@pytest.mark.parametrize("use_up", [fill, use_up_inodes])
def test_nothing_can_be_made(
    disk: Proa, tmp_path: Path, use_up: Callable[[Proa], list[str]]
) -> None:
    image = docker_archive([LayerBuilder().file("file", b"x" * 9000).tar()], names=["small:1"])
    (tmp_path / "small.tar").write_bytes(image)
    disk.ok("create", "--name", "made", "--network", "none", "busybox", "echo", "kept")
    disk.ok("run", "-d", "--name", "runs", "--network", "none", "busybox", "sleep", "600")
    ballast = use_up(disk)
    use_up_berths(disk)
    refused(disk, 125, *RUN, "busybox", "true")
    refused(disk, 125, "run", "-d", "--network", "none", "busybox", "sleep", "600")
    refused(disk, 1, "create", "busybox")
    refused(disk, 1, "load", "-q", "-i", str(tmp_path / "small.tar"))
    assert "busybox" in disk.ok("images")
    assert disk.ok("exec", "runs", "echo", "lives") == "lives"
    free(ballast)
    assert disk.ok("start", "-a", "made") == "kept"
    assert disk(*RUN, "busybox", "echo", "again") == (0, "again\n", "")
    disk.ok("load", "-q", "-i", str(tmp_path / "small.tar"))


@pytest.mark.parametrize("warm", [True, False], ids=["warm", "cold"])
@pytest.mark.parametrize("use_up", [fill, use_up_inodes])
def test_what_gives_room_back_works(
    disk: Proa, use_up: Callable[[Proa], list[str]], warm: bool
) -> None:
    for name in ("runs", "ends", "forced"):
        disk.ok("run", "-d", "--name", name, "--network", "none", "busybox", "sleep", "600")
    disk.ok("create", "--name", "made", "--network", "none", "-v", "data:/data", "busybox")
    disk.ok("tag", "busybox", "other:1")
    if not warm:
        for name in ("runs", "ends", "forced"):
            pid = state(disk, name)["Pid"]
            await_true(partial(sleeps, pid), "the sleep of all")
        end_zygote(disk)
    ballast = use_up(disk)
    assert disk.ok("stop", "-t", "0", "runs") == "runs"
    assert state(disk, "runs")["ExitCode"] == 137
    assert disk.ok("kill", "ends") == "ends"
    assert disk.ok("wait", "ends") == "137"
    for name in ("runs", "ends", "made"):
        assert disk.ok("rm", name) == name
    assert disk.ok("rm", "-f", "forced") == "forced"
    assert disk.ok("volume", "rm", "data") == "data"
    assert "Untagged: other:1" in disk.ok("rmi", "other:1")
    assert disk.ok("container", "prune", "-f").startswith("Total reclaimed space")
    assert "Untagged: busybox" in disk.ok("rmi", "busybox")
    assert disk.containers() == []
    free(ballast)


def test_a_container_that_fills_the_disk_lives_and_gives_it_back(disk: Proa) -> None:
    script = "dd if=/dev/zero of=/big bs=64k; dd if=/dev/zero of=/rest bs=1; echo full; sleep 600"
    disk.ok("run", "-d", "--name", "fills", "--network", "none", "busybox", "sh", "-c", script)
    await_true(lambda: "full" in disk.ok("logs", "fills").splitlines(), "the full disk")
    refused(disk, 125, *RUN, "busybox", "true")
    assert state(disk, "fills")["Status"] == "running"
    assert disk.ok("exec", "fills", "echo", "lives") == "lives"
    disk.ok("rm", "-f", "fills")
    assert disk(*RUN, "busybox", "echo", "again") == (0, "again\n", "")


def test_ends_on_a_full_disk_are_told_when_there_is_room(disk: Proa) -> None:
    script = "read word; exit 7"
    for name in ("ends", "goes"):
        options = ("--rm",) if name == "goes" else ()
        disk.ok(
            "create", "-i", "--name", name, *options, "--network", "none", "busybox",
            "sh", "-c", script,
        )  # fmt: skip
        disk.ok("start", name)
    pids = [state(disk, name)["Pid"] for name in ("ends", "goes")]
    await_true(lambda: all(sleeps(pid) for pid in pids), "the sleep of the supervisors")
    ballast = fill(disk)
    for pid in pids:
        with open(f"/proc/{pid}/fd/0", "wb", buffering=0) as pipe:
            pipe.write(b"go\n")
    await_true(lambda: all(has_ended(pid) for pid in pids), "the ends")
    looked = disk("ps", "-a")
    assert looked.code == 0 or FULL in looked.stderr
    free(ballast)
    await_true(lambda: state(disk, "ends")["Status"] == "exited", "the truth about the end")
    assert state(disk, "ends")["ExitCode"] == 7
    await_true(lambda: len(disk.containers()) == 1, "the removal")


def test_an_exit_code_is_not_lost_on_a_full_disk(disk: Proa) -> None:
    words = ("run", "-i", "--name", "near", "--network", "none", "busybox")
    with disk.spawn(*words, "sh", "-c", "echo up; read word; exit 7") as client:
        assert client.stdout is not None
        assert client.stdout.readline() == b"up\n"
        ballast = fill(disk)
        assert client.communicate(b"go\n", timeout=AWAIT_S)[0] == b""
        assert client.returncode == 7
    assert state(disk, "near")["ExitCode"] == 7
    free(ballast)


def test_a_log_on_a_full_disk_tells_of_its_gap(disk: Proa) -> None:
    script = (
        "echo before; read word; for i in $(seq 99999); do echo lost; done; touch /dev/shm/said"
    )
    script += "; read word; echo end"
    disk.ok(
        "create", "-i", "--name", "talks", "--network", "none", "busybox",
        "sh", "-c", f"{script}; sleep 600",
    )  # fmt: skip
    disk.ok("start", "talks")
    await_true(lambda: disk.ok("logs", "talks") == "before", "the first line")
    stdin = f"/proc/{state(disk, 'talks')['Pid']}/fd/0"
    with open(stdin, "wb", buffering=0) as pipe:
        ballast = fill(disk)
        pipe.write(b"go\n")
        said = ("exec", "talks", "test", "-e", "/dev/shm/said")
        await_true(lambda: disk(*said).code == 0, "the silence")
        free(ballast)
        pipe.write(b"go\n")
        await_true(lambda: disk.ok("logs", "talks").endswith("end"), "the last line")
    done = disk("logs", "talks")
    assert done.stdout.startswith("before\n")
    assert f"bytes were not logged: {FULL}" in done.stdout + done.stderr
