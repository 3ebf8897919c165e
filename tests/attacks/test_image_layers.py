"""The layer corpus of the attack catalogue: hostile archives loaded as an image.

Each row must leave the host as it was (canary), keep the engine below 256 MiB, and either work
inside the layer's root or be refused in one clear sentence that leaves nothing behind.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import stat
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from proa.errors import Corrupt, Exhausted, Invalid, ProaError
from proa.image.layers.compression import zstd_module
from proa.image.layers.whiteout import is_whiteout
from proa.image.limits import GIB, MIB
from proa.image.model import Image
from proa.image.store import ImageStore
from tests.support.images import load_layers, open_store
from tests.support.layers import BLOCK, END, LayerBuilder, docker_archive, header, image_config

pytestmark = pytest.mark.requires("root")

MEMORY_LIMIT_BYTES = 256 * MIB
ENTRIES = int(os.environ.get("PROA_ATTACK_ENTRIES", "100000"))
"""The catalogue says 10**6; memory does not depend on the number, time does."""


@pytest.fixture
def area(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Give a directory with a canary tree and room for a store; check the canary afterwards."""
    area = tmp_path_factory.mktemp("attack")
    canary = area / "canary"
    (canary / "sub").mkdir(parents=True)
    (canary / "file").write_text("canary")
    (canary / "sub" / "other").write_text("canary")
    (canary / "link").symlink_to("file")
    before = fingerprint(canary)
    yield area
    assert fingerprint(canary) == before, "the host's canary was changed"


@pytest.fixture
def store(area: Path) -> ImageStore:
    return open_store(area / "root")


def fingerprint(top: Path) -> str:
    """Digest names, kinds, owners, modes, times and content of a tree."""
    digest = hashlib.sha256()
    for directory, directories, files in os.walk(top):
        for name in sorted([*directories, *files]):
            path = Path(directory, name)
            status = path.lstat()
            digest.update(
                f"{path} {status.st_mode} {status.st_uid} {status.st_nlink} {status.st_mtime_ns}"
                f" {status.st_size} {os.listxattr(path, follow_symlinks=False)}".encode()
            )
            if path.is_file() and not path.is_symlink():
                digest.update(path.read_bytes())
    return digest.hexdigest()


def leftovers(store: ImageStore) -> list[str]:
    """Return blobs, stages and snapshots that are there."""
    found: list[str] = []
    for name in ("content/blobs/sha256", "content/ingest", "snapshots/staging", "snapshots/l"):
        path = f"{store.root}/{name}"
        found += os.listdir(path) if os.path.isdir(path) else []
    return found


def load(store: ImageStore, area: Path, *tars: bytes) -> tuple[Image, list[Path]]:
    """Load an image of these layers; return it and the layers' directories, lowest first."""
    image = load_layers(store, tars, str(area / "archive"), "evil:1")
    return image, [Path(store.root, lower) for lower in reversed(image.lowers)]


def refused(store: ImageStore, area: Path, *tars: bytes, why: str) -> None:
    with pytest.raises(ProaError, match=why) as caught:
        load(store, area, *tars)
    assert isinstance(caught.value, Invalid | Corrupt)
    assert store.list() == []
    assert leftovers(store) == []


