"""``proa-runtime`` as it starts: which command lines a warm worker may do."""

from __future__ import annotations

import os

import pytest

from proa.cli.ociruntime.client import find_verb, is_portable
from proa.cli.ociruntime.surroundings import read_surroundings


@pytest.mark.parametrize(
    ("line", "verb"),
    [
        ("--root /r --log l --log-format json create --bundle b id", "create"),
        ("--root=/r --systemd-cgroup run id", "run"),
        ("--rootless auto state id", "state"),
        ("--version", ""),
        ("", ""),
    ],
)
def test_the_verb_is_found_behind_global_flags(line: str, verb: str) -> None:
    assert find_verb(line.split()) == verb


@pytest.mark.parametrize(
    ("line", "portable"),
    [
        ("run web", True),
        ("run --bundle b web", True),
        ("run -d web", False),
        ("run --detach=true web", False),
        ("run --preserve-fds 1 web", False),
        ("run --pid-file p web", False),
        ("exec web ls -l", True),
        ("exec -td web ls", False),
        ("exec --console-socket s web ls", False),
        ("start web", True),
        ("delete --force web", True),
        ("create web", False),
        ("features", False),
    ],
)
def test_what_leaves_a_child_behind_is_done_by_the_caller(line: str, portable: bool) -> None:
    words = line.split()
    assert is_portable(find_verb(words), words) is portable


def test_descriptors_of_the_caller_keep_the_work_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTEN_FDS", "1")
    assert not is_portable("run", ["run", "web"])


def test_a_child_has_the_surroundings_of_its_parent() -> None:
    assert read_surroundings("self") == read_surroundings(os.getpid())
    assert read_surroundings("self") == read_surroundings(os.getppid())
