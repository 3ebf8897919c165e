"""The verbs on volumes, and the question before things are removed."""

from __future__ import annotations

import json
import os

import pytest

from proa.cli.prompts import confirm
from proa.engine.state import VolumeRecord
from proa.errors import Conflict, NotFound
from tests.support.cli import CapturedIO, proa

VOLUMES = [
    VolumeRecord(name="cache", created_at_ns=1, labels={"job": "ci"}),
    VolumeRecord(name="f" * 64, created_at_ns=2, anonymous=True),
]


def answering(text: bytes) -> CapturedIO:
    """Streams whose input is ``text``."""
    read_fd, write_fd = os.pipe()
    os.write(write_fd, text)
    os.close(write_fd)
    io = CapturedIO()
    io.stdin_fd = read_fd
    return io


def test_create() -> None:
    ended = proa(
        "volume", "create", "--label", "a=b", "--label", "c", "-o", "k=v", "-d", "local", "data",
        volumes__create=VolumeRecord(name="data", created_at_ns=1),
    )  # fmt: skip
    assert (ended.code, ended.stdout) == (0, "data\n")
    assert ended.call.args == ("data",)
    assert ended.call.options == {
        "driver": "local",
        "labels": {"a": "b", "c": ""},
        "options": {"k": "v"},
    }
    assert proa("volume", "create", volumes__create=VOLUMES[1]).call.args == ("",)


class TestLs:
    def test_table(self) -> None:
        assert proa("volume", "ls", volumes__list=VOLUMES).stdout == (
            f"DRIVER    VOLUME NAME\nlocal     cache\nlocal     {'f' * 64}\n"
        )

    def test_filters(self) -> None:
        ended = proa("volume", "list", "-q", "-f", "label=x", "-f", "label=y", volumes__list=[])
        assert ended.call.args == ({"label": ["x", "y"]},)
        assert ended.stdout == ""

    def test_formats(self) -> None:
        place = {"Mountpoint": "/var/lib/proa/volumes/cache/_data"}
        words = ("volume", "ls", "--format")
        ended = proa(*words, "json", volumes__list=VOLUMES[:1], volumes__inspect=place)
        assert json.loads(ended.stdout) == {
            "Driver": "local", "Labels": "job=ci", "Name": "cache", "Scope": "local", **place,
        }  # fmt: skip
        ended = proa(*words, '{{.Name}} {{.Label "job"}}', volumes__list=VOLUMES[:1])
        assert ended.stdout == "cache ci\n"


def test_inspect() -> None:
    ended = proa("volume", "inspect", "-f", "{{.Name}}", "a", "b", volumes__inspect={"Name": "x"})
    assert ended.stdout == "x\nx\n"


def test_rm() -> None:
    def remove(name: str, *, force: bool) -> None:
        if name == "used":
            raise Conflict("volume used is in use by container web", "remove the container first")

    ended = proa("volume", "rm", "-f", "used", "free", volumes__remove=remove)
    assert (ended.code, ended.stdout) == (1, "free\n")
    assert ended.stderr == (
        "proa: volume used is in use by container web: remove the container first\n"
    )
    assert ended.engine.calls[0].options == {"force": True}
    assert proa("volume", "rm", "nx", volumes__remove=NotFound("no such volume: nx")).code == 1


class TestPrune:
    def test_asked(self) -> None:
        ended = proa("volume", "prune", io=answering(b"y\n"), volumes__prune=(["a", "b"], 1500))
        assert ended.stdout == "Deleted Volumes:\na\nb\n\nTotal reclaimed space: 1.5kB\n"
        assert "This will remove anonymous local volumes" in ended.stderr
        assert ended.call.options == {"every": False, "filters": {}}

    def test_declined(self) -> None:
        ended = proa("volume", "prune", "-a", io=answering(b"n\n"))
        assert (ended.code, ended.stdout) == (0, "")
        assert "This will remove all local volumes" in ended.stderr
        assert not ended.engine.calls

    def test_forced(self) -> None:
        ended = proa("volume", "prune", "-af", "--filter", "label=a", volumes__prune=([], 0))
        assert (ended.stdout, ended.stderr) == ("Total reclaimed space: 0B\n", "")
        assert ended.call.options == {"every": True, "filters": {"label": ["a"]}}


@pytest.mark.parametrize(
    ("answer", "agreed"),
    [(b"y\n", True), (b"YES\r\n", True), (b"n\n", False), (b"\n", False), (b"", False)],
)
def test_only_yes_is_yes(answer: bytes, agreed: bool) -> None:
    assert confirm(answering(answer), "All will be gone.") is agreed
