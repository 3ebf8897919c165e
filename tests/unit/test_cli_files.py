"""cp, diff, export and commit: words in, calls out."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from proa.engine.containers.archive.changes import Change
from proa.errors import NotFound
from tests.support.cli import CapturedIO, proa


class TestCp:
    @pytest.mark.parametrize(
        ("words", "name", "args"),
        [
            (["web:/etc/hosts", "."], "copy_from", ("web", "/etc/hosts", "/home/user/.")),
            (["web:etc/", "/x/"], "copy_from", ("web", "etc/", "/x/")),
            (["file", "web:/srv/"], "copy_to", ("web", "/home/user/file", "/srv/")),
            (["./a:b", "web:/srv"], "copy_to", ("web", "/home/user/./a:b", "/srv")),
            (["dir/.", "web:"], "copy_to", ("web", "/home/user/dir/.", "/")),
        ],
    )
    def test_directions(self, words: list[str], name: str, args: tuple[str, ...]) -> None:
        ended = proa("cp", *words)
        assert (ended.code, ended.stderr) == (0, "")
        assert (ended.call.name, ended.call.args) == (f"containers.{name}", args)
        assert ended.call.options == {"follow_link": False, "archive": False}

    def test_flags(self) -> None:
        ended = proa("cp", "-aL", "web:/x", "y")
        assert ended.call.options == {"follow_link": True, "archive": True}

    def test_a_tar_comes_out(self) -> None:
        io = CapturedIO()
        answer = {"containers__get_archive": lambda *_a, **_o: iter([b"one", b"two"])}
        assert proa("cp", "web:/x", "-", io=io, **answer).code == 0
        assert io.written[1] == b"onetwo"

    def test_a_tar_goes_in(self, tmp_path: Path) -> None:
        (tmp_path / "tar").write_bytes(b"a tar")
        taken: list[bytes] = []

        def put(name: str, path: str, pieces: Any, **options: Any) -> None:
            taken.extend(pieces)

        io = CapturedIO()
        with open(tmp_path / "tar", "rb") as stream:
            io.stdin_fd = stream.fileno()
            ended = proa("cp", "-", "web:/srv", io=io, containers__put_archive=put)
        assert (ended.call.args[:2], taken) == (("web", "/srv"), [b"a tar"])

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["a:/x", "b:/y"], "copying between containers is not supported"),
            (["/x", "./y"], "must specify at least one container source"),
        ],
    )
    def test_wrong_words(self, words: list[str], message: str) -> None:
        ended = proa("cp", *words)
        assert ended.code == 1
        assert message in ended.stderr


def test_diff() -> None:
    changes = [Change("C", "/etc"), Change("A", "/etc/new"), Change("D", "/gone")]
    ended = proa("diff", "web", containers__diff=changes)
    assert ended.stdout == "C /etc\nA /etc/new\nD /gone\n"


class TestExport:
    def test_to_stdout(self) -> None:
        io = CapturedIO()
        proa("export", "web", io=io, containers__export=lambda _: iter([b"t", b"ar"]))
        assert io.written[1] == b"tar"

    def test_not_to_a_terminal(self) -> None:
        ended = proa("export", "web", io=CapturedIO(terminals=(1,)), containers__export=iter(()))
        assert ended.code == 1
        assert "refusing to save to a terminal" in ended.stderr

    def test_a_file_is_whole_or_not_there(self, tmp_path: Path) -> None:
        def cut(_: str) -> Any:
            yield b"half"
            raise NotFound("gone")

        class RealIO(CapturedIO):
            def write(self, fd: int, data: bytes) -> None:
                os.write(fd, data) if fd > 2 else super().write(fd, data)

        io = RealIO(cwd=str(tmp_path))
        assert proa("export", "-o", "x.tar", "web", io=io, containers__export=cut).code == 1
        assert os.listdir(tmp_path) == []
        whole = {"containers__export": lambda _: iter([b"whole"])}
        assert proa("export", "-o", "x.tar", "web", io=RealIO(cwd=str(tmp_path)), **whole).code == 0
        assert (tmp_path / "x.tar").read_bytes() == b"whole"


def test_commit() -> None:
    image = SimpleNamespace(id="sha256:" + "a" * 64)
    ended = proa(
        "commit", "-m", "why", "-a", "me", "-c", "CMD x", "-c", "ENV A=1", "--pause=false",
        "web", "mine:1", containers__commit=image,
    )  # fmt: skip
    assert ended.stdout == f"{image.id}\n"
    assert ended.call.args == ("web", "mine:1")
    assert ended.call.options == {
        "author": "me", "message": "why", "changes": ("CMD x", "ENV A=1"), "pause": False,
    }  # fmt: skip
    assert proa("commit", "web", containers__commit=image).call.args == ("web", "")
