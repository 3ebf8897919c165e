"""Layers on a real disk: against GNU tar, under a real overlay, and killed at every step."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from proa.engine.state.database import Database
from proa.engine.state.images import ImageNameTable
from proa.errors import NotFound
from proa.image.store import ImageStore
from tests.support.images import debian_archive, load_layers, open_store, stacked_archive
from tests.support.layers import LayerBuilder, docker_archive

pytestmark = pytest.mark.requires("root")

_FIND = "%P %y %m %U %G %s %T@ %l %n\n"


def listing(path: Path) -> list[str]:
    """Describe a tree: kind, mode, owner, size, time, link target and count of every name."""
    done = subprocess.run(
        ["find", ".", "-printf", _FIND], cwd=path, check=True, capture_output=True, text=True
    )
    # The size of a directory is a matter of its filesystem's history.
    lines = []
    for line in done.stdout.splitlines():
        words = line.split(" ")
        if words[1] == "d":
            words[5] = "-"
        lines.append(" ".join(words))
    return sorted(lines)


def xattrs(path: Path) -> dict[str, dict[str, bytes]]:
    found = {}
    for directory, directories, files in os.walk(path):
        for name in [*directories, *files]:
            full = os.path.join(directory, name)
            names = os.listxattr(full, follow_symlinks=False)
            if names:
                found[os.path.relpath(full, path)] = {
                    one: os.getxattr(full, one, follow_symlinks=False) for one in names
                }
    return found


@pytest.mark.requires("mmdebstrap", "tar")
def test_debian_as_gnu_tar_unpacks_it(tmp_path: Path) -> None:
    store = open_store(tmp_path / "root")
    (image,) = store.load(debian_archive())
    ours = Path(store.root, image.lowers[0])
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    blob = store.content.blob_path(image.layers[0].blob.digest)
    words = ["--numeric-owner", "--xattrs", "--xattrs-include=*", "-p"]
    subprocess.run(["tar", "-xzf", blob, "-C", theirs, *words], check=True)
    assert listing(ours) == listing(theirs)
    assert xattrs(ours) == xattrs(theirs)
    compared = ["diff", "-rq", "--no-dereference", f"{ours}/etc", f"{theirs}/etc"]
    assert subprocess.run(compared).returncode == 0


@pytest.fixture
def merged(tmp_path: Path) -> Iterator[Path]:
    target = tmp_path / "merged"
    target.mkdir()
    yield target
    subprocess.run(["umount", "-q", target])


@pytest.mark.requires("overlay")
def test_the_kernel_sees_what_the_layers_say(tmp_path: Path, merged: Path) -> None:
    store = open_store(tmp_path / "root")
    image = load_layers(
        store,
        [
            LayerBuilder()
            .directory("./", 0o751, mtime=7)
            .directory("etc", 0o711)
            .file("etc/gone")
            .file("etc/kept", b"old")
            .directory("opaque")
            .file("opaque/old")
            .directory("recreated")
            .file("recreated/old")
            .file("shared", b"linked")
            .tar(),
            LayerBuilder()
            .file("etc/.wh.gone")
            .file("etc/new", b"new")
            .directory("opaque")
            .file("opaque/.wh..wh..opq")
            .file("opaque/new")
            .file(".wh.recreated")
            .directory("recreated")
            .file("recreated/new")
            .hardlink("alias", "shared")
            .tar(),
        ],
        str(tmp_path / "a"),
    )
    lowers = ":".join(image.lowers)
    subprocess.run(
        ["mount", "-t", "overlay", "none", "-o", f"userxattr,lowerdir={lowers}", merged],
        check=True,
        cwd=store.root,
    )
    assert sorted(os.listdir(merged / "etc")) == ["kept", "new"]
    assert os.listdir(merged / "opaque") == ["new"]
    assert os.listdir(merged / "recreated") == ["new"]
    assert (merged / "alias").read_bytes() == b"linked"
    # Neither has an entry in the upper layer: their attributes come from the lower one.
    assert (merged / "etc").stat().st_mode & 0o777 == 0o711
    assert (merged.stat().st_mode & 0o777, merged.stat().st_mtime) == (0o751, 7)


@pytest.mark.requires("overlay")
def test_127_layers_in_one_page(tmp_path: Path, merged: Path) -> None:
    store = open_store(tmp_path / "root")
    stacked_archive(str(tmp_path / "a"), 127)
    (image,) = store.load(str(tmp_path / "a"))
    lowers = ":".join(image.lowers)
    subprocess.run(
        ["mount", "-t", "overlay", "none", "-o", f"userxattr,lowerdir={lowers}", merged],
        check=True,
        cwd=store.root,
    )
    assert len(os.listdir(merged)) == 127


_CRASH = textwrap.dedent(
    """
    import os, signal, sys
    from proa.engine.state.database import Database
    from proa.engine.state.images import ImageNameTable
    from proa.image.store import ImageStore
    root, verb, source, limit = sys.argv[1:4] + [int(sys.argv[4])]
    store = ImageStore(root, ImageNameTable(Database(root)))
    watched = {"os.rename", "os.symlink", "os.remove", "os.mkdir", "os.rmdir", "os.link"}
    count = 0

    def hook(event, arguments):
        global count
        if event in watched:
            count += 1
            if count == limit:
                os.kill(os.getpid(), signal.SIGKILL)

    # Imported before counting, so that only the store's own steps are crash points.
    import proa.image.archive.load, proa.image.gc, concurrent.futures.thread, isal.igzip_lib
    sys.addaudithook(hook)
    if verb == "load":
        store.load(source)
    else:
        store.remove(source)
    print(count)
    """
)


def crash(root: Path, verb: str, source: str, step: int) -> int | None:
    """Load or remove in a process that is killed before its nth change of the disk.

    Returns:
        The number of changes when there were fewer, None when it was killed.
    """
    done = subprocess.run(
        [sys.executable, "-c", _CRASH, str(root), verb, source, str(step)],
        capture_output=True,
        text=True,
    )
    if done.returncode == -signal.SIGKILL:
        return None
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def check(root: Path, path: str) -> None:
    """Check that a store holds the image wholly or not at all, and that everything still works."""
    store = ImageStore(str(root), ImageNameTable(Database(str(root))))
    try:
        image = store.get("app:1")
    except NotFound:
        (image,) = store.load(path)
    for layer in image.layers:
        assert store.content.find(layer.blob.digest) == layer.blob.size
    for number, lower in enumerate(reversed(image.lowers)):
        assert os.listdir(f"{store.root}/{lower}") == [f"f{number}"]
    store.prune(every=True)
    for name in ("content/blobs/sha256", "content/ingest", "snapshots/staging", "snapshots/l"):
        assert os.listdir(root / name) == [], name


@pytest.mark.parametrize("verb", ["load", "remove"])
def test_killed_at_every_step(tmp_path: Path, verb: str) -> None:
    path = str(tmp_path / "a")
    tars = [LayerBuilder().file(f"f{number}", b"x").tar() for number in range(3)]
    Path(path).write_bytes(docker_archive(tars, ["app:1"]))
    step, finished = 1, None
    while finished is None:
        root = tmp_path / f"root{step}"
        root.mkdir(mode=0o700)
        if verb == "remove":
            ImageStore(str(root), ImageNameTable(Database(str(root)))).load(path)
        finished = crash(root, verb, path if verb == "load" else "app:1", step)
        check(root, path)
        step += 1
    assert step > 15, "too few crash points: the hook no longer sees the store's steps"
