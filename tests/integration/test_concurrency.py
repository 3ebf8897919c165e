"""Many hands on few names: only success, not found or conflict, and nothing is left over."""

from __future__ import annotations

import multiprocessing
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import proa as package
from proa.runtime import recover
from tests.support.engines import Proa
from tests.support.images import ensure_busybox

pytestmark = pytest.mark.requires("root", "userns", "overlay", "busybox")

SECONDS = float(os.environ.get("PROA_HAMMER_S", "4"))
"""How long the hammering lasts; the catalogue's ten minutes are for a machine of its own."""

NAMES = [f"hammered-{number}" for number in range(20)]
ALLOWED = (package.errors.NotFound, package.errors.Conflict)
SLEEP = package.ContainerConfig(
    image="busybox", command=("sleep", "600"), network_mode="none", stop_timeout_s=0
)


@pytest.fixture(scope="module", autouse=True)
def _opened_once(session_proa: Proa) -> None:
    """Let recovery open the parents of the cgroups, which it keeps, before leaks are counted."""
    recover.remove_remains("f" * 64, "/proa/" + "f" * 64)


@pytest.fixture
def engine(proa: Proa) -> Iterator[package.Engine]:
    """An engine on a root that has the busybox image."""
    ensure_busybox(proa)
    with package.Engine(proa.root, proa.run_dir) as engine:
        yield engine
        for container in engine.containers.list(all=True):
            container.remove(force=True)


def _verbs(engine: package.Engine) -> list[Callable[[str], Any]]:
    containers = engine.containers
    return [
        lambda name: containers.create(SLEEP, name=name),
        lambda name: containers.launch(SLEEP, name=name),
        containers.start,
        containers.stop,
        containers.kill,
        lambda name: containers.restart(name, timeout_s=0),
        containers.pause,
        containers.unpause,
        lambda name: containers.remove(name, force=True),
        containers.inspect,
        containers.diff,
        containers.stats,
        lambda name: containers.get(name).exec(["true"]).wait(),
        lambda name: containers.get(name).write_file("/x", b"x"),
        lambda name: containers.rename(name, random.choice(NAMES)),
        lambda _: containers.list(all=True),
    ]


def _hammer(engine: package.Engine, seed: int, until: float) -> list[str]:
    """Do random things to random names; return what must not have happened."""
    choose = random.Random(seed)
    verbs = _verbs(engine)
    wrong = []
    while time.monotonic() < until:
        verb = choose.choice(verbs)
        try:
            verb(choose.choice(NAMES))
        except ALLOWED:
            continue
        except package.errors.Invalid as error:
            if "same name" not in error.message:
                wrong.append(f"{type(error).__name__}: {error}")
        except Exception as error:
            wrong.append(f"{type(error).__name__}: {error}")
    return wrong


def test_threads(engine: package.Engine) -> None:
    wrong: list[str] = []
    until = time.monotonic() + SECONDS
    threads = [
        threading.Thread(target=lambda seed=seed: wrong.extend(_hammer(engine, seed, until)))
        for seed in range(32)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong, f"{len(wrong)} wrong answers, e.g. {sorted(set(wrong))[:5]}"


def _hammer_elsewhere(root: str, run_dir: str, seed: int, answers: Any) -> None:
    with package.Engine(root, run_dir) as engine:
        answers.put(_hammer(engine, seed, time.monotonic() + SECONDS))


def test_processes(engine: package.Engine, proa: Proa) -> None:
    context = multiprocessing.get_context("fork")
    answers: Any = context.SimpleQueue()
    workers = [
        context.Process(target=_hammer_elsewhere, args=(proa.root, proa.run_dir, seed, answers))
        for seed in range(8)
    ]
    for worker in workers:
        worker.start()
    wrong = [message for _ in workers for message in answers.get()]
    for worker in workers:
        worker.join()
        worker.close()
    answers.close()
    assert not wrong, f"{len(wrong)} wrong answers, e.g. {sorted(set(wrong))[:5]}"


def test_lifecycles_and_execs_leave_nothing(engine: package.Engine) -> None:
    """The leak check of every privileged test looks at the host; this looks at the process too."""
    counts = []
    for _ in range(2):
        for _ in range(10):
            engine.run("busybox", ["true"], network="none")
        with engine.containers.launch(SLEEP) as container:
            for _ in range(50):
                assert container.exec(["true"]).wait() == 0
        counts.append(len(os.listdir("/proc/self/fd")))
    assert counts[1] == counts[0]
