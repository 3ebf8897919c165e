"""``import``, ``load``, ``save``, ``tag``, ``images``, ``history``, ``rmi``, ``image inspect``."""

from __future__ import annotations

import gzip
import io
import json
import re
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.engines import Proa, supervisors, temporary_root
from tests.support.images import ensure_busybox

pytestmark = pytest.mark.requires("root", "userns", "overlay", "busybox")


@pytest.fixture
def box(fresh_proa: Proa) -> Proa:
    """The command line on a root of its own that has the busybox image."""
    ensure_busybox(fresh_proa)
    return fresh_proa


@pytest.fixture
def other() -> Iterator[Proa]:
    """A second engine, to carry images to."""
    with temporary_root() as proa:
        yield proa
        # The root's end kills what still tidies up behind the last answer.
        deadline = time.monotonic() + 10
        while supervisors(proa) and time.monotonic() < deadline:
            time.sleep(0.01)


def save(box: Proa, *words: str) -> bytes:
    with box.spawn("save", *words) as saving:
        out, err = saving.communicate(timeout=60)
    assert saving.returncode == 0, err
    return bytes(out)


def hello(box: Proa, image: str) -> str:
    return box.ok("run", "--rm", "--network", "none", image, "echo", "Hello")


class TestNames:
    def test_tag_list_untag(self, box: Proa) -> None:
        box.ok("tag", "busybox", "quay.io/team/app:v1")
        header, *rows = box.ok("images").splitlines()
        assert header.split() == ["REPOSITORY", "TAG", "IMAGE", "ID", "CREATED", "SIZE"]
        names = {tuple(row.split()[:2]) for row in rows}
        assert names == {("busybox", "latest"), ("quay.io/team/app", "v1")}
        assert len(set(box.ok("images", "-q").split())) == 1
        assert (
            box.ok("images", "--format", "{{.Repository}}", "quay.io/team/app")
            == "quay.io/team/app"
        )
        assert box.ok("rmi", "quay.io/team/app:v1") == "Untagged: quay.io/team/app:v1"
        assert hello(box, "busybox") == "Hello"

    def test_the_last_name_takes_the_image_along(self, box: Proa) -> None:
        image = box.ok("images", "-q", "--no-trunc")
        lines = box.ok("rmi", "busybox").splitlines()
        assert lines[0] == "Untagged: busybox:latest"
        assert f"Deleted: {image}" in lines
        assert box.ok("images", "-q") == ""
        assert box("run", "busybox").code == 125

    def test_an_image_in_use_stays(self, box: Proa) -> None:
        box.ok("create", "--name", "user", "busybox")
        done = box("rmi", "busybox")
        assert done.code == 1
        assert "user" in done.stderr or "container" in done.stderr
        assert hello(box, "busybox") == "Hello"
        box.ok("rm", "user")

    @pytest.mark.parametrize("name", ["UPPER", "a:b:c", "-x", "a" * 300])
    def test_bad_names(self, box: Proa, name: str) -> None:
        done = box("tag", "--", "busybox", name)
        assert done.code == 1
        assert name[:20] in done.stderr

    @pytest.mark.parametrize("verb", ["rmi", "history", "save"])
    def test_unknown(self, box: Proa, verb: str) -> None:
        done = box(verb, "nx")
        assert (done.code, done.stdout) == (1, "")
        assert "nx" in done.stderr
        assert len(done.stderr.splitlines()) == 1


class TestInspect:
    def test_document(self, box: Proa) -> None:
        (document,) = json.loads(box.ok("image", "inspect", "busybox"))
        assert document["Os"] == "linux"
        assert document["RepoTags"] == ["busybox:latest"]
        assert re.fullmatch("sha256:[0-9a-f]{64}", document["Id"])
        assert box.ok("inspect", "--type", "image", "-f", "{{.Id}}", "busybox") == document["Id"]

    def test_history(self, box: Proa) -> None:
        header, *rows = box.ok("history", "busybox").splitlines()
        assert header.split()[0] == "IMAGE"
        assert rows


