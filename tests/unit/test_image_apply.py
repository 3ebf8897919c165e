"""Unpacking layers and packing them again, as far as it needs no root."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import stat
from pathlib import Path

import pytest

from proa.errors import Corrupt, Invalid
from proa.image.layers import whiteout
from proa.image.layers.apply import Applied
from proa.image.layers.compression import compressor, decompressed, detect, zstd_module
from proa.image.layers.diff import write_layer
from proa.image.layers.inherit import find_in_lowers, inherit
from proa.image.layers.layer import apply_layer
from proa.image.layers.prefetch import Prefetch
from proa.image.layers.xattrs import is_portable
from proa.image.limits import MIB, Limits
from proa.oci.digest import DiffID
from tests.support.layers import LayerBuilder, digest


def apply(
    data: bytes, path: Path, limits: Limits | None = None, diff_id: str | None = None
) -> Applied:
    path.mkdir(exist_ok=True)
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        applied, found = apply_layer(
            iter([data]),
            fd,
            "layer x",
            limits=limits or Limits(),
            diff_id=DiffID(diff_id) if diff_id else None,
        )
    finally:
        os.close(fd)
    assert found.startswith("sha256:")
    return applied


def is_whiteout(path: Path) -> bool:
    status = path.lstat()
    return whiteout.is_whiteout(status.st_mode, status.st_rdev)


def is_opaque(path: Path) -> bool:
    return whiteout.OPAQUE_XATTR in os.listxattr(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


class TestApply:
    def test_kinds(self, root: Path) -> None:
        applied = apply(
            LayerBuilder()
            .directory("./", mode=0o711, mtime=5)
            .directory("./d", mode=0o2775, mtime=6)
            .file("./d/f", b"data", mode=0o4755, mtime=7)
            .symlink("./d/s", "../../../anywhere", mtime=8)
            .hardlink("./d/h", "/d/f")
            .node("./d/p", "6", mode=0o600)
            .tar(),
            root,
        )
        assert stat.S_IMODE(root.stat().st_mode) == 0o711
        assert root.stat().st_mtime == 5
        assert stat.S_IMODE((root / "d").stat().st_mode) == 0o2775
        assert (root / "d").stat().st_mtime == 6
        file = (root / "d" / "f").stat()
        assert (stat.S_IMODE(file.st_mode), file.st_mtime, file.st_nlink) == (0o4755, 7, 2)
        assert os.readlink(root / "d" / "s") == "../../../anywhere"
        assert (root / "d" / "s").lstat().st_mtime == 8
        assert (root / "d" / "h").read_bytes() == b"data"
        assert stat.S_ISFIFO((root / "d" / "p").stat().st_mode)
        assert (applied.size_bytes, applied.entries, applied.implied) == (4, 6, [])

    def test_modes_whatever_the_umask(self, root: Path) -> None:
        before = os.umask(0o077)
        try:
            data = LayerBuilder().directory("d", 0o777).file("d/f", b"", mode=0o666).tar()
            apply(data, root)
        finally:
            os.umask(before)
        assert stat.S_IMODE((root / "d").stat().st_mode) == 0o777
        assert stat.S_IMODE((root / "d/f").stat().st_mode) == 0o666

    def test_directory_times_survive_their_content(self, root: Path) -> None:
        # More directories than are kept open, entered in turns.
        builder = LayerBuilder()
        for number in range(50):
            builder.directory(f"d{number}", mtime=1000 + number)
        for turn in range(3):
            for number in range(50):
                builder.file(f"d{number}/f{turn}", b"x")
        builder.directory("d7", mtime=77)
        apply(builder.tar(), root)
        times = [(root / f"d{number}").stat().st_mtime for number in range(50)]
        assert times == [77 if number == 7 else 1000 + number for number in range(50)]

    def test_nanoseconds_and_xattrs(self, root: Path) -> None:
        data = (
            LayerBuilder()
            .records(("mtime", b"3.000000009"), ("SCHILY.xattr.user.mime", b"a\0b"))
            .file("f")
            .records(("SCHILY.xattr.user.dir", b"1"))
            .directory("d")
            .tar()
        )
        apply(data, root)
        assert (root / "f").stat().st_mtime_ns == 3_000_000_009
        assert os.getxattr(root / "f", "user.mime") == b"a\0b"
        assert os.getxattr(root / "d", "user.dir") == b"1"

    def test_sparse_files_stay_sparse(self, root: Path) -> None:
        records = (("GNU.sparse.map", b"0,2,1000000,3"), ("GNU.sparse.size", str(1 << 40).encode()))
        apply(LayerBuilder().records(*records).file("f", b"abcde").tar(), root)
        status = (root / "f").stat()
        assert status.st_size == 1 << 40
        assert status.st_blocks * 512 < MIB
        with open(root / "f", "rb") as file:
            assert file.read(3) == b"ab\0"
            file.seek(1_000_000)
            assert file.read(4) == b"cde\0"

    def test_the_last_duplicate_counts(self, root: Path) -> None:
        data = (
            LayerBuilder()
            .file("a", b"1")
            .file("a", b"2", mode=0o600)
            .directory("b")
            .file("b/c", b"")
            .file("b", b"now a file")
            .file("d", b"")
            .directory("d", 0o700)
            .symlink("e", "elsewhere")
            .file("e", b"not through the link")
            .directory("g", 0o700)
            .file("g/kept", b"")
            .directory("g", 0o755)
            .tar()
        )
        apply(data, root)
        assert (root / "a").read_bytes() == b"2"
        assert stat.S_IMODE((root / "a").stat().st_mode) == 0o600
        assert (root / "b").read_bytes() == b"now a file"
        assert stat.S_IMODE((root / "d").stat().st_mode) == 0o700
        assert (root / "e").read_bytes() == b"not through the link"
        assert (root / "g" / "kept").exists()
        assert stat.S_IMODE((root / "g").stat().st_mode) == 0o755

    def test_paths_through_what_was_replaced(self, root: Path) -> None:
        data = (
            LayerBuilder()
            .directory("one")
            .directory("two")
            .symlink("link", "one")
            .file("link/a", b"")
            .symlink("link", "two")
            .file("link/b", b"")
            .tar()
        )
        apply(data, root)
        assert os.listdir(root / "one") == ["a"]
        assert os.listdir(root / "two") == ["b"]

    def test_hard_links(self, root: Path) -> None:
        data = (
            LayerBuilder()
            .file("a", b"1")
            .hardlink("a", "a")
            .file("b", b"2")
            .hardlink("b", "./a")
            .symlink("s", "a")
            .hardlink("t", "s")
            .tar()
        )
        apply(data, root)
        assert (root / "b").read_bytes() == b"1"
        assert (root / "a").stat().st_nlink == 2
        assert os.readlink(root / "t") == "a"

    def test_implied_directories(self, root: Path) -> None:
        data = (
            LayerBuilder()
            .file("a/b/c", b"", mtime=9)
            .directory("a", 0o700, mtime=3)
            .file("x/.wh.y")
            .tar()
        )
        applied = apply(data, root)
        assert applied.implied == [b"", b"a/b", b"x"]
        assert (root / "a/b").stat().st_mtime == 9

    @pytest.mark.parametrize(
        ("builder", "why"),
        [
            (LayerBuilder().file("../f"), "'..'"),
            (LayerBuilder().file("a/../b"), "'..'"),
            (LayerBuilder().file("f").file("f/g"), "no directory"),
            (LayerBuilder().hardlink("l", "d/").directory("d").hardlink("l2", "d"), "directory"),
            (LayerBuilder().hardlink("l", "../f"), "'..'"),
            (LayerBuilder().hardlink("l", ""), "no file"),
            (LayerBuilder().hardlink("l", ".wh.x"), "no file"),
            (LayerBuilder().file(".wh.x").hardlink("l", "x"), "removes"),
            (LayerBuilder().file(".wh."), "whiteout of nothing"),
            (LayerBuilder().file(".wh..."), "whiteout of nothing"),
            (LayerBuilder().file("a/.wh.b/c"), "whiteout as a directory"),
            (LayerBuilder().node("c", "3", 0, 0), "takes for a whiteout"),
            (LayerBuilder().file("."), "root"),
            (LayerBuilder().records(("path", b"a\0b")).file("f"), "NUL"),
            (LayerBuilder().records(("path", b"n" * 256)).file("f"), "name of 256 bytes"),
            (LayerBuilder().records(("path", b"n/" * 3000)).file("f"), "path of 6000 bytes"),
            (LayerBuilder().records(("uid", b"4294967295")).file("f"), "owner"),
            (LayerBuilder().raw(LayerBuilder().node("n", "Z").tar(b"")), "unknown type"),
            (LayerBuilder().symlink("a", "b").symlink("b", "a").file("a/f"), "symbolic links"),
            (LayerBuilder().symlink("s", ""), "refused"),
            (LayerBuilder().node("b", "4", 9999, 0), "device number"),
        ],
    )
    def test_refused(self, root: Path, builder: LayerBuilder, why: str) -> None:
        with pytest.raises(Invalid, match=why):
            apply(builder.tar(), root)

    def test_limits(self, root: Path) -> None:
        builder = LayerBuilder()
        for number in range(20):
            builder.file(f"d{number}/f")
        with pytest.raises(Invalid, match="more than 30 entries"):
            apply(builder.tar(), root, Limits(entries=30))
        with pytest.raises(Invalid, match="without an entry"):
            apply(builder.tar(), root.parent / "other", Limits(implied_bytes=20))

    def test_digest(self, root: Path) -> None:
        data = LayerBuilder().file("f").tar()
        apply(data, root, diff_id=digest(data))
        with pytest.raises(Corrupt, match="promises"):
            apply(data, root.parent / "other", diff_id=digest(b"else"))


class TestWhiteouts:
    def test_forms(self, root: Path) -> None:
        data = (
            LayerBuilder()
            .file(".wh.gone")
            .directory("d")
            .file("d/.wh..wh..opq")
            .file("d/new")
            .file(".wh..wh.aufs")
            .tar()
        )
        applied = apply(data, root)
        assert is_whiteout(root / "gone")
        assert is_opaque(root / "d")
        assert sorted(os.listdir(root)) == ["d", "gone"]
        assert not applied.opaque_root

    def test_opaque_root(self, root: Path) -> None:
        assert apply(LayerBuilder().file(".wh..wh..opq").file("f").tar(), root).opaque_root

    @pytest.mark.parametrize("first", [True, False])
    def test_hide_only_the_parents(self, root: Path, first: bool) -> None:
        builder = LayerBuilder()
        if first:
            builder.file(".wh.f").file(".wh.d")
        builder.file("f", b"new").directory("d").file("d/new")
        if not first:
            builder.file(".wh.f").file(".wh.d")
        apply(builder.tar(), root)
        assert (root / "f").read_bytes() == b"new"
        assert (root / "d/new").exists()
        assert is_opaque(root / "d")

    def test_classify(self) -> None:
        assert whiteout.classify(b"a.wh.b") == ("plain", b"a.wh.b")
        assert whiteout.classify(b".wh.a") == ("whiteout", b"a")
        assert whiteout.classify(b".wh..wh.plnk") == ("aufs", b"")


class TestXattrs:
    @pytest.mark.parametrize(
        ("name", "expected"),
        [
            ("user.x", True),
            ("security.capability", True),
            ("system.posix_acl_access", True),
            ("user.overlay.opaque", False),
            ("trusted.overlay.opaque", False),
            ("trusted.x", False),
            ("security.selinux", False),
            ("security.ima", False),
            ("system.nfs4_acl", False),
        ],
    )
    def test_portable(self, name: str, expected: bool) -> None:
        assert is_portable(name) == expected


class TestInherit:
    def lowers(self, *paths: Path) -> list[int]:
        return [os.open(path, os.O_RDONLY | os.O_DIRECTORY) for path in paths]

    def test_directories_take_the_parents_attributes(self, tmp_path: Path) -> None:
        low, high = tmp_path / "low", tmp_path / "high"
        apply(
            LayerBuilder()
            .directory("./", 0o750, mtime=1)
            .directory("a", 0o711, mtime=2)
            .directory("a/b", 0o700, mtime=3)
            .tar(),
            low,
        )
        applied = apply(LayerBuilder().file("a/b/new").tar(), high)
        (fd,) = self.lowers(low)
        (root_fd,) = self.lowers(high)
        try:
            inherit(root_fd, applied, [fd], "layer x")
        finally:
            os.close(fd)
            os.close(root_fd)
        for path, mode, mtime in (
            (high, 0o750, 1),
            (high / "a", 0o711, 2),
            (high / "a/b", 0o700, 3),
        ):
            assert (stat.S_IMODE(path.stat().st_mode), path.stat().st_mtime) == (mode, mtime)

    def test_links_to_lower_files_are_copied_up(self, tmp_path: Path) -> None:
        low, high = tmp_path / "low", tmp_path / "high"
        apply(LayerBuilder().file("dir/f", b"lower", mode=0o640, mtime=5).tar(), low)
        applied = apply(LayerBuilder().directory("d").hardlink("d/l", "dir/f").tar(), high)
        assert applied.links == [(b"dir/f", b"d/l")]
        fds = self.lowers(high, low)
        try:
            inherit(fds[0], applied, fds[1:], "layer x")
        finally:
            for fd in fds:
                os.close(fd)
        status = (high / "d/l").stat()
        assert (high / "d/l").read_bytes() == b"lower"
        assert (stat.S_IMODE(status.st_mode), status.st_mtime) == (0o640, 5)

    def test_links_to_nothing(self, tmp_path: Path) -> None:
        applied = apply(LayerBuilder().hardlink("l", "none").tar(), tmp_path / "r")
        (fd,) = self.lowers(tmp_path / "r")
        try:
            with pytest.raises(Invalid, match="not there"):
                inherit(fd, applied, [], "layer x")
        finally:
            os.close(fd)

    def test_search_ends_at_what_hides(self, tmp_path: Path) -> None:
        base = LayerBuilder().file("a/f").file("b/f").file("c/f").file("d/f").tar()
        hiding = (
            LayerBuilder()
            .file(".wh.a")
            .directory("b")
            .file("b/.wh..wh..opq")
            .file("c", b"a file now")
            .tar()
        )
        apply(base, tmp_path / "low")
        apply(hiding, tmp_path / "high")
        fds = self.lowers(tmp_path / "high", tmp_path / "low")
        try:
            assert find_in_lowers(b"a", fds) is None
            for path in (b"a/f", b"b/f", b"c/f", b"e"):
                assert find_in_lowers(path, fds) is None
            found = find_in_lowers(b"d/f", fds)
            assert found is not None
            os.close(found)
        finally:
            for fd in fds:
                os.close(fd)


class TestDiff:
    def test_comes_back(self, tmp_path: Path) -> None:
        data = (
            LayerBuilder()
            .directory("./", mtime=1)
            .directory("d", 0o2755, mtime=2)
            .file("d/.wh..wh..opq", mode=0)
            .records(("SCHILY.xattr.user.x", b"1"))
            .file("d/f", b"data" * 1000, mtime=3)
            .hardlink("d/g", "d/f")
            .symlink("d/s", "x" * 150, mtime=4)
            .file("d/sub/.wh.gone", mode=0)
            .node("p", "6", mtime=5)
            .tar()
        )
        apply(data, tmp_path / "one")
        first, second = io.BytesIO(), io.BytesIO()
        write_layer(str(tmp_path / "one"), first.write)
        apply(first.getvalue(), tmp_path / "two")
        write_layer(str(tmp_path / "two"), second.write)
        assert first.getvalue() == second.getvalue()
        assert is_whiteout(tmp_path / "two/d/sub/gone")
        assert is_opaque(tmp_path / "two/d")
        assert (tmp_path / "two/d/g").stat().st_nlink == 2
        assert os.getxattr(tmp_path / "two/d/f", "user.x") == b"1"

    def test_too_deep_for_a_path(self, tmp_path: Path) -> None:
        (tmp_path / "top").mkdir()
        fd = os.open(tmp_path / "top", os.O_RDONLY)
        for _ in range(30):
            os.mkdir("d" * 200, dir_fd=fd)
            below = os.open("d" * 200, os.O_RDONLY, dir_fd=fd)
            os.close(fd)
            fd = below
        os.close(fd)
        buffer = io.BytesIO()
        write_layer(str(tmp_path / "top"), buffer.write)
        assert buffer.getvalue().count(b"d" * 200 + b"/\n") >= 20


class TestCompression:
    @pytest.mark.parametrize("codec", ["none", "gzip", "zstd"])
    @pytest.mark.parametrize("size", [1, 5, 1000, 300_000])
    def test_comes_back(self, codec: str, size: int) -> None:
        data = os.urandom(200_000) + bytes(500_000)
        packer = compressor(codec)  # type: ignore[arg-type]
        packed = packer.compress(data) + packer.flush()
        assert detect(packed) == codec
        if size < 1000 and len(packed) > 300_000:
            size = 1000
        chunks = (packed[start : start + size] for start in range(0, len(packed), size))
        assert b"".join(decompressed(chunks, "x")) == data

    def test_output_does_not_depend_on_the_pieces(self) -> None:
        data = os.urandom(1_000_000)
        digests = set()
        for size in (1000, 65536, 1_000_000):
            packer = compressor("gzip")
            packed = b"".join(
                packer.compress(data[start : start + size]) for start in range(0, len(data), size)
            )
            digests.add(hashlib.sha256(packed + packer.flush()).hexdigest())
        assert len(digests) == 1

    def test_members_padding_and_garbage(self) -> None:
        one = gzip.compress(b"one") + gzip.compress(b"") + gzip.compress(b"two")
        assert b"".join(decompressed(iter([one]), "x")) == b"onetwo"
        assert b"".join(decompressed(iter([one + bytes(700)]), "x")) == b"onetwo"
        with pytest.raises(Corrupt):
            list(decompressed(iter([one + b"garbage"]), "x"))
        zstd = zstd_module()
        frames = zstd.compress(b"a") + b"\x50\x2a\x4d\x18\x03\0\0\0abc" + zstd.compress(b"b")
        assert b"".join(decompressed(iter([frames]), "x")) == b"ab"
        assert detect(b"\x50\x2a\x4d\x18\x03\0") == "zstd"

    @pytest.mark.parametrize("codec", ["gzip", "zstd", "bzip2", "xz"])
    def test_cut_and_damaged(self, codec: str) -> None:
        import bz2
        import lzma

        data = os.urandom(5000)
        checksum = {zstd_module().CompressionParameter.checksum_flag: 1}
        packers = {
            "gzip": gzip.compress,
            "zstd": lambda data: zstd_module().compress(data, options=checksum),
            "bzip2": bz2.compress,
            "xz": lzma.compress,
        }
        packed = packers[codec](data)
        assert b"".join(decompressed(iter([packed]), "x")) == data
        with pytest.raises(Corrupt, match="cut short"):
            list(decompressed(iter([packed[:-20]]), "x"))
        broken = bytearray(packed)
        broken[12:40] = b"\xff" * 28
        broken[-3000::7] = b"\x55" * len(broken[-3000::7])
        with pytest.raises(Corrupt):
            list(decompressed(iter([bytes(broken)]), "x"))

    def test_bomb(self) -> None:
        bomb = gzip.compress(bytes(20 * MIB))
        limits = Limits(ratio_floor_bytes=MIB)
        with pytest.raises(Invalid, match="expands more than 200-fold"):
            list(decompressed(iter([bomb]), "x", limits))
        assert sum(len(piece) for piece in decompressed(iter([bomb]), "x")) == 20 * MIB


class TestPrefetch:
    def test_close_half_way_closes_the_source(self) -> None:
        closed = []

        def source() -> object:
            try:
                for _ in range(1000):
                    yield b"x"
            finally:
                closed.append(True)

        ahead = Prefetch(source())  # type: ignore[arg-type]
        assert next(iter(ahead)) == b"x"
        ahead.close()
        assert closed == [True]
        ahead.close()

    def test_errors_arrive_in_order(self) -> None:
        def source() -> object:
            yield b"first"
            raise Corrupt("broken")

        ahead = Prefetch(source())  # type: ignore[arg-type]
        iterator = iter(ahead)
        assert next(iterator) == b"first"
        with pytest.raises(Corrupt, match="broken"):
            next(iterator)
        ahead.close()
