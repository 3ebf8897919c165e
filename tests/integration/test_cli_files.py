"""``cp``, ``diff``, ``export`` and ``commit`` on running and on stopped containers."""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.engines import Proa
from tests.support.images import ensure_busybox

pytestmark = pytest.mark.requires("root", "userns", "overlay", "busybox")

SETUP = (
    "echo data > /vol/f; echo x > /x; chown 5:6 /x; chmod 4755 /x; mkdir /etc/new; rm /etc/passwd; "
    "ln -s /vol /lnk; echo mem > /mem/m; echo ready; exec sleep 600"
)


@pytest.fixture
def box(proa: Proa) -> Proa:
    """The command line on a root that has the busybox image."""
    ensure_busybox(proa)
    return proa


@pytest.fixture(params=["running", "stopped"])
def changed(request: pytest.FixtureRequest, box: Proa) -> Iterator[tuple[Proa, str]]:
    """A container that changed things, in both states; its name is its state."""
    name = request.param
    box.ok(
        "run", "-d", "--name", name, "--network", "none", "-v", "/vol", "--tmpfs", "/mem",
        "-e", "A=1", "busybox", "sh", "-c", SETUP,
    )  # fmt: skip
    deadline = time.monotonic() + 10
    while box.ok("logs", name) != "ready":
        assert time.monotonic() < deadline
        time.sleep(0.005)
    if name == "stopped":
        box.ok("kill", name)
        box.ok("wait", name)
    yield box, name
    box.ok("rm", "-f", "-v", name)


def raw(box: Proa, *words: str, stdin: bytes = b"") -> bytes:
    from tests.support.engines import launcher

    done = subprocess.run(
        [*launcher(), *words], input=stdin, capture_output=True, env=box.environment(), check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


class TestCp:
    def test_out(self, changed: tuple[Proa, str], tmp_path: Path) -> None:
        box, name = changed
        box.ok("cp", f"{name}:/x", str(tmp_path))
        box.ok("cp", f"{name}:/vol", str(tmp_path / "renamed"))
        box.ok("cp", f"{name}:/vol/.", str(tmp_path))
        box.ok("cp", f"{name}:/lnk", str(tmp_path))
        assert (tmp_path / "x").read_text() == "x\n"
        status = (tmp_path / "x").stat()
        assert (status.st_uid, status.st_mode & 0o7777) == (os.geteuid(), 0o755)
        assert (tmp_path / "renamed" / "f").read_text() == "data\n"
        assert (tmp_path / "f").read_text() == "data\n"
        assert os.readlink(tmp_path / "lnk") == "/vol"
        box.ok("cp", "-L", f"{name}:/lnk", str(tmp_path / "followed"))
        assert (tmp_path / "followed" / "f").read_text() == "data\n"
        box.ok("cp", "-a", f"{name}:/x", str(tmp_path / "owned"))
        status = (tmp_path / "owned").stat()
        assert (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (5, 6, 0o4755)

    def test_in(self, changed: tuple[Proa, str], tmp_path: Path) -> None:
        box, name = changed
        source = tmp_path / "src"
        (source / "sub").mkdir(parents=True)
        (source / "one").write_text("1")
        (source / "sub" / "two").write_text("2")
        os.chown(source / "one", 7, 8)
        box.ok("cp", str(source), f"{name}:/vol")
        box.ok("cp", f"{source}/.", f"{name}:/lnk")
        box.ok("cp", str(source / "one"), f"{name}:/named")
        box.ok("cp", "-a", str(source / "one"), f"{name}:/vol/owned")
        if name == "stopped":
            box.ok("start", name)
        listed = box.ok(
            "exec", name, "sh", "-c",
            "cd /vol; stat -c '%n %u:%g' src/one src/sub/two one sub/two owned /named",
        ).splitlines()  # fmt: skip
        assert listed == [
            "src/one 0:0", "src/sub/two 0:0", "one 0:0", "sub/two 0:0", "owned 7:8", "/named 0:0",
        ]  # fmt: skip

    def test_a_tmpfs_of_a_running_container(self, box: Proa, tmp_path: Path) -> None:
        box.ok("run", "-d", "--name", "mem", "--network", "none", "--tmpfs", "/mem", "busybox",
               "sleep", "600")  # fmt: skip
        (tmp_path / "f").write_text("hello")
        box.ok("cp", str(tmp_path / "f"), "mem:/mem")
        assert box.ok("exec", "mem", "stat", "-c", "%u %s", "/mem/f") == "0 5"
        box.ok("cp", "mem:/mem/f", str(tmp_path / "back"))
        assert (tmp_path / "back").read_text() == "hello"
        box.ok("rm", "-f", "mem")

    def test_streams(self, changed: tuple[Proa, str]) -> None:
        box, name = changed
        with tarfile.open(fileobj=io.BytesIO(raw(box, "cp", f"{name}:/x", "-"))) as archive:
            member = archive.getmembers()[0]
        assert (member.name, member.uid, member.gid, member.mode) == ("x", 5, 6, 0o4755)
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as archive:
            member = tarfile.TarInfo("in/file")
            member.size, member.uid = 2, 9
            archive.addfile(member, io.BytesIO(b"ok"))
        raw(box, "cp", "-", f"{name}:/vol", stdin=out.getvalue())
        back = raw(box, "cp", f"{name}:/vol/in/file", "-")
        with tarfile.open(fileobj=io.BytesIO(back)) as archive:
            assert archive.getmembers()[0].uid == 9

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (("{name}:/nope", "."), "could not find the file /nope"),
            (("/nonexistent", "{name}:/"), "no such file"),
            (("/etc/passwd", "{name}:/no/such/dir/x"), "could not find the file /no/such/dir"),
            (("/etc/passwd", "{name}:/nodir/"), "no such directory: /nodir/"),
            (("/etc", "{name}:/x"), "cannot copy the directory /etc over the file /x"),
            (("nocontainer:/x", "."), "no such container: nocontainer"),
            (("/etc/passwd", "nocontainer:/x"), "no such container: nocontainer"),
        ],
    )
    def test_refusals(
        self, changed: tuple[Proa, str], words: tuple[str, str], message: str
    ) -> None:
        box, name = changed
        done = box("cp", *(word.format(name=name) for word in words))
        assert done.code == 1
        assert message in done.stderr

    def test_nothing_is_left_in_a_read_only_container(self, box: Proa, tmp_path: Path) -> None:
        box.ok("create", "--name", "ro", "--read-only", "--network", "none", "busybox")
        (tmp_path / "f").touch()
        done = box("cp", str(tmp_path / "f"), "ro:/f")
        assert done.code == 1
        assert "read-only" in done.stderr
        box.ok("rm", "ro")


