"""proa.engine.logs: the json-file writer."""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proa.engine.logs import json_file
from proa.engine.logs.driver import LogWriter, Stream
from proa.engine.logs.json_file import ENTRY_BYTES, JsonFileWriter
from proa.engine.logs.options import JsonFileOptions
from proa.units import format_rfc3339_ns
from tests.support.records import NOW_NS

NOW = format_rfc3339_ns(NOW_NS)


def entries(path: Path) -> list[dict[str, Any]]:
    data = path.read_bytes()
    assert not data or data.endswith(b"\n"), "a torn line"
    return [json.loads(line) for line in data.splitlines()]


def logged(path: Path, stream: str = "stdout") -> str:
    return "".join(entry["log"] for entry in entries(path) if entry["stream"] == stream)


def test_lines_are_dockers(tmp_path: Path) -> None:
    writer: LogWriter = JsonFileWriter(str(tmp_path / "log"))
    writer.write("stdout", b'Hello\n"quoted" \\n \ttab\n', NOW_NS)
    writer.write("stderr", b"oops\n", NOW_NS + 1)
    writer.close()
    assert (tmp_path / "log").read_bytes().splitlines() == [
        b'{"log":"Hello\\n","stream":"stdout","time":"%s"}' % NOW.encode(),
        b'{"log":"\\"quoted\\" \\\\n \\ttab\\n","stream":"stdout","time":"%s"}' % NOW.encode(),
        b'{"log":"oops\\n","stream":"stderr","time":"%s"}' % format_rfc3339_ns(NOW_NS + 1).encode(),
    ]
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o640


def test_an_incomplete_line_waits_for_its_end(tmp_path: Path) -> None:
    path = tmp_path / "log"
    writer = JsonFileWriter(str(path))
    writer.write("stdout", b"one ", NOW_NS)
    writer.write("stderr", b"other\n", NOW_NS)
    assert logged(path) == ""
    writer.write("stdout", b"two\nthree", NOW_NS)
    assert logged(path) == "one two\n"
    writer.flush(NOW_NS)
    assert logged(path) == "one two\nthree"
    assert [entry["log"] for entry in entries(path)] == ["other\n", "one two\n", "three"]
    writer.flush(NOW_NS)
    assert len(entries(path)) == 3
    writer.close()
    writer.close()


def test_a_long_line_is_cut_like_dockers(tmp_path: Path) -> None:
    path = tmp_path / "log"
    writer = JsonFileWriter(str(path))
    writer.write("stdout", b"first\n" + b"x" * (2 * ENTRY_BYTES + 5) + b"\nlast\n", NOW_NS)
    writer.close()
    sizes = [len(entry["log"]) for entry in entries(path)]
    assert sizes == [6, ENTRY_BYTES, ENTRY_BYTES, 6, 5]
    assert logged(path).count("\n") == 3


def test_a_line_without_end_does_not_fill_memory(tmp_path: Path) -> None:
    path = tmp_path / "log"
    writer = JsonFileWriter(str(path))
    for _ in range(100):
        writer.write("stdout", b"y" * 1000, NOW_NS)
    assert len(logged(path)) >= 100 * 1000 - ENTRY_BYTES
    writer.flush(NOW_NS)
    assert len(logged(path)) == 100 * 1000


@pytest.mark.parametrize("character", ["é", "€", "😀"])
@pytest.mark.parametrize("shift", range(4))
def test_a_cut_never_divides_a_character(tmp_path: Path, character: str, shift: int) -> None:
    path = tmp_path / "log"
    text = "a" * shift + character * ENTRY_BYTES + "\n"
    writer = JsonFileWriter(str(path))
    writer.write("stdout", text.encode(), NOW_NS)
    writer.close()
    assert logged(path) == text


