"""The Python API: the examples of its page, and how it behaves where examples do not go."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import re
import threading
from collections.abc import Iterator
from multiprocessing import resource_tracker
from pathlib import Path

import pytest

import proa as package
from tests.support.engines import Proa
from tests.support.images import ensure_busybox

pytestmark = pytest.mark.requires("root", "userns", "overlay", "busybox")

PAGE = Path(__file__).parents[2] / "docs/reference/python-api.md"
SLEEP = package.ContainerConfig(
    image="busybox", command=("sleep", "600"), network_mode="none", stop_timeout_s=0
)


@pytest.fixture
def engine(proa: Proa) -> Iterator[package.Engine]:
    """An engine on a root that has the busybox image."""
    ensure_busybox(proa)
    with package.Engine(proa.root, proa.run_dir) as engine:
        yield engine


def test_the_examples_of_the_page(
    engine: package.Engine, proa: Proa, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROA_ROOT", proa.root)
    monkeypatch.setenv("PROA_RUN", proa.run_dir)
    examples = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(examples) > 8
    names: dict[str, object] = {}
    for number, example in enumerate(examples):
        exec(compile(example, f"example {number} of {PAGE.name}", "exec"), names)


class TestExecution:
    def test_megabytes_both_ways(self, engine: package.Engine) -> None:
        with engine.containers.launch(SLEEP) as container:
            data = b"x" * 3_000_000
            done = container.exec(["cat"], stdin=True).result(stdin=data)
            assert (done.exit_code, done.stdout) == (0, data)

    def test_an_early_end_of_the_reader_of_input(self, engine: package.Engine) -> None:
        with engine.containers.launch(SLEEP) as container:
            done = container.exec(["head", "-c", "3"], stdin=True).result(stdin=b"abc" * 1_000_000)
            assert done.stdout == b"abc"

    def test_a_terminal(self, engine: package.Engine) -> None:
        with engine.containers.launch(SLEEP) as container:
            done = container.exec(["sh", "-c", "tty; exit 2"], tty=True).result()
            assert done.exit_code == 2
            assert done.stdout.startswith(b"/dev/pts/")

    def test_leaving_early_lets_the_command_go(self, engine: package.Engine) -> None:
        with engine.containers.launch(SLEEP) as container:
            with container.exec(["yes"]) as execution:
                assert next(iter(execution)).data.startswith(b"y\n")
            assert execution.exit_code is None
            assert container.exec(["true"]).wait() == 0

    def test_no_input_unless_asked_for(self, engine: package.Engine) -> None:
        with engine.containers.launch(SLEEP) as container:
            execution = container.exec(["cat"])
            with pytest.raises(package.errors.Conflict):
                execution.write(b"x")
            assert execution.wait() == 0

    def test_refusals(self, engine: package.Engine) -> None:
        with (
            engine.containers.create(SLEEP) as container,
            pytest.raises(package.errors.Conflict, match="is not running"),
        ):
            container.exec(["true"])
        with pytest.raises(package.errors.NotFound):
            container.exec(["true"])


class TestFiles:
    def test_owner_and_mode(self, engine: package.Engine) -> None:
        with engine.containers.launch(SLEEP) as container:
            container.write_file("/tmp/x", b"1", mode=0o640, uid=3, gid=4)
            done = container.exec(["stat", "-c", "%u:%g:%a", "/tmp/x"]).result()
            assert done.stdout == b"3:4:640\n"

    def test_refusals(self, engine: package.Engine) -> None:
        with engine.containers.create(SLEEP) as container:
            with pytest.raises(package.errors.NotFound):
                container.read_file("/nx")
            with pytest.raises(package.errors.Invalid, match="not a regular file"):
                container.read_file("/etc")
            container.write_file("/big", b"x" * 100)
            with pytest.raises(package.errors.Invalid, match="100 bytes"):
                container.read_file("/big", limit_bytes=99)
            with pytest.raises(package.errors.NotFound):
                container.write_file("/no/such/directory", b"")


def test_a_context_manager_forgives_one_that_is_gone(engine: package.Engine) -> None:
    with engine.containers.create(SLEEP) as container:
        container.remove()
    with pytest.raises(package.errors.NotFound):
        container.reload()


def test_from_threads(engine: package.Engine) -> None:
    with engine.containers.launch(SLEEP) as container:
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            codes = list(
                pool.map(lambda n: container.exec(["sh", "-c", f"exit {n}"]).wait(), range(16))
            )
        assert codes == list(range(16))


def _run_elsewhere(root: str, run_dir: str, number: int) -> bytes:
    with package.Engine(root, run_dir) as engine:
        return engine.run("busybox", ["echo", str(number)], network="none").stdout


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_from_a_process_pool(engine: package.Engine, proa: Proa, method: str) -> None:
    engine.containers.list()  # what is open must survive a fork
    context = multiprocessing.get_context(method)
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
        futures = [pool.submit(_run_elsewhere, proa.root, proa.run_dir, n) for n in range(4)]
        assert [future.result(30) for future in futures] == [b"%d\n" % n for n in range(4)]
    if method == "spawn":
        resource_tracker._resource_tracker._stop()  # type: ignore[attr-defined]  # as at the exit


def test_following_logs_ends_with_the_container(engine: package.Engine) -> None:
    config = package.ContainerConfig(
        image="busybox", command=("sh", "-c", "echo a; sleep 0.2; echo b"), network_mode="none"
    )
    with engine.containers.launch(config) as container:
        assert [line.data for line in container.logs(follow=True)] == [b"a\n", b"b\n"]


def test_waiting_in_a_thread(engine: package.Engine) -> None:
    with engine.containers.launch(SLEEP) as container:
        codes: list[int] = []
        waiter = threading.Thread(target=lambda: codes.append(container.wait()))
        waiter.start()
        container.kill()
        waiter.join(10)
        assert codes == [137]
