"""A full disk under the database and under a log."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from proa.engine.config import ContainerConfig
from proa.engine.logs.json_file import JsonFileWriter
from proa.engine.logs.reader import JsonFileReader
from proa.engine.state import State
from proa.errors import Exhausted
from tests.support.records import NOW_NS, container, event

pytestmark = pytest.mark.requires("root")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    directory = tmp_path / "small"
    directory.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", directory], check=True)
    yield directory
    subprocess.run(["umount", directory], check=True)


def fill_up(directory: Path) -> Path:
    path = directory / "ballast"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    try:
        while True:
            os.write(descriptor, bytes(4096))
    except OSError:
        os.close(descriptor)
    return path


@pytest.mark.parametrize("durable", [True, False])
def test_a_full_disk_stores_nothing_by_halves(small_disk: Path, durable: bool) -> None:
    state = State(str(small_disk))
    first = state.containers.insert(container("first"), [event()])
    ballast = fill_up(small_disk)
    big = ContainerConfig(image="debian", labels={"x": "y" * 20_000})

    def insert_many() -> None:
        for _ in range(100):
            state.containers.insert(container(config=big), [event()], durable=durable)

    with pytest.raises(Exhausted, match=r"cannot write .*proa.db: no space left on device"):
        insert_many()
    stored = len(state.containers.list())
    assert stored == len(state.events.list()) < 100
    assert state.containers.get("first") == first
    ballast.unlink()
    state.containers.insert(container("second"), [event()], durable=durable)
    state.check()
    assert len(state.containers.list()) == len(state.events.list()) == stored + 1
    state.close()


def test_a_database_that_cannot_be_made_says_why(small_disk: Path) -> None:
    ballast = fill_up(small_disk)
    state = State(str(small_disk))
    with pytest.raises(Exhausted, match=r"cannot write .*proa.db: no space left on device"):
        state.containers.insert(container("web"))
    ballast.unlink()
    state.containers.insert(container("web"))
    state.close()


def test_a_log_on_a_full_disk_keeps_whole_lines_and_tells_of_the_gap(small_disk: Path) -> None:
    path = small_disk / "log"
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(1_000_000))
    writer = JsonFileWriter(str(path))
    for number in range(40):
        writer.write("stdout", (f"{number:0999d}\n" * 60).encode(), NOW_NS)
    assert writer.error == "no space left on device"
    assert path.read_bytes().endswith(b"\n")
    ballast.unlink()
    writer.write("stdout", b"after\n", NOW_NS)
    assert writer.error == ""
    writer.close()
    *lines, gap, after = JsonFileReader(str(path)).read()
    assert all(len(entry.log) == 1000 for entry in lines)
    assert (
        gap.log == f"proa: {writer.dropped_bytes} bytes were not logged: no space left on device\n"
    )
    assert after.log == "after\n"
    assert len(lines) * 1000 + writer.dropped_bytes == 40 * 60 * 1000
