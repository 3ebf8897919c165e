"""The contract of :class:`proa.cgroups.cgroup.Cgroup`, over every implementation this machine has.

On a hybrid machine the unified hierarchy has hardly any controllers, but all that a group's life
needs (events, freezing, killing, device programs) works there as on a pure v2 one.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import pytest

from proa.cgroups.cgroup import Cgroup
from proa.cgroups.manager import CgroupManager
from proa.errors import Conflict, NotFound
from proa.oci.resources import LinuxDeviceCgroup, LinuxResources
from tests.support.cgroups import kill_and_reap, member, real_hierarchy

pytestmark = pytest.mark.requires("root")

PARENT = "/proa/conformance"
PATH = f"{PARENT}/c1"

FORKER = """
while True:
    if os.fork():
        os.wait()
    else:
        os._exit(0)
"""


@pytest.fixture(params=["v1", "v2"])
def manager(request: pytest.FixtureRequest) -> Iterator[CgroupManager]:
    made = CgroupManager(real_hierarchy(request.param))
    yield made
    made.close()


@pytest.fixture
def group(manager: CgroupManager) -> Iterator[Cgroup]:
    made = manager.create(PATH)
    yield made
    kill_and_reap(made)
    made.delete()


def directories(group: Cgroup) -> list[str]:
    return [path for path in set(group.paths().values()) if path.endswith(group.path)]


def reopened(group: Cgroup) -> Cgroup:
    """The same group, as a second engine process sees it."""
    version = "v2" if group.clone_fd() >= 0 else "v1"
    return CgroupManager(real_hierarchy(version)).open(group.path)


def test_a_process_joins_is_listed_and_leaves(group: Cgroup) -> None:
    assert group.pids() == []
    assert group.wait_empty(0)
    with member(group) as process:
        assert group.pids() == [process.pid]
        assert not group.wait_empty(0)
        with open(f"/proc/{process.pid}/cgroup") as file:
            assert PATH in file.read()
    assert group.wait_empty(5)
    assert group.pids() == []


def test_a_process_of_another_user_namespace_joins(manager: CgroupManager, group: Cgroup) -> None:
    with member(group, prefix=("unshare", "-U")) as process:
        assert process.pid in group.pids()


def test_children_are_born_inside(group: Cgroup) -> None:
    code = """
pid = os.fork()
if pid == 0:
    sys.stdin.read()
    os._exit(0)
print(pid, flush=True)
os.wait()
"""
    with member(group, code) as process:
        process.go()
        child = int(process.line())
        assert group.pids() == sorted((process.pid, child))
        assert process.wait() == 0


def test_another_process_opens_the_group_by_its_path(group: Cgroup) -> None:
    with reopened(group) as other, member(group) as process:
        assert other.pids() == [process.pid]
        other.freeze()
        assert group.frozen()
        group.thaw()
        assert not other.frozen()


def test_add_moves_a_foreign_process(group: Cgroup) -> None:
    pid = os.fork()
    if pid == 0:
        threading.Event().wait(30)
        os._exit(0)
    try:
        group.add(pid)
        assert group.pids() == [pid]
    finally:
        kill_and_reap(group)
        os.waitpid(pid, 0)
    with pytest.raises(NotFound, match=f"there is no process {pid}"):
        group.add(pid)


def test_freezing_stops_and_thawing_continues(group: Cgroup) -> None:
    code = (
        "while True:\n    sys.stdout.write('x')\n    sys.stdout.flush()\n    sys.stdin.readline()"
    )
    with member(group, code) as process:
        process.go()
        assert process.process.stdout is not None
        assert process.process.stdout.read(1) == "x"
        group.freeze()
        assert group.frozen()
        group.freeze()  # idempotent
        process.go()  # it may not answer now
        os.set_blocking(process.process.stdout.fileno(), False)
        with open(f"/proc/{process.pid}/stat") as file:
            before = file.read().split(") ")[1].split()[11]
        with open(f"/proc/{process.pid}/stat") as file:
            assert file.read().split(") ")[1].split()[11] == before
        assert os.get_blocking(process.process.stdout.fileno()) is False
        with pytest.raises(BlockingIOError):
            os.read(process.process.stdout.fileno(), 1)
        os.set_blocking(process.process.stdout.fileno(), True)
        group.thaw()
        assert not group.frozen()
        assert process.process.stdout.read(1) == "x"


def test_freezing_catches_a_process_that_forks_all_the_time(group: Cgroup) -> None:
    with member(group, FORKER) as process:
        process.go()
        group.freeze()
        frozen = group.pids()
        assert process.pid in frozen
        assert group.pids() == frozen
        kill_and_reap(group)


def test_kill_ends_forkers_and_frozen_processes(group: Cgroup) -> None:
    with member(group, FORKER) as process:
        process.go()
        kill_and_reap(group)
        assert process.wait() == -9
    with member(group) as process:
        group.freeze()
        kill_and_reap(group)
        assert process.wait() == -9
        assert not group.frozen()
    kill_and_reap(group)  # nobody left


def test_a_group_can_be_used_again_after_kill(group: Cgroup) -> None:
    with member(group) as first:
        kill_and_reap(group)
        first.wait()
    code = """