def test_bytes_that_are_not_utf8_are_replaced(tmp_path: Path) -> None:
    path = tmp_path / "log"
    writer = JsonFileWriter(str(path))
    writer.write("stdout", b"a\xff\xfeb\xc3\n" + b"\x80" * ENTRY_BYTES + b"\n", NOW_NS)
    writer.close()
    assert logged(path).splitlines()[0] == "a\ufffd\ufffdb\ufffd"
    assert set(logged(path).splitlines()[1]) == {"\ufffd"}


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["stdout", "stderr"]),
            st.one_of(
                st.binary(max_size=200),
                st.text(max_size=100).map(lambda text: text.encode("utf-8", "surrogatepass")),
                st.lists(st.sampled_from([b"\x7f", b"\n", b"\r", b"\0", b'"', b"\\n", b"a"])).map(
                    b"".join
                ),
            ),
        ),
        max_size=20,
    )
)
@settings(max_examples=200, deadline=None)
def test_whatever_is_written_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, writes: list[tuple[Stream, bytes]]
) -> None:
    path = tmp_path_factory.mktemp("logs") / "log"
    writer = JsonFileWriter(str(path))
    writer.open()
    for stream, data in writes:
        writer.write(stream, data, NOW_NS)
    writer.flush(NOW_NS)
    writer.close()
    for stream in ("stdout", "stderr"):
        written = b"".join(data for name, data in writes if name == stream)
        lines = [entry["log"] for entry in entries(path) if entry["stream"] == stream]
        expected = [line.decode("utf-8", "replace") for line in written.split(b"\n")]
        assert lines == [line + "\n" for line in expected[:-1]] + [expected[-1]] * bool(
            expected[-1]
        )
    assert all(entry["time"] == NOW for entry in entries(path))


def test_attributes_are_in_each_entry(tmp_path: Path) -> None:
    path = tmp_path / "log"
    writer = JsonFileWriter(str(path), attributes={"tier": 'fr"ont'})
    writer.write("stdout", b"a\nb\n", NOW_NS)
    writer.close()
    assert [entry["attrs"] for entry in entries(path)] == [{"tier": 'fr"ont'}] * 2


def test_appending_goes_on_after_reopening(tmp_path: Path) -> None:
    path = tmp_path / "log"
    for text in (b"one\n", b"two\n"):
        writer = JsonFileWriter(str(path))
        writer.write("stdout", text, NOW_NS)
        writer.close()
    assert logged(path) == "one\ntwo\n"


def test_half_an_entry_left_by_a_crash_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "log"
    whole = b'{"log":"one\\n","stream":"stdout","time":"%s"}\n' % NOW.encode()
    path.write_bytes(whole + b'{"log":"' + b"x" * 100_000)
    writer = JsonFileWriter(str(path))
    writer.write("stdout", b"two\n", NOW_NS)
    writer.close()
    assert logged(path) == "one\ntwo\n"


# -- rotation --------------------------------------------------------------------------------


def fill(writer: JsonFileWriter, lines: int, size: int = 100) -> None:
    for number in range(lines):
        writer.write("stdout", f"{number:0{size - 1}d}\n".encode(), NOW_NS + number)


def test_files_rotate_at_their_size_and_the_oldest_falls_off(tmp_path: Path) -> None:
    path = tmp_path / "log"
    writer = JsonFileWriter(str(path), JsonFileOptions(max_size_bytes=1000, max_files=3))
    fill(writer, 40)
    writer.close()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["log", "log.1", "log.2"]
    numbers = [
        int(entry["log"])
        for name in ("log.2", "log.1", "log")
        for entry in entries(tmp_path / name)
    ]
    assert numbers == list(range(numbers[0], 40))
    assert all(1000 <= (tmp_path / name).stat().st_size < 1200 for name in ("log.2", "log.1"))


def test_a_single_file_starts_anew(tmp_path: Path) -> None:
    path = tmp_path / "log"
    writer = JsonFileWriter(str(path), JsonFileOptions(max_size_bytes=1000))
    fill(writer, 40)
    writer.close()
    assert [file.name for file in tmp_path.iterdir()] == ["log"]
    assert path.stat().st_size < 1200
    assert int(entries(path)[-1]["log"]) == 39


def test_rotated_files_are_compressed(tmp_path: Path) -> None:
    import gzip

    path = tmp_path / "log"
    options = JsonFileOptions(max_size_bytes=1000, max_files=3, compress=True)
    writer = JsonFileWriter(str(path), options)
    fill(writer, 40)
    writer.close()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["log", "log.1.gz", "log.2.gz"]
    lines = gzip.decompress((tmp_path / "log.1.gz").read_bytes()).splitlines()
    assert int(json.loads(lines[-1])["log"]) + 1 == int(entries(path)[0]["log"])


