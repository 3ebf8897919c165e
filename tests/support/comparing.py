"""Targets, workloads and reports for tests of ``proa compare``: nothing is started."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from proa.compare.model import ERROR, Fact, Machine, Report, Row, Series
from proa.compare.targets.base import CompareError, Completed, Target, Timed
from proa.compare.workloads.base import Sample

START = Row(
    key="start.whole", title="Start, whole", definition="Start to end.", unit="ms",
    phases=("to first output", "to exit"),
)  # fmt: skip
MEMORY = Row(key="memory.available", title="Memory", definition="A slope.", unit="MB")
CALL = Row(key="cpu.syscall", title="System call", definition="dd.", unit="us")
HASH = Row(
    key="cpu.hash", title="SHA-256", definition="sum.", unit="MB/s", lower_is_better=False
)  # fmt: skip


class FakeTarget:
    """Remembers what it was asked.

    Attributes:
        log: names of targets in the order in which their turns came, shared by all of a test.
        reason: why it is absent.
    """

    startup_s = 0.1
    image_mb = 2.0

    def __init__(self, name: str, log: list[str], *, memory_mb: int = 1, reason: str = "") -> None:
        self.name = name
        self.title = f"target {name}"
        self.memory_mb = memory_mb
        self.log = log
        self.reason = reason
        self.opened: list[str] = []
        self.closed = 0

    def absent(self) -> str:
        """As the test said."""
        return self.reason

    def open(self, archive: str, image: str = "") -> None:
        """The archive is there at that time."""
        assert not image
        assert os.path.exists(archive)
        self.opened.append(archive)

    def close(self) -> None:
        """Count it."""
        self.closed += 1

    def run(self, argv: Sequence[str]) -> Completed:
        """Nothing runs."""
        raise NotImplementedError(argv)

    def time_run(self, argv: Sequence[str]) -> Timed:
        """Nothing runs."""
        raise NotImplementedError(argv)

    def storage(self) -> str:
        """Nowhere."""
        return ""

    def start(self, options: Sequence[str] = (), argv: Sequence[str] = (), image: str = "") -> str:
        """Nothing runs."""
        raise NotImplementedError(options, argv, image)

    def exec(self, handle: str, argv: Sequence[str]) -> Completed:
        """Nothing runs."""
        raise NotImplementedError(handle, argv)

    def stop(self, handle: str) -> None:
        """Nothing runs."""
        raise NotImplementedError(handle)

    def remove(self, handle: str) -> None:
        """Nothing runs."""
        raise NotImplementedError(handle)

    def processes(self, handle: str) -> list[int]:
        """Nothing runs."""
        raise NotImplementedError(handle)


class FakeWorkload:
    """Gives the next number for each turn.

    Attributes:
        failing: names of targets on which it always fails.
        interrupt_at: the turn that the user interrupts, counted from 1.
    """

    def __init__(self, name: str, times: int = 3, instances: int = 1) -> None:
        self.name = name
        self.rows: tuple[Row, ...] = (
            Row(key=f"{name}.one", title=name, definition="A number.", unit="ms"),
            Row(key=f"{name}.two", title=name, definition="Its double.", unit="ms"),
        )
        self.times = times
        self.count = instances
        self.turns = 0
        self.failing: set[str] = set()
        self.interrupt_at = 0

    def repeats(self, *, quick: bool) -> int:
        """As the test said."""
        return self.times if not quick else 1

    def seconds(self, target: Target) -> float:
        """A minute, whatever it runs on."""
        return 60.0 if target.startup_s else 0.0

    def instances(self, target: Target) -> int:
        """As the test said."""
        return self.count if target.startup_s else 0

    def measure(self, target: Target) -> list[Sample]:
        """Count, fail or be interrupted."""
        self.turns += 1
        if self.turns == self.interrupt_at:
            raise KeyboardInterrupt
        assert isinstance(target, FakeTarget)
        target.log.append(f"{self.name}:{target.name}")
        if target.name in self.failing:
            raise CompareError("it broke")
        return [
            Sample(self.rows[0].key, float(self.turns), {"phase": 0.5}),
            Sample(self.rows[1].key, 2.0 * self.turns),
        ]


class FakeEngine:
    """The engine as far as a comparison needs it."""

    def __init__(self, root: str) -> None:
        self.roots = (root, root)
        self.images = SimpleNamespace(
            import_=self._import, save=self._save, remove=lambda _reference: None
        )

    def _import(self, path: str, reference: str) -> Any:
        with open(path, "rb") as stream:
            digest = hashlib.sha256(stream.read() + reference.encode()).hexdigest()
        return SimpleNamespace(id=f"sha256:{digest}")

    def _save(self, references: Sequence[str], path: str) -> None:
        with open(path, "w") as stream:
            stream.write(" ".join(references))


def sample_report(**changes: Any) -> Report:
    """A small report of three targets: host, process, vm."""
    targets = {"host": "bare host", "process": "process isolation", "vm": "vm isolation"}
    starts = {"host": [2.0, 3.0, 4.0], "process": [12.0, 13.0, 14.0], "vm": [900.0, 1300.0, 1700.0]}
    memory = {"host": (0.2, 0.01), "process": (0.5, 0.1), "vm": (100.0, 2.0)}
    call = {"host": 0.5, "process": 0.6, "vm": 5.0}
    speed = {"host": 200.0, "process": 198.0, "vm": 20.0}
    series = []
    for name in targets:
        series += [
            Series(
                row="start.whole", target=name, samples=starts[name],
                parts={
                    "to first output": [value * 0.75 for value in starts[name]],
                    "to exit": [value * 0.25 for value in starts[name]],
                },
            ),
            Series(
                row="memory.available", target=name, samples=[memory[name][0]],
                parts={ERROR: [memory[name][1]]},
            ),
            Series(row="cpu.syscall", target=name, samples=[call[name]]),
            Series(row="cpu.hash", target=name, samples=[speed[name]]),
        ]  # fmt: skip
    given: dict[str, Any] = {
        "started_at": "2026-11-24T12:00:00Z",
        "complete": True,
        "machine": Machine(kernel="6.18", processor="CPU", processors=2, memory_mb=1000),
        "targets": targets,
        "rows": [START, MEMORY, CALL, HASH],
        "series": series,
        "facts": [
            Fact(key="isolation.kernel", title="Kernel", target="vm", value="own, 6.1"),
            Fact(key="isolation.seccomp", title="Filter", target="process", value="filter"),
        ],
    }
    return Report(**{**given, **changes})