pid = os.fork()
if pid:
    print(os.waitpid(pid, 0)[1], flush=True)
"""
    with member(group, code) as second:
        second.go()
        assert second.line() == "0"
        assert second.wait() == 0


def test_delete_refuses_while_processes_live(manager: CgroupManager) -> None:
    group = manager.create(PATH)
    with member(group) as process:
        with pytest.raises(Conflict, match=f"still has processes \\[{process.pid}\\]"):
            group.delete(timeout_s=0.02)
        kill_and_reap(group)
    group.delete()
    with pytest.raises(NotFound):
        manager.open(PATH)


def test_delete_awaits_processes_that_are_ending(manager: CgroupManager) -> None:
    group = manager.create(PATH)
    with member(group) as process:
        timer = threading.Timer(0.05, process.process.kill)
        timer.start()
        group.delete(timeout_s=5)
        timer.join()


def test_delete_removes_groups_made_inside_and_the_parent(manager: CgroupManager) -> None:
    group = manager.create(PATH)
    places = directories(group)
    for place in places:
        os.makedirs(f"{place}/inner/innermost")
    group.delete()
    group.delete()  # idempotent
    assert not [place for place in places if os.path.exists(place.removesuffix("/c1"))]


def test_pids_below_are_the_containers_too(group: Cgroup) -> None:
    with member(group) as process:
        place = group.paths().get("pids") or group.paths()[""]
        os.mkdir(f"{place}/inner")
        with open(f"{place}/inner/cgroup.procs", "w") as file:
            file.write(str(process.pid))
        assert group.pids() == [process.pid]
        kill_and_reap(group)


def test_a_leftover_without_processes_is_replaced(manager: CgroupManager) -> None:
    manager.create(PATH).close()  # the engine was killed
    group = manager.create(PATH)
    with member(group) as process:
        with pytest.raises(Conflict, match="exists and has processes"):
            manager.create(PATH)
        assert group.pids() == [process.pid]
        kill_and_reap(group)
    group.delete()


def test_a_reserved_group_becomes_the_container_or_goes(manager: CgroupManager) -> None:
    manager.reserve(PATH)
    manager.reserve(f"{PARENT}/unused")
    group = manager.create(PATH, LinuxResources())
    with member(group) as process:
        assert group.pids() == [process.pid]
    group.delete()
    places = directories(manager.open(f"{PARENT}/unused"))
    manager.close()
    assert not [place for place in places if os.path.exists(place)]


def test_devices_are_denied_but_for_the_defaults(group: Cgroup) -> None:
    code = """
for path in ("/dev/null", "/dev/zero", "/dev/kmsg"):
    try:
        os.close(os.open(path, os.O_RDONLY))
        print("yes", flush=True)
    except PermissionError:
        print("no", flush=True)
sys.stdin.readline()
os.close(os.open("/dev/kmsg", os.O_RDONLY))
try:
    os.open("/dev/kmsg", os.O_WRONLY)
except PermissionError:
    print("read only", flush=True)
"""
    with member(group, code) as process:
        process.go()
        assert [process.line() for _ in range(3)] == ["yes", "yes", "no"]
        group.update(
            LinuxResources(
                devices=(LinuxDeviceCgroup(allow=True, type="c", major=1, minor=11, access="r"),)
            )
        )
        process.go()
        assert process.line() == "read only"
        assert process.wait() == 0


def test_a_container_with_devices_of_its_own(manager: CgroupManager) -> None:
    everything = LinuxResources(devices=(LinuxDeviceCgroup(allow=True, access="rwm"),))
    with manager.create(PATH, everything) as group:
        with member(group, "os.open('/dev/kmsg', os.O_RDWR)") as process:
            process.finish()
        group.delete()


def test_stats_count_from_the_first_process_on(group: Cgroup) -> None:
    with member(
        group, "x = sum(range(2_000_000)); print('done', flush=True); sys.stdin.readline()"
    ) as p:
        p.go()
        p.line()
        stats = group.stats()
        assert stats.cpu_usage_ns > 5_000_000
        p.go()
        p.wait()
    assert group.stats().cpu_usage_ns >= stats.cpu_usage_ns


def test_many_containers_come_and_go_at_once(manager: CgroupManager) -> None:
    """Creators race with the removal of the parent by those who leave."""
    failures: list[str] = []

    def cycle(number: int) -> int:
        pid = os.fork()
        if pid:
            return pid
        status = 1
        try:
            own = CgroupManager(manager.hierarchy)
            for turn in range(12):
                made = own.create(f"{PARENT}/n{number}-{turn}")
                made.join_fds()
                made.delete()
            own.close()
            status = 0
        finally:
            os._exit(status)

    for pid in [cycle(number) for number in range(4)]:
        _pid, status = os.waitpid(pid, 0)
        if status:
            failures.append(f"{pid}: {status}")
    assert not failures


def test_no_descriptor_is_left(manager: CgroupManager) -> None:
    manager.create(PATH).delete()
    before = set(os.listdir("/proc/self/fd"))
    for _ in range(3):
        group = manager.create(PATH)
        group.join_fds()
        group.clone_fd()
        group.oom_event_fd()
        group.freeze()
        group.delete()
    assert len(os.listdir("/proc/self/fd")) <= len(before)