def test_a_big_chunk_does_not_overrun_the_size_by_more_than_an_entry(tmp_path: Path) -> None:
    path = tmp_path / "log"
    writer = JsonFileWriter(str(path), JsonFileOptions(max_size_bytes=50_000, max_files=2))
    writer.write("stdout", (b"z" * 999 + b"\n") * 1000, NOW_NS)
    writer.close()
    assert (tmp_path / "log.1").stat().st_size < 50_000 + 2 * ENTRY_BYTES


def test_when_no_new_file_can_be_made_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "log"

    def refuse(*args: object, **kwargs: object) -> int:
        raise OSError(errno.ENOSPC, "full")

    writer = JsonFileWriter(str(path), JsonFileOptions(max_size_bytes=1000, max_files=2))
    with monkeypatch.context() as patch:
        patch.setattr(json_file, "rotate", refuse)
        fill(writer, 40)
    assert [file.name for file in tmp_path.iterdir()] == ["log"]
    assert len(entries(path)) == 40
    fill(writer, 1)
    assert len(entries(tmp_path / "log.1")) == 40
    writer.close()


# -- a full disk -----------------------------------------------------------------------------


def failing_write(
    monkeypatch: pytest.MonkeyPatch, room: Callable[[], int], error: int = errno.ENOSPC
) -> None:
    real = os.write

    def write(descriptor: int, data: bytes) -> int:
        left = room()
        if left == 0:
            raise OSError(error, os.strerror(error))
        return real(descriptor, data[:left])

    monkeypatch.setattr(os, "write", write)


@pytest.mark.parametrize("left", [0, 5, 70])
def test_a_full_disk_drops_whole_entries_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: int
) -> None:
    path = tmp_path / "log"
    writer = JsonFileWriter(str(path))
    writer.write("stdout", b"before\n", NOW_NS)
    room = [left]

    def take() -> int:
        # What fits once is taken; then nothing more does.
        return room.pop() if room else 0

    with monkeypatch.context() as patch:
        failing_write(patch, take)
        writer.write("stdout", b"lost line, longer than what is left " * 3 + b"\n", NOW_NS)
        assert writer.error == "no space left on device"
        lost = writer.dropped_bytes
        writer.write("stdout", b"lost too\n", NOW_NS)
    assert lost == 36 * 3 + 1
    assert writer.dropped_bytes == lost + 9
    assert logged(path) == "before\n"
    writer.write("stdout", b"after\n", NOW_NS)
    writer.close()
    assert writer.error == ""
    assert logged(path) == "before\nafter\n"
    gap = f"proa: {lost + 9} bytes were not logged: no space left on device\n"
    assert [entry["log"] for entry in entries(path)] == ["before\n", gap, "after\n"]


def test_a_short_write_is_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log"
    writer = JsonFileWriter(str(path))
    rooms = [10, 10_000]
    failing_write(monkeypatch, lambda: rooms.pop(0))
    writer.write("stdout", b"whole\n", NOW_NS)
    assert logged(path) == "whole\n"
    assert writer.dropped_bytes == 0


def test_writing_keeps_up_with_a_pipe(tmp_path: Path) -> None:
    # The promise is 300 MB/s on an idle machine; a tenth holds on a loaded one and still shows
    # when somebody makes it run once a line.
    writer = JsonFileWriter(str(tmp_path / "log"), JsonFileOptions(max_size_bytes=8 << 20))
    chunk = (b"x" * 79 + b"\n") * 819
    began = time.process_time()
    for _ in range(200):
        writer.write("stdout", chunk, NOW_NS)
    seconds = time.process_time() - began
    writer.close()
    assert len(chunk) * 200 / seconds > 30e6


def test_a_log_is_made_when_it_is_needed(tmp_path: Path) -> None:
    path = tmp_path / "log"
    writer = JsonFileWriter(str(path), JsonFileOptions(max_size_bytes=10, max_files=2))
    writer.flush(NOW_NS)
    assert not path.exists()
    writer.write("stdout", b"line\n", NOW_NS)
    writer.close()
    again = JsonFileWriter(str(path), JsonFileOptions(max_size_bytes=10, max_files=2))
    again.write("stdout", b"next\n", NOW_NS)
    again.close()
    assert logged(path) == "next\n", "the size of what was there counts"
    again = JsonFileWriter(str(path))
    again.open()
    again.open()
    again.close()
    assert logged(path) == "next\n"