class TestOutOfTheRoot:
    """Names and links that lead out of the layer's root."""

    @pytest.mark.parametrize("name", ["../canary/file", "a/../../canary/file", "..", "/../x"])
    def test_dot_dot(self, store: ImageStore, area: Path, name: str) -> None:
        refused(store, area, LayerBuilder().file(name, b"x").tar(), why=r"'\.\.'")

    def test_absolute_names_stay_inside(self, store: ImageStore, area: Path) -> None:
        canary = area / "canary"
        data = LayerBuilder().file(f"{canary}/file", b"inside").file("//etc/x", b"y").tar()
        _, (root,) = load(store, area, data)
        assert (root / str(canary)[1:] / "file").read_bytes() == b"inside"
        assert (root / "etc/x").read_bytes() == b"y"

    @pytest.mark.parametrize("kind", ["absolute", "relative", "twice"])
    def test_symlink_out(self, store: ImageStore, area: Path, kind: str) -> None:
        canary = str(area / "canary")
        target = canary if kind != "relative" else "../" * 6 + canary[1:]
        builder = LayerBuilder().symlink("out", target)
        if kind == "twice":
            builder = LayerBuilder().symlink("a", "/").symlink("out", "a" + canary)
        links = builder.tar(end=b"")
        data = LayerBuilder().raw(links).file("out/file", b"x").tar()
        refused(store, area, data, why="no directory")
        # As in a chroot: the link leads to that path inside the layer, if it is there.
        data = LayerBuilder().directory(canary).raw(links).file("out/file", b"inside").tar()
        _, (root,) = load(store, area, data)
        assert (root / canary[1:] / "file").read_bytes() == b"inside"

    def test_file_onto_a_symlink(self, store: ImageStore, area: Path) -> None:
        canary = area / "canary"
        data = LayerBuilder().symlink("f", str(canary / "file")).file("f", b"replaced").tar()
        _, (root,) = load(store, area, data)
        assert not (root / "f").is_symlink()
        assert (root / "f").read_bytes() == b"replaced"

    def test_directory_onto_a_symlink(self, store: ImageStore, area: Path) -> None:
        canary = area / "canary"
        data = LayerBuilder().symlink("d", str(canary)).directory("d", 0o777).file("d/f").tar()
        _, (root,) = load(store, area, data)
        assert not (root / "d").is_symlink()
        assert (root / "d/f").exists()

    @pytest.mark.parametrize("target", ["../canary/file", "x/../../file"])
    def test_hardlink_out(self, store: ImageStore, area: Path, target: str) -> None:
        refused(store, area, LayerBuilder().hardlink("l", target).tar(), why=r"'\.\.'")

    def test_hardlink_through_a_symlink(self, store: ImageStore, area: Path) -> None:
        canary = area / "canary"
        data = (
            LayerBuilder().symlink("s", str(canary)).hardlink("l", "s/file").file("l", b"x").tar()
        )
        refused(store, area, LayerBuilder().symlink("s", str(canary)).hardlink("l", "s/file").tar(),
                why="not there")  # fmt: skip
        refused(store, area, data, why="|")
        assert os.stat(canary / "file").st_nlink == 1

    def test_hardlink_to_a_symlink_out(self, store: ImageStore, area: Path) -> None:
        canary = area / "canary"
        data = (
            LayerBuilder()
            .symlink("s", str(canary / "file"))
            .hardlink("l", "s")
            .file("l", b"replaced")
            .tar()
        )
        _, (root,) = load(store, area, data)
        assert (root / "s").is_symlink()
        assert (root / "l").read_bytes() == b"replaced"

    def test_absolute_hardlinks_keep_working(self, store: ImageStore, area: Path) -> None:
        data = LayerBuilder().file("bin/a", b"1").hardlink("bin/b", "/bin/a").tar()
        _, (root,) = load(store, area, data)
        assert (root / "bin/b").stat().st_nlink == 2

    def test_symlinks_across_layers(self, store: ImageStore, area: Path) -> None:
        canary = area / "canary"
        lower = LayerBuilder().symlink("out", str(canary)).tar()
        upper = LayerBuilder().file("out/file", b"x").file("out/.wh.sub").hardlink("h", "out/f")
        refused(store, area, lower, upper.tar(), why="not there")
        _, (_, root) = load(store, area, lower, LayerBuilder().file("out/file", b"x").tar())
        assert (root / "out/file").read_bytes() == b"x"


