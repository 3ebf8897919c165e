"""Packing and unpacking trees for ``cp`` and ``export``, without a container."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from proa.errors import Conflict, Corrupt, Invalid
from proa.image.layers.extract import Destination, Ownership, copy, unpack
from proa.image.layers.treepack import END, Packer
from proa.image.layers.treewalk import Item, Walker

MINE = Ownership(uid=os.geteuid(), gid=os.getegid(), strip=True)


def pack(path: Path, name: bytes = b"top") -> bytes:
    fd = os.open(path, os.O_PATH | os.O_NOFOLLOW)
    try:
        return b"".join(Packer().pack(fd, name)) + END
    finally:
        os.close(fd)


def entries(data: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {member.name: member for member in archive}


def put(data: bytes, target: Path, *, follow: bool = False, owner: Ownership = MINE) -> None:
    fd = os.open(target, os.O_RDONLY | os.O_DIRECTORY)
    try:
        unpack(iter([data]), Destination(root_fd=fd, follow=follow), owner, "the archive")
    finally:
        os.close(fd)


def tar(*members: tuple[str, bytes | str | None]) -> bytes:
    """Bytes make a file, a string a symbolic link, None a directory."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, what in members:
            member = tarfile.TarInfo(name)
            if what is None:
                member.type, member.mode = tarfile.DIRTYPE, 0o755
            elif isinstance(what, str):
                member.type, member.linkname = tarfile.SYMTYPE, what
            else:
                member.size = len(what)
            archive.addfile(member, io.BytesIO(what) if isinstance(what, bytes) else None)
    return out.getvalue()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    (root / "sub").mkdir(parents=True)
    (root / "file").write_bytes(b"content" * 1000)
    (root / "sub" / "empty").touch()
    os.link(root / "file", root / "sub" / "same")
    os.symlink("../file", root / "sub" / "link")
    os.mkfifo(root / "fifo")
    os.utime(root / "sub", ns=(1, 1_500_000_000_123_456_789))
    return root


class TestPack:
    def test_every_kind(self, tree: Path) -> None:
        found = entries(pack(tree))
        assert set(found) == {
            "top", "top/fifo", "top/file", "top/sub", "top/sub/empty", "top/sub/link",
            "top/sub/same",
        }  # fmt: skip
        assert found["top/file"].size == 7000
        assert found["top/sub/same"].islnk()
        assert found["top/sub/same"].linkname == "top/file"
        assert found["top/sub/link"].linkname == "../file"
        assert found["top/fifo"].isfifo()

    def test_one_file_and_one_link(self, tree: Path) -> None:
        assert list(entries(pack(tree / "file", b"renamed"))) == ["renamed"]
        link = entries(pack(tree / "sub" / "link", b"l"))["l"]
        assert link.issym()

    def test_a_file_that_grows_and_one_that_shrinks(self, tmp_path: Path) -> None:
        for change in (b"x" * 5000, b""):
            path = tmp_path / "live"
            path.write_bytes(b"y" * 2000)
            fd = os.open(path, os.O_PATH)
            pieces = Packer().pack(fd, b"live")
            header = next(pieces)
            path.write_bytes(change)
            data = header + b"".join(pieces) + END
            os.close(fd)
            assert entries(data)["live"].size == 2000
            assert len(data) % 512 == 0

    def test_deeper_than_a_path_and_than_descriptors(self, tmp_path: Path) -> None:
        (tmp_path / "deep").mkdir()
        fd = os.open(tmp_path / "deep", os.O_RDONLY)
        for _ in range(300):
            os.mkdir("d" * 20, dir_fd=fd)
            below = os.open("d" * 20, os.O_RDONLY, dir_fd=fd)
            os.close(fd)
            fd = below
        os.close(fd)
        assert pack(tmp_path / "deep").count(b"ustar\x0000") >= 301

    def test_owners_are_shifted(self, tree: Path) -> None:
        fd = os.open(tree / "file", os.O_PATH)
        data = b"".join(Packer(shift=os.getuid() + 100_000).pack(fd, b"f")) + END
        os.close(fd)
        assert entries(data)["f"].uid == 65534


