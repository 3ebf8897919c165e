"""Proa as the benchmarks' subject: engines of their own, by library and by command line."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support import engines

from benchmarks.measure import Command, MeasurementError
from benchmarks.peers import PROBE
from proa.engine.config import ContainerConfig
from proa.engine.facade import Engine
from proa.errors import ProaError

IMAGE = "busybox"


class Subject:
    """One engine on a root of its own that holds the busybox image.

    Attributes:
        name: row of the tables.
        engine: the library's view on it.
        proa: the command line on the same root.
    """

    def __init__(self, name: str, proa: engines.Proa, archive: str) -> None:
        self.name = name
        self.proa = proa
        proa.ok("import", archive, IMAGE)
        self.engine = Engine(proa.root, proa.run_dir)

    def verify(self) -> None:
        """Check that output and exit code come through, both ways.

        Raises:
            MeasurementError: they do not.
        """
        result = self.engine.run(IMAGE, PROBE, network="none")
        if (result.exit_code, result.stdout) != (7, b"42\n"):
            raise MeasurementError(f"{self.name}: Engine.run() gave {result}")
        done = self.proa("run", "--rm", "--network", "none", IMAGE, *PROBE)
        if (done.code, done.stdout) != (7, "42\n"):
            raise MeasurementError(f"{self.name}: proa run gave {done}")

    def run_once(self) -> None:
        """Run ``true`` by library, request to exit status.

        Raises:
            MeasurementError: the exit code or the output is wrong.
        """
        try:
            result = self.engine.run(IMAGE, ("true",), network="none")
        except ProaError as error:
            raise MeasurementError(str(error)) from error
        if result.exit_code or result.stdout or result.stderr:
            raise MeasurementError(f"Engine.run() gave {result}")

    def command(self, *words: str) -> Command:
        """Return ``proa <words>`` as a whole cold process."""
        return Command([*engines.launcher(), *words], self.proa.environment())

    def cold_run(self) -> Command:
        """Return the cold command that the promises are about."""
        return self.command("run", "--rm", "--network", "none", IMAGE, "true")

    def detached_run(self) -> Command:
        """Return the cold command that starts an idle container."""
        return self.command("run", "-d", "--network", "none", IMAGE, "sleep", "100000")

    def start_idle(self) -> None:
        """Start an idle container by library."""
        config = ContainerConfig(image=IMAGE, command=("sleep", "100000"), network_mode="none")
        self.engine.containers.run(config, detach=True)

    def at_once(self, total: int, width: int, what: str = "run_once") -> float:
        """Do ``what`` ``total`` times from ``width`` threads; return its rate a second."""
        left = iter(range(total))
        errors: list[BaseException] = []
        lock = threading.Lock()

        def work() -> None:
            while not errors:
                with lock:
                    if next(left, None) is None:
                        return
                try:
                    getattr(self, what)()
                except BaseException as error:
                    errors.append(error)

        threads = [threading.Thread(target=work) for _ in range(width)]
        begin = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        spent_s = time.perf_counter() - begin
        if errors:
            raise MeasurementError(str(errors[0])) from errors[0]
        return total / spent_s

    def remove_all(self) -> None:
        """Remove every container.

        Raises:
            MeasurementError: one is still there.
        """
        self.proa.remove_all()
        if left := self.proa.containers():
            raise MeasurementError(f"{len(left)} containers are left")

    def processes(self) -> list[int]:
        """Return the pids of all of Proa's processes on this engine."""
        return engines.processes(self.proa.run_dir)

    def supervisors(self) -> list[int]:
        """Return the pids of the supervisors among them."""
        return engines.supervisors(self.proa)


@contextmanager
def subject(archive: str, executor: str = "auto") -> Iterator[Subject]:
    """Give an engine whose supervisors launch with ``executor`` (``auto``, ``portable``)."""
    with engines.temporary_root() as proa:
        if executor != "auto":
            # No user has a reason to choose one, so the engine has no switch for it.
            engines.start_zygote(
                proa,
                "from proa.runtime.process import ProcessIsolation\n"
                f"ProcessIsolation.__init__.__kwdefaults__['executor'] = {executor!r}",
            )
        made = Subject(f"proa, {executor}", proa, archive)
        try:
            made.verify()
            yield made
        finally:
            made.remove_all()
            engines.await_teardown(proa)
            made.engine.close()


def bare_python() -> Command:
    """Return the fastest Python process there is: what a cold command cannot beat."""
    with open(engines.launcher()[0]) as file:
        interpreter = file.readline().removeprefix("#!").split()[0]
    return Command([interpreter or sys.executable, "-I", "-S", "-c", "pass"])