class TestWhiteouts:
    """Whiteouts as a weapon, and overlayfs' control input from an archive."""

    def test_whiteout_through_a_symlink(self, store: ImageStore, area: Path) -> None:
        canary = str(area / "canary")
        links = LayerBuilder().symlink("out", canary).tar(end=b"")
        for name in ("out/.wh.file", "out/.wh..wh..opq"):
            data = LayerBuilder().raw(links).file(name).tar()
            refused(store, area, data, why="no directory")
        data = LayerBuilder().directory(canary).raw(links).file("out/.wh.file").tar()
        _, (root,) = load(store, area, data)
        assert is_whiteout(*_kind(root / canary[1:] / "file"))

    def test_whiteout_of_a_symlink(self, store: ImageStore, area: Path) -> None:
        canary = area / "canary"
        lower = LayerBuilder().symlink("out", str(canary)).tar()
        _, (_, root) = load(store, area, lower, LayerBuilder().file(".wh.out").tar())
        assert is_whiteout(*_kind(root / "out"))

    @pytest.mark.parametrize("name", [".wh.", ".wh..", ".wh...", "a/.wh...", ".wh.a/b"])
    def test_malformed(self, store: ImageStore, area: Path, name: str) -> None:
        refused(store, area, LayerBuilder().file(name).tar(), why="whiteout")

    def test_opaque_root_hides_what_is_below(self, store: ImageStore, area: Path) -> None:
        image, (root,) = load(
            store,
            area,
            LayerBuilder().file("old").tar(),
            LayerBuilder().file(".wh..wh..opq").file("new").tar(),
        )
        assert len(image.layers) == 2
        assert os.listdir(root) == ["new"]

    def test_character_device_0_0(self, store: ImageStore, area: Path) -> None:
        data = LayerBuilder().node("etc/passwd", "3", 0, 0).tar()
        refused(store, area, data, why="0:0")

    @pytest.mark.parametrize(
        "name", ["user.overlay.opaque", "trusted.overlay.opaque", "trusted.overlay.redirect"]
    )
    def test_overlay_xattrs_are_dropped(self, store: ImageStore, area: Path, name: str) -> None:
        data = (
            LayerBuilder()
            .records((f"SCHILY.xattr.{name}", b"y"), ("SCHILY.xattr.user.kept", b"1"))
            .directory("d")
            .records((f"SCHILY.xattr.{name}", b"/canary"))
            .file("f")
            .tar()
        )
        _, (root,) = load(store, area, data)
        assert os.listxattr(root / "d") == ["user.kept"]
        assert os.listxattr(root / "f") == []

    def test_hardlink_to_a_whiteout(self, store: ImageStore, area: Path) -> None:
        data = LayerBuilder().file(".wh.gone").hardlink("etc/passwd", "gone").tar()
        refused(store, area, data, why="the layer removes")


class TestKinds:
    """What is legitimate in an image and dangerous outside a container."""

    def test_device_fifo_setuid(self, store: ImageStore, area: Path) -> None:
        data = (
            LayerBuilder()
            .node("sda", "4", 8, 0, mode=0o660, gid=6)
            .node("mem", "3", 1, 1, mode=0o666)
            .node("pipe", "6", mode=0o622)
            .file("su", b"\x7fELF", mode=0o6755, uid=0, gid=0)
            .tar()
        )
        _, (root,) = load(store, area, data)
        block = (root / "sda").stat()
        assert stat.S_ISBLK(block.st_mode)
        assert (os.major(block.st_rdev), os.minor(block.st_rdev)) == (8, 0)
        assert (stat.S_IMODE(block.st_mode), block.st_gid) == (0o660, 6)
        assert stat.S_ISCHR((root / "mem").stat().st_mode)
        assert stat.S_ISFIFO((root / "pipe").stat().st_mode)
        assert stat.S_IMODE((root / "su").stat().st_mode) == 0o6755
        # CVE-2021-41091: nobody on the host gets as far as the setuid program.
        assert stat.S_IMODE(os.stat(store.root).st_mode) == 0o700
        pid = os.fork()
        if not pid:
            try:
                os.setgid(65534)
                os.setuid(65534)
                os.open(root / "su", os.O_RDONLY)
            except PermissionError:
                os._exit(0)
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0

    def test_file_capability(self, store: ImageStore, area: Path) -> None:
        capability = bytes.fromhex("0100000200200000000000000000000000000000")
        data = (
            LayerBuilder()
            .records(("SCHILY.xattr.security.capability", capability))
            .file("ping", b"x", mode=0o755, uid=5, gid=5)
            .tar()
        )
        _, (root,) = load(store, area, data)
        # Set after the owner: chown(2) would have dropped it.
        assert os.getxattr(root / "ping", "security.capability") == capability
        assert (root / "ping").stat().st_uid == 5

    def test_unknown_type(self, store: ImageStore, area: Path) -> None:
        refused(store, area, LayerBuilder().node("x", "Q").tar(), why="unknown type")

    @pytest.mark.parametrize("uid", [0xFFFFFFFF, 1 << 40, -1])
    def test_owners_beyond_32_bits(self, store: ImageStore, area: Path, uid: int) -> None:
        builder = LayerBuilder()
        if uid > 0:
            builder.records(("uid", str(uid).encode())).file("f")
        else:
            builder.file("f", uid=uid)
        refused(store, area, builder.tar(), why="the owner")

    def test_duplicates(self, store: ImageStore, area: Path) -> None:
        canary = area / "canary"
        data = (
            LayerBuilder()
            .directory("d")
            .file("d/file", b"1")
            .symlink("d", str(canary))
            .file("d", b"3")
            .directory("d")
            .file("d/file", b"4")
            .tar()
        )
        _, (root,) = load(store, area, data)
        assert (root / "d/file").read_bytes() == b"4"


