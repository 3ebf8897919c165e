"""SIGKILL of the command, its worker or the zygote at many moments of every verb.

Moments are drawn over the time that the verb takes, from a seed that the failing test prints.
After the next command nothing may be left by halves, and no container that should live is lost.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable

import pytest

from tests.support import engines, remains
from tests.support.engines import Proa
from tests.support.images import busybox_archive, ensure_busybox

pytestmark = pytest.mark.requires("root", "userns", "overlay", "busybox")

MOMENTS = int(os.environ.get("PROA_TEST_KILLS", "4"))
SEED = os.environ.get("PROA_TEST_SEED", "proa")
SLEEP = ("--network", "none", "busybox", "sleep", "600")


@pytest.fixture
def box(fresh_proa: Proa) -> Proa:
    """An engine with an image and a container that has to live through everything."""
    ensure_busybox(fresh_proa)
    fresh_proa.ok("run", "-d", "--name", "anchor", *SLEEP)
    return fresh_proa


def pid_of(box: Proa, name: str) -> int:
    return int(json.loads(box.ok("inspect", name))[0]["State"]["Pid"])


def workers(box: Proa, spared: set[int]) -> list[int]:
    """The engine's processes but the zygotes and those that were there before."""
    pids = [pid for pid in engines.processes(box.run_dir) if pid not in spared]
    return [pid for pid in pids if not _leads(pid)]


def zygotes(box: Proa) -> list[int]:
    return [pid for pid in engines.processes(box.run_dir) if _leads(pid)]


def _leads(pid: int) -> bool:
    try:
        return os.getsid(pid) == pid
    except ProcessLookupError:
        return False


def kill(pids: list[int]) -> None:
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def victims(box: Proa, who: str, client: subprocess.Popen[bytes], spared: set[int]) -> list[int]:
    """Whom to kill; the anchor's own process is the anchor's life and always spared."""
    client_pid = [client.pid] if client.poll() is None else []
    return {
        "client": lambda: client_pid,
        "worker": lambda: workers(box, spared),
        "zygote": lambda: zygotes(box),
        "all": lambda: client_pid + zygotes(box) + workers(box, spared),
    }[who]()


Prepare = Callable[[Proa], tuple[str, ...]]


def _existing(*words: str) -> Prepare:
    def prepare(box: Proa) -> tuple[str, ...]:
        box.ok("create", "--name", "web", *SLEEP)
        return words

    return prepare


def _running(*words: str) -> Prepare:
    def prepare(box: Proa) -> tuple[str, ...]:
        box.ok("run", "-d", "--name", "web", *SLEEP)
        return words

    return prepare


VERBS: dict[str, Prepare] = {
    "run": lambda box: ("run", "--rm", "--network", "none", "busybox", "true"),
    "run -d": lambda box: ("run", "-d", "--name", "web", *SLEEP),
    "create": lambda box: ("create", "--name", "web", *SLEEP),
    "start": _existing("start", "web"),
    "stop": _running("stop", "-t", "0", "web"),
    "rm": _existing("rm", "web"),
    "rm -f": _running("rm", "-f", "web"),
}


@pytest.mark.parametrize("verb", VERBS)
def test_verbs(box: Proa, verb: str) -> None:
    anchor = pid_of(box, "anchor")
    with open(f"/proc/{anchor}/status") as file:
        keeper = next(int(line.split()[1]) for line in file if line.startswith("PPid:"))
    chance = random.Random(f"{SEED} {verb}")
    words = VERBS[verb](box)
    began = time.monotonic()
    box.ok(*words)
    span_s = time.monotonic() - began
    box("rm", "-f", "web")
    for who in ("client", "worker", "zygote", "all"):
        for _ in range(MOMENTS if who in ("worker", "all") else MOMENTS // 2):
            words = VERBS[verb](box)
            moment_s = chance.uniform(0, 1.3) * span_s
            with box.spawn(*words) as client:
                time.sleep(moment_s)  # the moment is what is tested
                kill(victims(box, who, client, {keeper}))
                out, _ = client.communicate(timeout=30)
            what = f"{verb}: {who} killed after {moment_s * 1000:.1f} ms (seed {SEED})"
            check(box, what, acknowledged=client.returncode == 0, verb=verb, who=who, out=out)
            assert pid_of(box, "anchor") == anchor, f"{what}: the anchor is lost"
            box("rm", "-f", "web")
    left = remains.settled(lambda: remains.contradictions(box))
    assert not left, "\n".join(left)
    assert len(box.containers()) == 1


def check(box: Proa, what: str, *, acknowledged: bool, verb: str, who: str, out: bytes) -> None:
    """What was answered holds; what was not is there whole or not at all."""
    left = remains.settled(lambda: remains.contradictions(box))
    assert not left, f"{what}:\n" + "\n".join(left)
    found = box("inspect", "web")
    status = json.loads(found.stdout)[0]["State"]["Status"] if found.code == 0 else "gone"
    if acknowledged:
        lost = who in ("worker", "all")  # the supervisor was among them
        expected = {
            "run": {"gone"},
            "run -d": {"running", "exited"} if lost else {"running"},
            "create": {"created"},
            "start": {"running", "exited"} if lost else {"running"},
            "stop": {"exited"},
            "rm": {"gone"},
            "rm -f": {"gone"},
        }[verb]
        assert status in expected, f"{what}: acknowledged ({out!r}), and the container is {status}"


def test_load(fresh_proa: Proa) -> None:
    box = fresh_proa
    archive = busybox_archive()
    began = time.monotonic()
    box.ok("load", "-q", "-i", archive)
    span_s = time.monotonic() - began
    box.ok("rmi", "busybox")
    before = remains.holdings(box)
    chance = random.Random(f"{SEED} load")
    for _ in range(2 * MOMENTS):
        moment_s = chance.uniform(0, 1.2) * span_s
        with box.spawn("load", "-q", "-i", archive) as client:
            time.sleep(moment_s)  # the moment is what is tested
            kill(victims(box, "worker", client, set()))
            client.communicate(timeout=30)
        box.ok("load", "-q", "-i", archive)
        assert box("run", "--rm", "--network", "none", "busybox", "echo", "ok").stdout == "ok\n"
        box.ok("rmi", "busybox")
        left = remains.settled(lambda: sorted(remains.holdings(box) ^ before))
        assert not left, f"load killed after {moment_s * 1000:.1f} ms:\n" + "\n".join(left)
