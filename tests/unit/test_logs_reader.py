"""proa.engine.logs: reading, tailing and following."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path
from threading import Event, Thread

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proa.engine.logs import rotation
from proa.engine.logs.driver import LogEntry, Stream
from proa.engine.logs.json_file import JsonFileWriter
from proa.engine.logs.options import JsonFileOptions
from proa.engine.logs.reader import JsonFileReader, LogSelection
from tests.support.records import NOW_NS

ROTATING = JsonFileOptions(max_size_bytes=1000, max_files=4)
COMPRESSING = JsonFileOptions(max_size_bytes=1000, max_files=4, compress=True)


def write(path: Path, lines: Iterable[object], options: JsonFileOptions | None = None) -> None:
    writer = JsonFileWriter(str(path), options)
    for number, line in enumerate(lines):
        stream: Stream = "stderr" if number % 2 else "stdout"
        writer.write(stream, f"{line}\n".encode(), NOW_NS + number)
    writer.close()


def texts(entries: Iterable[LogEntry]) -> list[str]:
    return [entry.log.rstrip("\n") for entry in entries]


def numbers(entries: Iterable[LogEntry]) -> list[int]:
    return [int(entry.log) for entry in entries]


def test_a_log_that_does_not_exist_is_empty(tmp_path: Path) -> None:
    reader = JsonFileReader(str(tmp_path / "log"))
    assert list(reader.read()) == []
    assert list(reader.read(LogSelection(tail=5))) == []


def test_streams_can_be_told_apart(tmp_path: Path) -> None:
    write(tmp_path / "log", range(6))
    reader = JsonFileReader(str(tmp_path / "log"))
    assert numbers(reader.read()) == [0, 1, 2, 3, 4, 5]
    assert numbers(reader.read(LogSelection(stderr=False))) == [0, 2, 4]
    assert numbers(reader.read(LogSelection(stdout=False))) == [1, 3, 5]


def test_time_bounds_are_inclusive(tmp_path: Path) -> None:
    write(tmp_path / "log", range(10))
    reader = JsonFileReader(str(tmp_path / "log"))
    assert numbers(reader.read(LogSelection(since_ns=NOW_NS + 7))) == [7, 8, 9]
    assert numbers(reader.read(LogSelection(until_ns=NOW_NS + 2))) == [0, 1, 2]
    both = LogSelection(since_ns=NOW_NS + 3, until_ns=NOW_NS + 4, stdout=False)
    assert numbers(reader.read(both)) == [3]


@pytest.mark.parametrize("options", [None, ROTATING, COMPRESSING], ids=["one", "many", "gz"])
@pytest.mark.parametrize("tail", [0, 1, 2, 9, 10, 11, 12, 25, 39, 40, 41, 1000])
def test_tail_across_files(tmp_path: Path, options: JsonFileOptions | None, tail: int) -> None:
    write(tmp_path / "log", [f"{number:099d}" for number in range(40)], options)
    reader = JsonFileReader(str(tmp_path / "log"))
    everything = numbers(reader.read())
    assert everything == list(range(everything[0], 40))
    assert (
        numbers(reader.read(LogSelection(tail=tail)))
        == everything[max(len(everything) - tail, 0) :]
    )


def test_tail_of_a_big_file_reads_little(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log"
    writer = JsonFileWriter(str(path))
    writer.write("stdout", b"".join(b"%099d\n" % number for number in range(50_000)), NOW_NS)
    writer.close()
    read = 0
    real = os.pread

    def pread(descriptor: int, size: int, offset: int) -> bytes:
        nonlocal read
        read += size
        return real(descriptor, size, offset)

    monkeypatch.setattr(os, "pread", pread)
    tail = numbers(JsonFileReader(str(path)).read(LogSelection(tail=5)))
    assert tail == list(range(49_995, 50_000))
    assert 0 < read < path.stat().st_size / 10


@given(st.lists(st.integers(0, 300_000), max_size=6), st.integers(0, 8))
@settings(max_examples=30, deadline=None)
def test_tail_counts_entries_of_any_size(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], tail: int
) -> None:
    path = tmp_path_factory.mktemp("logs") / "log"
    write(path, ["x" * size for size in sizes])
    reader = JsonFileReader(str(path))
    everything = list(reader.read())
    assert (
        list(reader.read(LogSelection(tail=tail)))
        == everything[len(everything) - tail if tail < len(everything) else 0 :]
    )


def test_half_an_entry_is_not_read_until_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "log"
    write(path, ["a", "b"])
    data = path.read_bytes()
    path.write_bytes(data[:-10])
    assert texts(JsonFileReader(str(path)).read()) == ["a"]
    assert texts(JsonFileReader(str(path)).read(LogSelection(tail=1))) == ["a"]


def test_damaged_lines_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "log"
    write(path, ["a", "b"])
    first, second = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + b"\0\xff garbage\n[]\n\n" + second)
    assert texts(JsonFileReader(str(path)).read()) == ["a", "b"]


def test_entries_of_docker_are_read(tmp_path: Path) -> None:
    # Docker drops trailing zeros of the fraction and may add fields.
    (tmp_path / "log").write_bytes(
        b'{"log":"hi\\u003c\\n","stream":"stdout","time":"2026-11-05T10:30:00.5Z","x":1}\n'
    )
    (entry,) = JsonFileReader(str(tmp_path / "log")).read()
    assert entry.log == "hi<\n"
    assert entry.time_ns == 1793874600_500_000_000


def test_old_rotated_files_need_not_be_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "log"
    write(path, [f"{number:099d}" for number in range(20)], ROTATING)
    for name in ("log.1", "log.2"):
        if (tmp_path / name).exists():
            os.utime(tmp_path / name, ns=(0, 0))
    os.chmod(tmp_path / "log.1", 0)
    entries = numbers(JsonFileReader(str(path)).read(LogSelection(since_ns=NOW_NS)))
    assert entries == list(range(entries[0], 20))
    assert entries[0] > 0


# -- following -------------------------------------------------------------------------------


def follow_all(path: Path, ended: Event, selection: LogSelection | None = None) -> list[str]:
    reader = JsonFileReader(str(path))
    return texts(reader.follow(selection, is_running=lambda: not ended.is_set()))


def test_following_a_container_that_has_ended_reads_all_and_ends(tmp_path: Path) -> None:
    write(tmp_path / "log", range(5))
    ended = Event()
    ended.set()
    assert follow_all(tmp_path / "log", ended) == ["0", "1", "2", "3", "4"]
    assert follow_all(tmp_path / "log", ended, LogSelection(tail=2)) == ["3", "4"]


def test_following_sees_lines_at_once(tmp_path: Path) -> None:
    path = tmp_path / "log"
    writer = JsonFileWriter(str(path))
    writer.write("stdout", b"old\n", NOW_NS)
    stream = JsonFileReader(str(path)).follow(is_running=lambda: True)
    assert next(stream).log == "old\n"
    writer.write("stdout", b"new\n", NOW_NS)
    began = time.monotonic()
    assert next(stream).log == "new\n"
    assert time.monotonic() - began < 0.4
    stream.close()
    writer.close()


@pytest.mark.parametrize("options", [ROTATING, COMPRESSING], ids=["plain", "gz"])
@pytest.mark.parametrize("size", [10, 99, 700])
def test_following_survives_rotation(tmp_path: Path, options: JsonFileOptions, size: int) -> None:
    path = tmp_path / "log"
    ended = Event()
    writer = JsonFileWriter(str(path), options)
    stream = JsonFileReader(str(path)).follow(is_running=lambda: not ended.is_set())
    seen = []
    for number in range(0, 60, 3):
        # Three entries at most between two looks: never more than the files that are kept.
        for offset in range(3):
            writer.write("stdout", f"{number + offset:0{size}d}\n".encode(), NOW_NS)
        seen += [int(next(stream).log) for _ in range(3)]
    ended.set()
    writer.close()
    assert list(stream) == []
    assert seen == list(range(60))
    assert len(rotation.list_files(str(path))) > 1 or size == 10


def test_following_beside_a_rotating_writer_is_in_order_and_never_double(tmp_path: Path) -> None:
    path = tmp_path / "log"
    options = JsonFileOptions(max_size_bytes=20_000, max_files=50)
    writer = JsonFileWriter(str(path), options)
    ended = Event()

    def work() -> None:
        for number in range(5000):
            writer.write("stdout", f"{number:099d}\n".encode(), NOW_NS)
        writer.close()
        ended.set()

    thread = Thread(target=work)
    thread.start()
    seen = [int(text) for text in follow_all(path, ended)]
    thread.join()
    assert seen == list(range(5000))


def test_a_follower_that_fell_behind_goes_on_with_what_is_left(tmp_path: Path) -> None:
    path = tmp_path / "log"
    ended = Event()
    writer = JsonFileWriter(str(path), JsonFileOptions(max_size_bytes=1000, max_files=2))
    writer.write("stdout", b"%099d\n" % 0, NOW_NS)
    stream = JsonFileReader(str(path)).follow(is_running=lambda: not ended.is_set())
    assert int(next(stream).log) == 0
    for number in range(1, 60):
        writer.write("stdout", b"%099d\n" % number, NOW_NS)
    writer.close()
    ended.set()
    rest = numbers(stream)
    assert rest[-1] == 59
    assert rest == sorted(set(rest))


def test_following_ends_when_the_stop_descriptor_does(tmp_path: Path) -> None:
    path = tmp_path / "log"
    write(path, ["a"])
    reading, writing = os.pipe()
    stream = JsonFileReader(str(path)).follow(is_running=lambda: True, stop_fd=reading)
    assert next(stream).log == "a\n"
    late = JsonFileWriter(str(path))
    late.write("stdout", b"last words\n", NOW_NS)
    late.close()
    os.close(writing)
    assert texts(stream) == ["last words"]
    os.close(reading)


def test_following_ends_at_its_time(tmp_path: Path) -> None:
    path = tmp_path / "log"
    write(path, range(4))
    stream = JsonFileReader(str(path)).follow(
        LogSelection(until_ns=NOW_NS + 1), is_running=lambda: True
    )
    assert numbers(stream) == [0, 1]
    passed = LogSelection(until_ns=time.time_ns(), tail=0)
    assert list(JsonFileReader(str(path)).follow(passed, is_running=lambda: True)) == []


def test_a_log_may_appear_after_following_began(tmp_path: Path) -> None:
    path = tmp_path / "log"
    first = Event()

    def running() -> bool:
        if not first.is_set():
            first.set()
            write(path, ["late"])
            return True
        return False

    assert texts(JsonFileReader(str(path)).follow(is_running=running)) == ["late"]


def test_all_files_of_a_log_can_be_removed(tmp_path: Path) -> None:
    write(tmp_path / "log", [f"{number:099d}" for number in range(40)], COMPRESSING)
    (tmp_path / "logbook").write_text("mine")
    rotation.remove(str(tmp_path / "log"))
    rotation.remove(str(tmp_path / "log"))
    assert [file.name for file in tmp_path.iterdir()] == ["logbook"]
