"""``proa.fs``: atomic files, locks, the root resolver, trees and usage."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from proa.fs import lock
from proa.fs.atomicfile import load_file, save_file, write_all
from proa.fs.rootpath import (
    ensure_directory,
    open_directory,
    open_in_root,
    open_parent,
    open_root,
    split_last,
)
from proa.fs.tree import empty_tree, remove_tree
from proa.fs.usage import usage
from proa.linux.openat2 import RENAME_EXCHANGE, RENAME_NOREPLACE, renameat2, syncfs


class TestSaveFile:
    def test_replaces_and_sets_the_mode(self, tmp_path: Path) -> None:
        path = str(tmp_path / "f")
        save_file(path, b"one")
        save_file(path, b"two", mode=0o640, durable=False)
        assert load_file(path) == b"two"
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o640

    def test_failure_changes_nothing_and_leaves_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = str(tmp_path / "f")
        save_file(path, b"one")

        def fail(*_: object) -> None:
            raise OSError(errno.EIO, "broken")

        monkeypatch.setattr(os, "rename", fail)
        with pytest.raises(OSError, match="broken"):
            save_file(path, b"two")
        assert os.listdir(tmp_path) == ["f"]
        assert load_file(path) == b"one"

    def test_load_limit(self, tmp_path: Path) -> None:
        path = str(tmp_path / "f")
        save_file(path, b"12345")
        assert load_file(path, 5) == b"12345"
        with pytest.raises(OSError, match="File too large"):
            load_file(path, 4)

    def test_write_all_takes_many_writes(self) -> None:
        reader, writer = os.pipe()
        os.set_blocking(writer, True)
        try:
            write_all(writer, b"x" * 1000)
            assert len(os.read(reader, 2000)) == 1000
        finally:
            os.close(reader)
            os.close(writer)


class TestLock:
    def test_excludes_within_one_process(self, tmp_path: Path) -> None:
        path = str(tmp_path / "lock")
        with lock.acquire(path):
            assert lock.try_acquire(path) is None
            assert lock.try_acquire(path, shared=True) is None
            assert lock.is_held(path)
        assert not lock.is_held(path)

    def test_shared_holders_share(self, tmp_path: Path) -> None:
        path = str(tmp_path / "lock")
        with lock.acquire(path, shared=True):
            second = lock.try_acquire(path, shared=True)
            assert second is not None
            second.release()
            second.release()
            assert lock.try_acquire(path) is None

    def test_locks_directories(self, tmp_path: Path) -> None:
        with lock.acquire(str(tmp_path), create=False):
            assert lock.try_acquire(str(tmp_path), create=False) is None

    def test_missing_path(self, tmp_path: Path) -> None:
        path = str(tmp_path / "none")
        assert not lock.is_held(path)
        with pytest.raises(FileNotFoundError):
            lock.acquire(path, create=False)
        assert not os.path.exists(path)


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A root with ways out, beside a directory that must not be reached."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("secret")
    root = tmp_path / "root"
    (root / "dir").mkdir(parents=True)
    (root / "dir" / "file").write_text("inside")
    (root / "up").symlink_to("../outside")
    (root / "absolute").symlink_to("/dir")
    (root / "magic").symlink_to("/proc/self/root")
    (root / "dangling").symlink_to("nowhere")
    return root


class TestRootPath:
    def test_stays_inside(self, hostile: Path) -> None:
        root = open_root(str(hostile))
        try:
            fd = open_in_root(root, "../../dir/file", os.O_RDONLY)
            assert os.read(fd, 10) == b"inside"
            os.close(fd)
            os.close(open_directory(root, "/absolute"))
            for path in ("up/secret", "magic/etc", "absolute/../../outside/secret"):
                with pytest.raises(OSError, match=r".") as caught:
                    open_in_root(root, path, os.O_RDONLY)
                assert caught.value.errno in (errno.ENOENT, errno.ELOOP, errno.ENOTDIR)
        finally:
            os.close(root)

    def test_parent(self, hostile: Path) -> None:
        root = open_root(str(hostile))
        try:
            for path, name in (("absolute/file", "file"), ("/", "."), ("dir/..", "."), ("x", "x")):
                fd, found = open_parent(root, path)
                os.close(fd)
                assert found == name
        finally:
            os.close(root)

    def test_ensure_directory(self, hostile: Path) -> None:
        root = open_root(str(hostile))
        try:
            os.close(ensure_directory(root, "absolute/a/b"))
            assert (hostile / "dir" / "a" / "b").is_dir()
            os.close(ensure_directory(root, "absolute/a/b"))
            with pytest.raises(FileExistsError):
                ensure_directory(root, "dangling/a")
            with pytest.raises(NotADirectoryError):
                ensure_directory(root, "dir/file/a")
            with pytest.raises(FileNotFoundError):
                ensure_directory(root, "new/../../x")
        finally:
            os.close(root)

    def test_nul(self, hostile: Path) -> None:
        root = open_root(str(hostile))
        try:
            with pytest.raises(ValueError, match="NUL"):
                open_in_root(root, "dir\0x", os.O_RDONLY)
        finally:
            os.close(root)

    def test_split_last(self) -> None:
        assert split_last("/a/b/") == ("/a", "b")
        assert split_last("a") == ("", "a")
        assert split_last("/a") == ("/", "a")


class TestTree:
    def test_removes_what_is_too_deep_for_a_path(self, tmp_path: Path) -> None:
        top = tmp_path / "top"
        top.mkdir()
        fd = os.open(top, os.O_RDONLY)
        for _ in range(1500):
            os.mkdir("d", dir_fd=fd)
            with open(os.open("f", os.O_CREAT | os.O_WRONLY, dir_fd=fd), "w") as file:
                file.write("x")
            below = os.open("d", os.O_RDONLY, dir_fd=fd)
            os.close(fd)
            fd = below
        os.close(fd)
        counted = usage(str(top))
        assert counted.inodes > 1500
        remove_tree(str(top))
        assert not top.exists()

    def test_does_not_follow_links(self, hostile: Path) -> None:
        outside = hostile.parent / "outside"
        (hostile / "tree").mkdir()
        (hostile / "tree" / "link").symlink_to(outside)
        remove_tree(str(hostile / "tree"))
        link = hostile / "link"
        link.symlink_to(outside)
        remove_tree(str(link))
        assert not link.is_symlink()
        assert (outside / "secret").read_text() == "secret"

    def test_many_names(self, tmp_path: Path) -> None:
        for number in range(5000):
            (tmp_path / f"{number}").touch()
        empty_tree(str(tmp_path))
        assert os.listdir(tmp_path) == []

    def test_missing(self, tmp_path: Path) -> None:
        remove_tree(str(tmp_path / "none"))
        with pytest.raises(FileNotFoundError):
            remove_tree(str(tmp_path / "none"), missing_ok=False)

    def test_file_relative_to_a_directory(self, tmp_path: Path) -> None:
        (tmp_path / "f").touch()
        fd = os.open(tmp_path, os.O_RDONLY)
        try:
            remove_tree("f", dir_fd=fd)
        finally:
            os.close(fd)
        assert not (tmp_path / "f").exists()


class TestUsage:
    def test_counts_allocated_bytes_and_links_once(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_bytes(b"x" * 100_000)
        os.link(tmp_path / "a", tmp_path / "b")
        with open(tmp_path / "sparse", "wb") as file:
            file.truncate(1 << 40)
        found = usage(str(tmp_path))
        assert found.inodes == 3
        assert 100_000 <= found.size_bytes < 200_000


class TestRename:
    def test_flags(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_text("a")
        (tmp_path / "b").write_text("b")
        fd = os.open(tmp_path, os.O_RDONLY)
        try:
            with pytest.raises(FileExistsError):
                renameat2(fd, "a", fd, "b", RENAME_NOREPLACE)
            renameat2(fd, "a", fd, "b", RENAME_EXCHANGE)
            assert (tmp_path / "a").read_text() == "b"
            syncfs(fd)
        finally:
            os.close(fd)