class TestNames:
    """Names and attributes at and beyond the kernel's limits."""

    def test_255_and_256_bytes(self, store: ImageStore, area: Path) -> None:
        data = LayerBuilder().records(("path", b"n" * 255)).file("f").tar()
        _, (root,) = load(store, area, data)
        assert len(os.listdir(root)[0]) == 255
        store.prune(every=True)
        data = LayerBuilder().records(("path", b"n" * 256)).file("f").tar()
        refused(store, area, data, why="name of 256 bytes")

    def test_64_kib_xattr(self, store: ImageStore, area: Path) -> None:
        for size in (65536, 65537):
            data = LayerBuilder().records(("SCHILY.xattr.user.x", b"x" * size)).file("f").tar()
            try:
                load(store, area, data)
            except (Invalid, Corrupt) as error:
                # ext4 without ea_inode holds one block of attributes for a file.
                assert f"{size} bytes" in str(error)  # noqa: PT017
            else:
                assert size == 65536
                store.prune(every=True)
        assert leftovers(store) == []

    def test_4095_bytes_deep(self, store: ImageStore, area: Path) -> None:
        data = LayerBuilder().records(("path", b"d/" * 2047 + b"f")).file("f").tar()
        image, _ = load(store, area, data)
        assert store.remove(image.id)
        assert leftovers(store) == []
        data = LayerBuilder().records(("path", b"d/" * 2048 + b"f")).file("f").tar()
        refused(store, area, data, why="path of 4097 bytes")

    def test_names_that_are_no_text(self, store: ImageStore, area: Path) -> None:
        _, (root,) = load(store, area, LayerBuilder().file(b"\xff\xfe\n\x1b[31m").tar())
        assert os.listdir(os.fsencode(root)) == [b"\xff\xfe\n\x1b[31m"]


