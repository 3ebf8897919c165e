"""``proa update --mount-add`` and ``--mount-rm``: what a running container sees, at once."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.engines import Proa
from tests.support.images import ensure_busybox

pytestmark = pytest.mark.requires("root", "userns", "overlay", "busybox")

RUN = ("run", "-d", "--name", "web", "--network", "none")


@pytest.fixture
def box(proa: Proa) -> Iterator[Proa]:
    """The command line on a root that has the busybox image."""
    ensure_busybox(proa)
    yield proa
    proa.remove_all()


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """A directory of the host with a file."""
    directory = tmp_path / "shared"
    directory.mkdir()
    (directory / "file").write_text("of the host\n")
    return directory


def shell(box: Proa, script: str) -> str:
    return box.ok("exec", "web", "sh", "-c", script)


def mounts(box: Proa) -> dict[str, tuple[str, bool]]:
    (document,) = json.loads(box.ok("inspect", "web"))
    return {item["Destination"]: (item["Type"], item["RW"]) for item in document["Mounts"]}


def await_sleep(box: Proa) -> None:
    """Wait until the supervisor is a keeper: it sleeps when nothing has happened for a moment."""
    deadline = time.monotonic() + 10
    (document,) = json.loads(box.ok("inspect", "web"))
    with open(f"/proc/{document['State']['Pid']}/status") as file:
        parent = next(line.split()[1] for line in file if line.startswith("PPid:"))
    while Path(f"/proc/{parent}/comm").read_text().strip() != "proa-keeper":
        assert time.monotonic() < deadline
        time.sleep(0.01)  # another process' deed


@pytest.mark.parametrize("asleep", [False, True])
def test_a_running_container_sees_them_come_and_go(box: Proa, shared: Path, asleep: bool) -> None:
    box.ok(*RUN, "-v", f"{shared}:/first", "busybox", "sleep", "600")
    if asleep:
        await_sleep(box)
    before = Path("/proc/self/mountinfo").read_text()
    added = (
        "--mount-add", f"{shared}:/made/on/demand:ro",
        "--mount-add", f"type=bind,src={shared}/file,dst=/etc/one",
        "--mount-add", "data:/data",
    )  # fmt: skip
    box.ok("update", *added, "--mount-rm", "/first", "web")
    assert shell(box, "cat /made/on/demand/file /etc/one") == "of the host\nof the host"
    assert "Read-only" in box("exec", "web", "touch", "/made/on/demand/no").stderr
    assert shell(box, "stat -c %u:%g /made/on/demand/file /made /data") == "0:0\n0:0\n0:0"
    shell(box, "echo more >> /etc/one; echo kept > /data/file")
    assert (shared / "file").read_text() == "of the host\nmore\n"
    assert shell(box, "ls /first") == ""
    assert mounts(box) == {
        "/made/on/demand": ("bind", False), "/etc/one": ("bind", True), "/data": ("volume", True),
    }  # fmt: skip
    assert box("volume", "rm", "data").code == 1
    box.ok("update", "--mount-rm", "/made/on/demand/", "--mount-rm", "/etc/one", "web")
    assert shell(box, "ls /made/on/demand; cat /etc/one") == ""
    assert Path("/proc/self/mountinfo").read_text() == before


def test_the_next_start_has_them(box: Proa, shared: Path) -> None:
    box.ok(*RUN, "-v", f"{shared}:/gone", "busybox", "sleep", "600")
    box.ok("update", "--mount-add", f"{shared}:/live", "--mount-rm", "/gone", "web")
    box.ok("restart", "-t", "0", "web")
    assert shell(box, "ls /live; ls /gone") == "file"
    box.ok("stop", "-t", "0", "web")
    box.ok("update", "--mount-add", "data:/data", "--mount-rm", "/live", "web")
    box.ok("start", "web")
    assert shell(box, "ls /live; ls -d /data") == "/data"


def test_a_new_volume_is_filled_from_the_image(box: Proa) -> None:
    box.ok(*RUN, "busybox", "sleep", "600")
    shell(box, "mkdir /own; touch /own/of-the-container")
    box.ok("update", "--mount-add", "bin:/bin-of-image", "--mount-add", "programs:/bin", "web")
    assert shell(box, "ls /bin/sh") == "/bin/sh"
    assert (Path(box.root) / "volumes/programs/_data/sh").exists()


def test_what_is_refused_changes_nothing(box: Proa, shared: Path) -> None:
    box.ok(*RUN, "-v", f"{shared}:/first", "busybox", "sleep", "600")
    shell(box, "ln -s /proc/sys /link")
    place = f"{shared}:/fine"
    for words, reason in (
        (("--mount-rm", "/nothing"), "/nothing"),
        (
            ("--mount-add", place, "--mount-add", f"{shared}:/first"),
            "duplicate mount point: /first",
        ),
        (("--mount-add", place, "--mount-add", f"{shared}:/etc/passwd"), "do not fit"),
        (("--mount-add", place, "--mount-add", f"{shared}:/link/kernel"), "kernel's files"),
        (("--mount-add", f"{shared}:/proc/sys"), "belongs to the container itself"),
        (("--mount-add", "type=bind,src=/no/such,dst=/x"), "does not exist"),
        (("--mount-add", "type=tmpfs,dst=/x"), "a tmpfs cannot be added"),
        (("--mount-rm", "/first", "--mount-add", f"{shared}:/etc/passwd"), "do not fit"),
    ):
        done = box("update", *words, "web")
        assert done.code == 1
        assert reason in done.stderr
        assert mounts(box) == {"/first": ("bind", True)}
        assert shell(box, "ls /first; ls -A /fine 2> /dev/null || true") == "file"
    assert box("update", "--mount-add", "::", "web").code == 125


def test_links_lead_nowhere_outside(box: Proa, shared: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    box.ok(*RUN, "busybox", "sleep", "600")
    shell(box, f"ln -s ../../../../..{outside} /escape")
    assert box("update", "--mount-add", f"{shared}:/escape/in", "web").code == 1
    shell(box, f"mkdir -p {outside}")
    box.ok("update", "--mount-add", f"{shared}:/escape/in", "web")
    assert list(outside.iterdir()) == []
    assert shell(box, f"cat {outside}/in/file") == "of the host"


def test_labels_come_and_go(box: Proa) -> None:
    box.ok(*RUN, "--label", "old=1", "--label", "kept=2", "busybox", "sleep", "600")
    box.ok("update", "--label-rm", "old", "--label-add", "new=3", "web")
    (document,) = json.loads(box.ok("inspect", "web"))
    own = ("old", "kept", "new")
    assert [document["Config"]["Labels"].get(name) for name in own] == [None, "2", "3"]
