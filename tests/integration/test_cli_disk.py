"""``system df``, ``system prune``, ``image prune``: what things take, and getting it back."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

import proa
from tests.support.engines import Proa
from tests.support.images import ensure_busybox
from tests.support.layers import LayerBuilder, docker_archive

pytestmark = pytest.mark.requires("root", "userns", "overlay", "busybox")

STORE = ("content", "images", "snapshots")
BASE = LayerBuilder().file("base", os.urandom(3_000_000)).tar()
FIRST = LayerBuilder().file("first", os.urandom(1_000_000)).file("small", b"x").tar()
SECOND = LayerBuilder().file("second", os.urandom(2_000_000)).tar()


@pytest.fixture
def box(fresh_proa: Proa) -> Proa:
    """The command line on a root of its own that has the busybox image."""
    ensure_busybox(fresh_proa)
    return fresh_proa


def du(*paths: str) -> int:
    """Return what du(1) says, in bytes."""
    words = ("du", "-s", "-c", "--block-size=1", *paths)
    said = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    return int(said.splitlines()[-1].split()[0])


def du_store(box: Proa) -> int:
    paths = [f"{box.root}/{name}" for name in STORE]
    return du(*(path for path in paths if os.path.exists(path)))


def load(box: Proa, tmp_path: Path, name: str, tars: list[bytes]) -> None:
    (tmp_path / "image.tar").write_bytes(docker_archive(tars, names=[name]))
    box.ok("load", "-i", str(tmp_path / "image.tar"))


def engine(box: Proa) -> proa.Engine:
    return proa.Engine(box.root, box.run_dir)


class TestDf:
    def test_images_agree_with_du(self, box: Proa, tmp_path: Path) -> None:
        load(box, tmp_path, "app:1", [BASE, FIRST])
        load(box, tmp_path, "app:2", [BASE, SECOND])
        with engine(box) as library:
            usage = library.system.df().images
        by_name = {one.image.references[0].rpartition("/")[2]: one for one in usage.images}
        assert usage.size_bytes == pytest.approx(du_store(box), rel=0.01)
        one, two = by_name["app:1"], by_name["app:2"]
        shared = one.shared_bytes
        assert shared == two.shared_bytes
        assert 6_000_000 < shared < 6_100_000  # as it was sent and unpacked
        assert 2_000_000 < one.unique_bytes < 2_100_000
        assert 4_000_000 < two.unique_bytes < 4_100_000
        assert by_name["busybox:latest"].shared_bytes == 0
        unique = sum(image.unique_bytes for image in usage.images)
        assert unique + shared == usage.size_bytes
        before = du_store(box)
        box.ok("rmi", "app:1")
        assert before - du_store(box) == pytest.approx(one.unique_bytes, rel=0.02)

    def test_containers_and_volumes_agree_with_du(self, box: Proa) -> None:
        words = ("-v", "data:/d", "busybox", "sh", "-c")
        write = "head -c 300000 /dev/urandom | tee /d/file > /file"
        box.ok("run", "--name", "writer", "--network", "none", *words, write)
        with engine(box) as library:
            usage = library.system.df()
        ((container,), (volume,)) = usage.containers, usage.volumes
        directory = f"{box.root}/containers/{container.container.id}"
        assert container.size_bytes == du(directory)
        assert container.writable_bytes == du(f"{directory}/upper")
        assert volume.size_bytes == du(f"{box.root}/volumes/data")
        assert volume.containers == 1
        images, containers, volumes, _cache = usage.summarize()
        assert (images.total, images.active, images.reclaimable_bytes) == (1, 1, 0)
        assert (containers.total, containers.active) == (1, 0)
        assert containers.reclaimable_bytes == container.size_bytes
        assert (volumes.active, volumes.reclaimable_bytes) == (1, 0)

    def test_tables(self, box: Proa) -> None:
        box.ok("create", "--name", "made", "busybox")
        rows = [re.split(r" {2,}", row) for row in box.ok("system", "df").splitlines()]
        assert rows[0] == ["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"]
        assert [row[:3] for row in rows[1:]] == [
            ["Images", "1", "1"],
            ["Containers", "1", "0"],
            ["Local Volumes", "0", "0"],
            ["Build Cache", "0", "0"],
        ]
        assert rows[2][4].endswith("(100%)")
        verbose = box.ok("system", "df", "-v")
        assert "Images space usage:" in verbose
        assert re.search(r"^busybox +latest +[0-9a-f]{12} .* 0B +\S+ +1$", verbose, re.MULTILINE)
        assert re.search(
            r'^[0-9a-f]{12} +busybox +"sh" +0 .* Created +made$', verbose, re.MULTILINE
        )
        document = json.loads(box.ok("system", "df", "-v", "--format", "json"))
        assert [image["Repository"] for image in document["Images"]] == ["busybox"]
        assert box.ok("system", "df", "--format", "{{.Type}}").split("\n")[0] == "Images"


class TestPrune:
    def test_all_gives_back_everything(self, fresh_proa: Proa, tmp_path: Path) -> None:
        """Within one per cent of empty: what is left are the directories themselves."""
        box = fresh_proa
        load(box, tmp_path, "first:1", [FIRST])
        box.ok("rmi", "first:1")
        empty = du_store(box)
        load(box, tmp_path, "app:1", [BASE, FIRST])
        load(box, tmp_path, "app:2", [BASE, SECOND])
        Path(f"{box.root}/content/ingest/sha256-{'0' * 64}").write_bytes(os.urandom(500_000))
        full = du_store(box)
        said = box.ok("system", "prune", "--all", "--force")
        assert "Deleted Images:\nuntagged: app:1\ndeleted: sha256:" in said
        after = du_store(box)
        freed = float(said.rpartition("Total reclaimed space: ")[2].removesuffix("MB"))
        assert freed * 1e6 == pytest.approx(full - after, rel=0.01)
        assert after - empty < 0.01 * full
        assert after == pytest.approx(empty, rel=0.01)
        with engine(box) as library:
            assert library.system.df().images.size_bytes == 0

    def test_what_is_used_stays(self, box: Proa, tmp_path: Path) -> None:
        load(box, tmp_path, "app:1", [BASE])
        load(box, tmp_path, "app:1", [SECOND])  # the one before is dangling now
        box.ok("create", "--name", "made", "busybox")
        said = box.ok("image", "prune", "-f")
        assert said.count("deleted: sha256:") == 2  # an image and its layer
        assert "untagged" not in said
        assert box.ok("images", "--format", "{{.Repository}}").split() == ["app", "busybox"]
        assert "untagged: app:1" in box.ok("image", "prune", "-a", "-f")
        assert box.ok("images", "--format", "{{.Repository}}").split() == ["busybox"]

    def test_filters(self, box: Proa, tmp_path: Path) -> None:
        changes = ("--change", "LABEL keep=yes")
        (tmp_path / "root.tar").write_bytes(FIRST)
        box.ok("import", *changes, str(tmp_path / "root.tar"), "kept:1")
        box.ok("image", "prune", "-a", "-f", "--filter", "label!=keep")
        assert box.ok("images", "--format", "{{.Repository}}") == "kept"
        box.ok("image", "prune", "-a", "-f", "--filter", "until=24h")
        assert box.ok("images", "-q") != ""
        done = box("image", "prune", "-f", "--filter", "color=red")
        assert (done.code, "invalid filter 'color'" in done.stderr) == (1, True)
        box.ok("image", "prune", "-a", "-f", "--filter", "label=keep=yes")
        assert box.ok("images", "-q") == ""

    def test_system(self, box: Proa) -> None:
        box.ok("create", "--name", "stopped", "-v", "/anonymous", "--label", "a=b", "busybox")
        box.ok("network", "create", "lonely")
        box.ok("volume", "create", "named")
        assert box("system", "prune", stdin=b"n\n").stdout == ""
        asked = box("system", "prune", "--volumes", "--filter", "label=a", stdin=b"n\n").stderr
        assert "WARNING! This will remove:\n  - all stopped containers\n" in asked
        assert "  - all anonymous volumes not used" in asked
        assert "filtered with:\n  - label=a\n" in asked
        box.ok("system", "prune", "-f", "--filter", "label!=a")
        assert box.containers() != []
        assert "lonely" not in box.ok("network", "ls")
        done = box("system", "prune", "-f", "--volumes", "--filter", "until=1h")
        assert (done.code, "until" in done.stderr) == (1, True)
        said = box.ok("system", "prune", "-f", "--volumes")
        assert "Deleted Containers:" in said
        assert re.search(r"Deleted Volumes:\n[0-9a-f]{64}\n", said)
        assert box.containers() == []
        assert box.ok("volume", "ls", "-q") == "named"
        assert box.ok("images", "--format", "{{.Repository}}") == "busybox"


def test_a_killed_load_leaves_nothing_that_the_next_does_not_remove(
    fresh_proa: Proa, tmp_path: Path
) -> None:
    """The archive's pipe stands still when the loader is in the middle of a blob."""
    archive = docker_archive([LayerBuilder().file("big", os.urandom(40_000_000)).tar()], ["big:1"])
    with fresh_proa.spawn("load") as loading:
        assert loading.stdin is not None
        loading.stdin.write(archive[:30_000_000])
        loading.stdin.flush()
        ours = (os.getpid(), loading.pid)  # the command line; the worker dies before it notices
        (worker,) = [pid for pid in readers_of(loading.stdin.fileno()) if pid not in ours]
        os.kill(worker, signal.SIGKILL)
        loading.stdin.close()
        loading.wait(timeout=20)
    assert os.listdir(f"{fresh_proa.root}/content/ingest") != []
    load(fresh_proa, tmp_path, "small:1", [FIRST])
    assert du_store(fresh_proa) < 3_000_000
    assert os.listdir(f"{fresh_proa.root}/content/ingest") == []
    assert os.listdir(f"{fresh_proa.root}/snapshots/staging") == []


def readers_of(write_fd: int) -> list[int]:
    """Return who has the other end of a pipe open."""
    pipe = os.readlink(f"/proc/self/fd/{write_fd}")
    found = []
    for pid in (int(name) for name in os.listdir("/proc") if name.isdigit()):
        try:
            fds = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
        except OSError:
            continue
        if pipe in fds:
            found.append(pid)
    return found