class TestBroken:
    """Archives that end early, late, or are not what their digest says."""

    @pytest.mark.parametrize("cut", [1, 300, 513, 900])
    def test_truncated(self, store: ImageStore, area: Path, cut: int) -> None:
        tar = LayerBuilder().file("f", b"x" * 600).tar()
        (area / "f").write_bytes(tar[:cut])
        with pytest.raises(Corrupt, match="cut short"):
            store.import_rootfs(str(area / "f"), "x")
        (area / "g").write_bytes(gzip.compress(tar)[:-9])
        with pytest.raises(Corrupt, match="cut short"):
            store.import_rootfs(str(area / "g"), "x")
        assert leftovers(store) == []

    def test_data_after_the_end(self, store: ImageStore, area: Path) -> None:
        tar = LayerBuilder().file("f").tar()
        hidden = LayerBuilder().file("hidden").tar()
        refused(store, area, tar + hidden, why="data after its end")
        (area / "f").write_bytes(gzip.compress(tar) + b"more")
        with pytest.raises(Corrupt):
            store.import_rootfs(str(area / "f"), "x")
        assert leftovers(store) == []

    def test_wrong_diff_id(self, store: ImageStore, area: Path) -> None:
        tar = LayerBuilder().file("f").tar()
        config = image_config([LayerBuilder().file("other").tar()])
        (area / "a").write_bytes(docker_archive([tar], ["x:1"], config))
        with pytest.raises(Corrupt, match="promises"):
            store.load(str(area / "a"))
        assert leftovers(store) == []

    def test_10000_layers(self, store: ImageStore, area: Path) -> None:
        tar = LayerBuilder().tar()
        (area / "a").write_bytes(docker_archive([tar] * 10_000, ["x:1"]))
        with pytest.raises(Invalid, match="10000 layers, more than 127"):
            store.load(str(area / "a"))
        assert leftovers(store) == []

    def test_full_disk(self, area: Path) -> None:
        mount = area / "small"
        mount.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", mount], check=True)
        try:
            store = open_store(mount / "root")
            data = LayerBuilder().file("f", bytes(8 * MIB)).tar()
            (area / "a").write_bytes(docker_archive([data], ["x:1"]))
            with pytest.raises(Exhausted, match="no space left"):
                store.load(str(area / "a"))
            (area / "b").write_bytes(gzip.compress(data, 1))
            with pytest.raises(Exhausted, match="no space left"):
                store.import_rootfs(str(area / "b"), "x")
            assert leftovers(store) == []
        finally:
            subprocess.run(["umount", mount], check=True)