def test_diff(changed: tuple[Proa, str]) -> None:
    box, name = changed
    assert box.ok("diff", name).splitlines() == [
        "C /etc", "A /etc/new", "D /etc/passwd", "A /lnk", "A /mem", "A /vol", "A /x",
    ]  # fmt: skip


def test_diff_of_a_container_that_did_nothing(box: Proa) -> None:
    box.ok("run", "--name", "idle", "--network", "none", "busybox", "true")
    assert box.ok("diff", "idle") == ""
    box.ok("rm", "idle")


def test_export(changed: tuple[Proa, str], tmp_path: Path) -> None:
    box, name = changed
    box.ok("export", "-o", str(tmp_path / "root.tar"), name)
    with tarfile.open(tmp_path / "root.tar") as archive:
        members = {member.name: member for member in archive}
    assert (members["x"].uid, members["x"].mode) == (5, 0o4755)
    assert "etc/passwd" not in members
    assert members["vol"].isdir()
    assert "vol/f" not in members
    assert members["bin/sh"].islnk() or members["bin/sh"].isreg()


class TestCommit:
    def test_files_and_configuration(self, changed: tuple[Proa, str]) -> None:
        box, name = changed
        change = 'CMD ["sh","-c","stat -c %u:%g:%a /x; echo $A$B; ls /etc/passwd"]'
        image = box.ok(
            "commit", "-m", "why", "-a", "me", "-c", change, "-c", "ENV B=2", name, f"{name}:1"
        )
        done = box("run", "--rm", "--network", "none", f"{name}:1")
        assert done.stdout.splitlines() == ["5:6:4755", "12"]
        assert done.code == 1  # /etc/passwd stays removed
        document = json.loads(box.ok("image", "inspect", f"{name}:1"))[0]
        assert document["Id"] == image
        base = json.loads(box.ok("image", "inspect", "busybox"))[0]
        layers = document["RootFS"]["Layers"]
        assert layers[:-1] == base["RootFS"]["Layers"]
        assert "me" in json.dumps(document)
        box.ok("rmi", f"{name}:1")

    def test_a_second_commit_adds_a_second_layer(self, box: Proa) -> None:
        for number, base in ((1, "busybox"), (2, "step:1")):
            box.ok("run", "--name", "step", "--network", "none", base,
                   "sh", "-c", f"echo {number} > /{number}; rm -f /{number - 1}")  # fmt: skip
            box.ok("commit", "step", f"step:{number}")
            box.ok("rm", "step")
        assert (
            box.ok("run", "--rm", "--network", "none", "step:2", "sh", "-c", "echo /[0-9]") == "/2"
        )
        box.ok("rmi", "step:2", "step:1")

    def test_a_running_container_runs_on(self, box: Proa) -> None:
        box.ok("run", "-d", "--name", "up", "--network", "none", "busybox", "sleep", "600")
        box.ok("commit", "up", "of-running")
        state = json.loads(box.ok("inspect", "up"))[0]["State"]
        assert (state["Status"], state["Paused"]) == ("running", False)
        box.ok("rm", "-f", "up")
        box.ok("rmi", "of-running")

    def test_a_wrong_change(self, box: Proa) -> None:
        box.ok("create", "--name", "cc", "busybox")
        done = box("commit", "-c", "RUN x", "cc")
        assert done.code == 1
        assert "RUN x" in done.stderr
        box.ok("rm", "cc")


def test_a_container_that_writes_nothing_has_an_empty_layer(proa: Proa) -> None:
    """The places of its mounts are in a layer below the image's, made once for all."""
    ensure_busybox(proa)
    container = proa.ok("create", "--network", "none", "busybox", "true").strip()
    proa.ok("start", "-a", container)
    assert os.listdir(f"{proa.root}/containers/{container}/upper") == []
    assert proa.ok("diff", container) == ""
    proa.ok("rm", container)