class TestLayers:
    def layers(self, tmp_path: Path) -> list[Path]:
        upper, lower = tmp_path / "upper", tmp_path / "lower"
        (lower / "a").mkdir(parents=True)
        (lower / "a" / "kept").write_text("lower")
        (lower / "a" / "changed").write_text("lower")
        (lower / "o").mkdir()
        (lower / "o" / "hidden").touch()
        (upper / "a").mkdir(parents=True)
        (upper / "a" / "changed").write_text("upper!")
        (upper / "o").mkdir()
        os.setxattr(upper / "o", "user.overlay.opaque", b"y")
        return [upper, lower]

    def test_they_merge(self, tmp_path: Path) -> None:
        stack = [os.open(path, os.O_PATH) for path in self.layers(tmp_path)]
        found = entries(b"".join(Packer().pack_below(stack, b"")) + END)
        for fd in stack:
            os.close(fd)
        assert set(found) == {"a", "a/changed", "a/kept", "o"}
        assert found["a/changed"].size == len("upper!")


class TestUnpack:
    def test_round_trip(self, tree: Path, tmp_path: Path) -> None:
        target = tmp_path / "target"
        target.mkdir()
        put(pack(tree), target)
        assert (target / "top" / "file").read_bytes() == b"content" * 1000
        assert os.readlink(target / "top" / "sub" / "link") == "../file"
        same = (target / "top" / "sub" / "same").stat()
        assert same.st_ino == (target / "top" / "file").stat().st_ino
        assert (target / "top" / "sub").stat().st_mtime_ns == 1_500_000_000_123_456_789

    def test_a_file_replaces_a_file_and_a_link(self, tmp_path: Path) -> None:
        (tmp_path / "outside").write_text("safe")
        target = tmp_path / "t"
        target.mkdir()
        os.symlink(tmp_path / "outside", target / "x")
        put(tar(("x", b"new")), target)
        assert (target / "x").read_text() == "new"
        assert not (target / "x").is_symlink()
        assert (tmp_path / "outside").read_text() == "safe"

    def test_kinds_conflict(self, tmp_path: Path) -> None:
        (tmp_path / "d").mkdir()
        with pytest.raises(Conflict, match="cannot overwrite directory 'd'"):
            put(tar(("d", b"")), tmp_path)
        (tmp_path / "f").touch()
        with pytest.raises(Conflict, match="cannot overwrite non-directory 'f'"):
            put(tar(("f", None)), tmp_path)

    def test_no_way_out_by_links_of_the_archive(self, tmp_path: Path) -> None:
        victim, target = tmp_path / "victim", tmp_path / "target"
        victim.mkdir()
        target.mkdir()
        data = tar(("out", str(victim)), ("out/owned", b"x"))
        with pytest.raises((Conflict, OSError)):
            put(data, target)
        assert list(victim.iterdir()) == []

    @pytest.mark.parametrize("name", ["../x", "a/../../x", "/../x"])
    def test_no_way_up(self, name: str, tmp_path: Path) -> None:
        target = tmp_path / "target"
        target.mkdir()
        with pytest.raises(Invalid, match="refused"):
            put(tar((name, b"x")), target)
        assert not (tmp_path / "x").exists()

    def test_a_hard_link_stays_inside(self, tmp_path: Path) -> None:
        (tmp_path / "secret").write_text("s")
        target = tmp_path / "target"
        target.mkdir()
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as archive:
            member = tarfile.TarInfo("grab")
            member.type, member.linkname = tarfile.LNKTYPE, "../secret"
            archive.addfile(member)
        with pytest.raises(Invalid, match=r"'\.\.'"):
            put(out.getvalue(), target)

    def test_absolute_names_are_inside(self, tmp_path: Path) -> None:
        put(tar(("/etc/x", b"1")), tmp_path)
        assert (tmp_path / "etc" / "x").read_text() == "1"

    def test_links_on_the_way_are_followed_inside_a_container(self, tmp_path: Path) -> None:
        (tmp_path / "usr" / "lib").mkdir(parents=True)
        os.symlink("/usr/lib", tmp_path / "lib")
        put(tar(("lib/so", b"1"), ("lib", None)), tmp_path, follow=True)
        assert (tmp_path / "usr" / "lib" / "so").read_text() == "1"
        assert (tmp_path / "lib").is_symlink()

    def test_rights_are_stripped(self, tmp_path: Path) -> None:
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as archive:
            member = tarfile.TarInfo("su")
            member.mode = 0o6755
            archive.addfile(member)
        put(out.getvalue(), tmp_path)
        assert (tmp_path / "su").stat().st_mode & 0o7777 == 0o755

    def test_cut_short(self, tmp_path: Path) -> None:
        with pytest.raises(Corrupt):
            put(tar(("x", b"1" * 600))[:700], tmp_path)

    def test_whiteout_names_are_plain_names(self, tmp_path: Path) -> None:
        put(tar((".wh.x", b"1")), tmp_path)
        assert (tmp_path / ".wh.x").read_text() == "1"