class TestMemory:
    """What is small on the wire and large in memory or on disk; the engine is a process apart."""

    def run(self, area: Path, make: Callable[[Path], object], expect: str) -> str:
        """Import the archive that ``make`` writes in a process apart; return what it says.

        ``expect`` is ``ok`` or the name of an error class. Peak memory is bounded by the kernel's
        account of the process, which is what a user would see.
        """
        path = area / "bomb"
        make(path)
        code = textwrap.dedent(
            """
            import resource, sys
            from proa.errors import ProaError
            from proa.image.limits import GIB, MIB, Limits
            from proa.image.store import ImageStore
            from tests.support.images import MemoryReferences
            limits = Limits(ratio_floor_bytes=8 * MIB)
            store = ImageStore(sys.argv[2], MemoryReferences(), limits=limits)
            try:
                image = store.import_rootfs(sys.argv[1], "x")
                said = "ok"
            except ProaError as error:
                said = f"{type(error).__name__}: {error}"
            print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, said)
            """
        )
        root = area / "bombed"
        root.mkdir(mode=0o700)
        done = subprocess.run(
            [sys.executable, "-c", code, str(path), str(root)],
            capture_output=True,
            text=True,
            check=True,
            timeout=110,
        )
        peak, _, said = done.stdout.strip().partition(" ")
        assert int(peak) < MEMORY_LIMIT_BYTES, f"peak of {int(peak) // MIB} MiB"
        assert said.startswith(expect), said
        if expect != "ok":
            assert os.listdir(root / "snapshots/staging") == []
        return said

    def test_gzip_bomb(self, area: Path) -> None:
        def make(path: Path) -> None:
            with gzip.open(path, "wb", 9) as file:
                file.write(header("f", size=256 * MIB))
                for _ in range(256):
                    file.write(bytes(MIB))
                file.write(END)

        assert "expands more than" in self.run(area, make, "Invalid")

    def test_zstd_bomb(self, area: Path) -> None:
        def make(path: Path) -> None:
            with open(path, "wb") as file:
                packer = zstd_module().ZstdCompressor()
                file.write(packer.compress(header("f", size=256 * MIB)))
                for _ in range(256):
                    file.write(packer.compress(bytes(MIB)))
                file.write(packer.compress(END) + packer.flush())

        assert "expands more than" in self.run(area, make, "Invalid")

    def test_zstd_window(self, area: Path) -> None:
        # A frame that announces a window of 2 GiB (RFC 8878, 3.1.1.1.2).
        frame = b"\x28\xb5\x2f\xfd\x00" + bytes([21 << 3]) + b"\x01\x00\x00"
        said = self.run(area, lambda path: path.write_bytes(frame * 2), "Corrupt")
        assert "zstd" in said

    def test_1_gib_pax_header(self, area: Path) -> None:
        def make(path: Path) -> None:
            with open(path, "wb") as file:
                file.write(header("x", "x", size=GIB))
                file.truncate(GIB + 10 * BLOCK)

        assert "extended header of 1073741824 bytes" in self.run(area, make, "Invalid")

    def test_1_gib_long_name(self, area: Path) -> None:
        def make(path: Path) -> None:
            with open(path, "wb") as file:
                file.write(header("././@LongLink", "L", size=GIB))
                file.truncate(GIB + 10 * BLOCK)

        self.run(area, make, "Invalid")

    def test_many_pax_headers_for_one_entry(self, area: Path) -> None:
        def make(path: Path) -> None:
            with gzip.open(path, "wb", 1) as file:
                for number in range(300):
                    key = f"SCHILY.xattr.user.{number}"
                    records = [(f"{key}.{n}", os.urandom(64) * 900) for n in range(15)]
                    from tests.support.layers import pax

                    file.write(pax(records))
                file.write(header("f") + END)

        self.run(area, make, "Invalid")

    def test_1_tb_sparse(self, area: Path) -> None:
        size = str(1 << 40).encode()
        records = (("GNU.sparse.map", b"0,1"), ("GNU.sparse.size", size))
        data = LayerBuilder().records(*records).file("f", b"x").tar()
        self.run(area, lambda path: path.write_bytes(data), "ok")
        (snapshot,) = (area / "bombed/snapshots").glob("*/fs/f")
        assert snapshot.stat().st_size == 1 << 40
        assert snapshot.stat().st_blocks * 512 < MIB

    def test_sparse_map_without_end(self, area: Path) -> None:
        def make(path: Path) -> None:
            with open(path, "wb") as file:
                block = header("f", "S", size=0)
                file.write(_extended(block))
                for _ in range(200_000):
                    file.write(_extended(bytes(BLOCK), offset=504))

        self.run(area, make, "Corrupt")

    def test_many_entries(self, area: Path) -> None:
        def make(path: Path) -> None:
            with gzip.open(path, "wb", 1) as file:
                for number in range(ENTRIES):
                    # Directories among them: their times are kept until their content is there.
                    directory = number // 1000
                    if number % 1000 == 0:
                        file.write(header(f"d{directory}/", "5", mode=0o755, mtime=5))
                    file.write(header(f"d{directory}/f{number}", uid=0, gid=0))
                file.write(END)

        self.run(area, make, "ok")

    def test_many_implied_directories(self, area: Path) -> None:
        def make(path: Path) -> None:
            with gzip.open(path, "wb", 1) as file:
                for number in range(20):
                    from tests.support.layers import pax

                    deep = b"%d/" % number + b"d/" * 2000 + b"f"
                    file.write(pax([("path", deep)]) + header("f"))
                file.write(END)

        assert "too many directories" in self.run(area, make, "Invalid")

    def test_many_documents(self, store: ImageStore, area: Path) -> None:
        with open(area / "a", "wb") as file:
            for number in range(40):
                file.write(header(f"{number}.json", size=MIB) + bytes(MIB))
            file.write(END)
        with pytest.raises(Invalid, match="documents too long"):
            store.load(str(area / "a"))
        with open(area / "b", "wb") as file:
            for number in range(20_000):
                file.write(header(f"VERSION/{number}", "5"))
            file.write(END)
        with pytest.raises(Invalid, match="more than 16384 members"):
            store.load(str(area / "b"))
        assert leftovers(store) == []


def _kind(path: Path) -> tuple[int, int]:
    status = path.lstat()
    return status.st_mode, status.st_rdev


def _extended(block: bytes, offset: int = 482) -> bytes:
    """Return a header or extension block of GNU's sparse format that says that one more follows."""
    from tests.support.layers import seal

    changed = bytearray(block)
    for pair in range(21 if offset == 504 else 0):
        changed[pair * 24 : pair * 24 + 24] = b"00000000000\x0000000000000\x00"
    changed[offset] = 1
    return bytes(changed) if offset == 504 else seal(changed)
