"""Container directories made ahead: taken back only as new, and never left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from proa.engine import berths
from proa.engine.layout import Layout
from tests.support import engines
from tests.support.engines import Proa
from tests.support.images import ensure_busybox

pytestmark = pytest.mark.requires("root", "userns", "overlay")


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    made = Layout(str(tmp_path / "root"), str(tmp_path / "run"))
    made.ensure()
    return made


def occupied(layout: Layout) -> tuple[str, int]:
    berth = berths.prepare(layout)
    assert berth is not None
    directory = layout.container("0" * 64)
    return directory, berths.occupy(berth, directory)


def test_what_was_not_touched_is_taken_back(layout: Layout) -> None:
    directory, lock = occupied(layout)
    os.makedirs(f"{directory}/work/work/incompat/volatile/dirty")
    Path(f"{directory}/hosts").write_text("127.0.0.1 localhost\n")
    Path(f"{directory}/x-json.log").write_text("{}\n")
    berth = berths.vacate(layout, directory, lock)
    assert berth is not None
    assert sorted(os.listdir(berth.path)) == ["hostname", "hosts", "resolv.conf", "upper", "work"]
    assert os.listdir(f"{berth.path}/work") == []
    assert not os.path.exists(directory)
    berths.discard(berth)
    assert os.listdir(layout.berths) == []


def _set_flag(directory: str) -> None:
    subprocess.run(["chattr", "+A", f"{directory}/upper"], check=True)


@pytest.mark.parametrize(
    "touch",
    [
        lambda directory: Path(f"{directory}/upper/file").touch(),
        lambda directory: os.chmod(f"{directory}/upper", 0o700),
        lambda directory: os.chown(f"{directory}/upper", 1, 0),
        lambda directory: os.setxattr(f"{directory}/upper", "user.kept", b"1"),
        lambda directory: os.chmod(f"{directory}/hosts", 0o600),
        lambda directory: os.chown(f"{directory}/hostname", 0, 1),
        lambda directory: os.setxattr(f"{directory}/resolv.conf", "user.kept", b"1"),
        lambda directory: os.link(f"{directory}/hosts", f"{directory}/other"),
        lambda directory: os.unlink(f"{directory}/hosts"),
        _set_flag,
    ],
    ids=[
        "file", "mode", "owner", "attribute", "mode of a file", "group of a file",
        "attribute of a file", "second link", "missing file", "flag",
    ],
)  # fmt: skip
def test_what_a_container_changed_is_removed(
    layout: Layout, touch: Callable[[str], object]
) -> None:
    directory, lock = occupied(layout)
    touch(directory)
    assert berths.vacate(layout, directory, lock) is None
    assert not os.path.exists(directory)
    assert os.listdir(layout.berths) == []
    os.close(lock)


def test_the_next_container_sees_nothing_of_the_last(proa: Proa) -> None:
    ensure_busybox(proa)
    for change in (
        "touch /x; chmod 711 /",
        "echo 6.6.6.6 evil >>/etc/hosts; chmod 666 /etc/hosts",
        "echo evil >/etc/hostname",
    ):
        proa.ok("run", "--rm", "--network", "none", "busybox", "sh", "-c", change)
    for _ in range(4):  # whichever worker it is
        out = proa.ok(
            "run", "--rm", "--network", "none", "--hostname", "clean", "busybox", "sh", "-c",
            "ls / | grep -x x; stat -c %a / /etc/hosts; cat /etc/hostname;"
            "grep -c evil /etc/hosts; true",
        )  # fmt: skip
        assert out.split() == ["755", "644", "clean", "0"]


def test_a_killed_workers_directory_is_removed_at_the_next_look(layout: Layout) -> None:
    berth = berths.prepare(layout)
    assert berth is not None
    berths.remove_abandoned(layout)
    assert os.path.isdir(berth.path), "its owner lives"
    os.close(berth.lock)
    berths.remove_abandoned(layout)
    assert os.listdir(layout.berths) == []


def test_parked_workers_that_leave_take_their_directories_along() -> None:
    with engines.temporary_root() as proa:
        ensure_busybox(proa)
        proa.ok("run", "--rm", "--network", "none", "busybox", "true")
        place = f"{proa.root}/berths"
        assert os.listdir(place), "a parked worker has one ready"
        (zygote,) = [pid for pid in engines.processes(proa.run_dir) if os.getsid(pid) == pid]
        os.kill(zygote, signal.SIGTERM)
        deadline = time.monotonic() + 10
        while os.listdir(place):
            assert time.monotonic() < deadline, os.listdir(place)
            time.sleep(0.005)  # its end is not ours to wait for