@pytest.fixture(autouse=True)
def _no_descriptor_is_left() -> Iterator[None]:
    before = len(os.listdir("/proc/self/fd"))
    yield
    assert len(os.listdir("/proc/self/fd")) == before


def copied(source: Path, target: Path, **ownership: Any) -> None:
    fd, root = os.open(source, os.O_PATH), os.open(target, os.O_RDONLY)
    try:
        copy(
            Walker().walk_below([fd], b""), Destination(root_fd=root), Ownership(**ownership), "it"
        )
    finally:
        os.close(fd)
        os.close(root)


def test_a_direct_copy_is_what_the_archive_would_make(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "deep/er").mkdir(parents=True)
    target.mkdir()
    (source / "deep/er/file").write_bytes(b"x" * 300_000)
    os.link(source / "deep/er/file", source / "again")
    (source / "link").symlink_to("/nowhere")
    os.mkfifo(source / "fifo", 0o640)
    with open(source / "sparse", "wb") as stream:
        stream.truncate(1 << 30)
        stream.seek(1 << 29)
        stream.write(b"middle")
    os.chmod(source / "deep", 0o750)
    for name in ("deep/er/file", "deep/er", "deep", "sparse"):
        os.utime(source / name, ns=(1, 1_000_000_001))
    copied(source, target, uid=os.getuid(), gid=os.getgid())
    for path in sorted(source.rglob("*")):
        ours, theirs = path.lstat(), (target / path.relative_to(source)).lstat()
        assert (ours.st_mode, ours.st_size, ours.st_mtime_ns, ours.st_nlink) == (
            theirs.st_mode, theirs.st_size, theirs.st_mtime_ns, theirs.st_nlink,
        )  # fmt: skip
    assert (target / "again").samefile(target / "deep/er/file")
    assert (target / "sparse").lstat().st_blocks < 1000
    with open(target / "sparse", "rb") as stream:
        stream.seek(1 << 29)
        assert stream.read(6) == b"middle"


def test_a_file_that_shrinks_is_filled_with_zeros(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    target.mkdir()
    for size in (1000, 1_000_000):
        (source / f"{size}").write_bytes(b"x" * size)
    fd, root = os.open(source, os.O_PATH), os.open(target, os.O_RDONLY)

    def shrinking() -> Iterator[Item]:
        for entry, data in Walker().walk_below([fd], b""):
            os.truncate(source / entry.name.decode(), 10)
            yield entry, data

    own = Ownership(uid=os.getuid(), gid=os.getgid())
    copy(shrinking(), Destination(root_fd=root), own, "it")
    os.close(fd)
    os.close(root)
    for size in (1000, 1_000_000):
        assert (target / f"{size}").read_bytes() == b"x" * 10 + bytes(size - 10)