class TestImport:
    def tar(self, **files: bytes) -> bytes:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            for name, data in files.items():
                info = tarfile.TarInfo(name)
                info.size, info.mode = len(data), 0o755
                tar.addfile(info, io.BytesIO(data))
        return buffer.getvalue()

    def busybox(self) -> bytes:
        with open(subprocess.check_output(["which", "busybox"], text=True).strip(), "rb") as file:
            return self.tar(busybox=file.read())

    def test_from_standard_input(self, box: Proa) -> None:
        image = box.ok(
            "import", "-c", 'ENTRYPOINT ["/busybox"]', "-c", "CMD echo made", "-m", "why",
            "-", "made:1", stdin=self.busybox(),
        )  # fmt: skip
        assert image.startswith("sha256:")
        assert box.ok("run", "--rm", "--network", "none", "made:1", "echo", "hi") == "hi"
        assert "why" in box.ok("history", "--no-trunc", "made:1")

    def test_from_a_compressed_file(self, box: Proa, tmp_path: Path) -> None:
        (tmp_path / "root.tar.gz").write_bytes(gzip.compress(self.busybox(), 1))
        box.ok("import", "root.tar.gz", "packed", cwd=str(tmp_path))
        words = ("run", "--rm", "--network", "none", "packed", "/busybox", "echo", "hi")
        assert box.ok(*words) == "hi"

    @pytest.mark.parametrize("data", [b"", b"no archive at all", b"\x1f\x8b\x08"])
    def test_what_is_no_archive(self, box: Proa, data: bytes) -> None:
        before = box.ok("images", "-q")
        done = box("import", "-", "bad", stdin=data)
        assert (done.code, done.stdout) == (1, "")
        assert len(done.stderr.splitlines()) == 1
        assert box.ok("images", "-q") == before

    def test_cut_short(self, box: Proa) -> None:
        done = box("import", "-", "bad", stdin=self.busybox()[:100_000])
        assert done.code == 1
        assert box.ok("images", "bad", "-q") == ""

    def test_missing_file(self, box: Proa) -> None:
        done = box("import", "/nx/root.tar")
        assert done.code == 1
        assert "/nx/root.tar" in done.stderr


class TestArchives:
    @pytest.mark.parametrize(
        "words",
        [
            [],
            ["--format", "oci-archive"],
            ["--compression", "gzip"],
            ["--format", "oci-archive", "--compression", "zstd"],
        ],
        ids=" ".join,
    )
    def test_through_a_pipe(self, box: Proa, other: Proa, words: list[str]) -> None:
        archive = save(box, *words, "busybox")
        assert other.ok("load", stdin=archive).splitlines()[-1] == "Loaded image: busybox:latest"
        assert other.ok("images", "-q") == box.ok("images", "-q")
        assert hello(other, "busybox") == "Hello"

    def test_through_a_file(self, box: Proa, other: Proa, tmp_path: Path) -> None:
        box.ok("save", "-o", "box.tar", "busybox", cwd=str(tmp_path))
        assert other.ok("load", "-q", "-i", "box.tar", cwd=str(tmp_path)).startswith("Loaded image")
        assert hello(other, "busybox") == "Hello"

    def test_through_a_folder(self, box: Proa, other: Proa, tmp_path: Path) -> None:
        box.ok("save", "--format", "oci-dir", "-o", "layout", "busybox", cwd=str(tmp_path))
        assert (tmp_path / "layout" / "oci-layout").exists()
        other.ok("load", "-q", "-i", "layout", cwd=str(tmp_path))
        assert hello(other, "busybox") == "Hello"

    def test_docker_would_read_it(self, box: Proa) -> None:
        with tarfile.open(fileobj=io.BytesIO(save(box, "busybox"))) as tar:
            names = tar.getnames()
            manifest = tar.extractfile("manifest.json")
            assert manifest is not None
            (entry,) = json.load(manifest)
        assert entry["RepoTags"] == ["busybox:latest"]
        assert entry["Config"] in names
        assert set(entry["Layers"]) <= set(names)

    def test_corrupt_and_short(self, box: Proa, other: Proa) -> None:
        archive = save(box, "busybox")
        for data in (
            archive[: len(archive) // 2],
            archive[:-200_000].replace(b"\x7fELF", b"\x7fELE"),
        ):
            done = other("load", stdin=data)
            assert (done.code, done.stdout) == (1, "")
            assert other.ok("images", "-q") == ""

    def test_nothing_is_written_for_an_unknown_image(self, box: Proa, tmp_path: Path) -> None:
        done = box("save", "-o", "x.tar", "nx", cwd=str(tmp_path))
        assert done.code == 1
        assert list(tmp_path.iterdir()) == []
