"""Cgroup paths and slices."""

from __future__ import annotations

import pytest

from proa.cgroups.hierarchy import Hierarchy
from proa.cgroups.manager import CgroupManager
from proa.cgroups.systemd import cgroup_path, expand_slice
from proa.errors import Invalid, Unsupported
from tests.support.cgroups import FakeTree


@pytest.mark.parametrize(
    ("parent", "path"),
    [
        ("", "/proa/c1"),
        ("/teams/a", "/teams/a/c1"),
        ("teams//a/", "/teams/a/c1"),
        ("/", "/c1"),
        ("app-web.slice", "/app.slice/app-web.slice/c1"),
        ("-.slice", "/c1"),
        ("/system.slice", "/system.slice/c1"),
    ],
)
def test_path_of_a_container(parent: str, path: str) -> None:
    assert cgroup_path(parent, "c1") == path


def test_nested_slice() -> None:
    assert expand_slice("a-b-c.slice") == "/a.slice/a-b.slice/a-b-c.slice"


@pytest.mark.parametrize("name", ["a--b.slice", "-a.slice", "a-.slice", ".slice", "a", "a/b.slice"])
def test_not_a_slice(name: str) -> None:
    with pytest.raises(Invalid, match="is not a slice name"):
        expand_slice(name)


@pytest.mark.parametrize("parent", ["../x", "/a/./b", "/a\nb", "/@devices", "x" * 256])
def test_unusable_parent(parent: str) -> None:
    with pytest.raises(Invalid, match="cgroup path"):
        cgroup_path(parent, "c1")


def test_a_path_must_name_a_group(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    manager = FakeTree(str(tmp_path), monkeypatch).v1("memory")
    with pytest.raises(Invalid, match="names no group"):
        manager.create("/")


def test_no_cgroup_filesystem() -> None:
    with pytest.raises(Unsupported, match="no cgroup filesystem is mounted"):
        CgroupManager(Hierarchy()).create("/proa/c1")
