"""Each limit is proven by its effect on a real process."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Iterator

import pytest

from proa.cgroups.cgroup import Cgroup
from proa.cgroups.hierarchy import load_hierarchy
from proa.cgroups.manager import CgroupManager
from proa.errors import Conflict, Invalid, NotFound
from proa.oci.resources import (
    LinuxBlockIO,
    LinuxCPU,
    LinuxMemory,
    LinuxPids,
    LinuxResources,
    LinuxThrottleDevice,
)
from tests.support.cgroups import Member, kill_and_reap, member

pytestmark = pytest.mark.requires("root")

PARENT = "/proa/limits"
MIB = 1 << 20
V1 = load_hierarchy().mode in ("v1", "hybrid")

# Touches memory in steps of 1 MiB up to a number of MiB, then prints.
EATER = """
held = []
for _ in range({mib}):
    held.append(bytearray(b"x") * (1 << 20))
print("survived", flush=True)
sys.stdin.readline()
"""
HOGS = """
import time
pids = []
for _ in range({count}):
    pid = os.fork()
    if pid == 0:
        until = time.monotonic() + {seconds}
        while time.monotonic() < until:
            pass
        os._exit(0)
    pids.append(pid)
for pid in pids:
    os.waitpid(pid, 0)
"""


@pytest.fixture
def manager() -> Iterator[CgroupManager]:
    made = CgroupManager()
    yield made
    made.close()


@pytest.fixture
def groups(manager: CgroupManager) -> Iterator[list[Cgroup]]:
    made: list[Cgroup] = []
    yield made
    for group in made:
        kill_and_reap(group)
        group.delete()


def create(
    manager: CgroupManager, groups: list[Cgroup], resources: LinuxResources, name: str = "c1"
) -> Cgroup:
    group = manager.create(f"{PARENT}/{name}", resources)
    groups.append(group)
    return group


@pytest.mark.requires("cgroup:memory")
def test_memory_512m_container_is_killed_at_600_and_reported(
    manager: CgroupManager, groups: list[Cgroup]
) -> None:
    group = create(manager, groups, LinuxResources(memory=LinuxMemory(limit=512 * MIB)))
    events = group.oom_event_fd()
    with member(group, EATER.format(mib=600)) as process:
        process.go()
        assert process.wait() == -9
    assert group.oom_kills() == 1
    assert group.stats().oom_kills == 1
    poll = select.poll()
    poll.register(events, select.POLLIN)
    assert poll.poll(1000), "the event descriptor must be readable"
    assert os.read(events, 4096)
    assert not poll.poll(0), "and rearmed by reading"


@pytest.mark.requires("cgroup:memory")
def test_memory_below_the_limit_survives(manager: CgroupManager, groups: list[Cgroup]) -> None:
    group = create(manager, groups, LinuxResources(memory=LinuxMemory(limit=64 * MIB)))
    with member(group, EATER.format(mib=40)) as process:
        process.go()
        assert process.line() == "survived"
        stats = group.stats()
        assert 40 * MIB <= stats.memory_usage_bytes <= 64 * MIB
        assert stats.memory_peak_bytes >= stats.memory_usage_bytes
        assert stats.memory_limit_bytes == 64 * MIB
        assert stats.oom_kills == group.oom_kills() == 0


@pytest.mark.requires("cgroup:memory")
def test_memory_update_up_down_and_refusals(manager: CgroupManager, groups: list[Cgroup]) -> None:
    group = create(manager, groups, LinuxResources(memory=LinuxMemory(limit=64 * MIB)))
    with member(group, EATER.format(mib=40)) as process:
        process.go()
        assert process.line() == "survived"
        for limit, swap in ((256 * MIB, 512 * MIB), (96 * MIB, 96 * MIB), (96 * MIB, -1)):
            group.update(LinuxResources(memory=LinuxMemory(limit=limit, swap=swap)))
            assert group.stats().memory_limit_bytes == limit
        group.update(LinuxResources(memory=LinuxMemory(limit=64 * MIB, swap=64 * MIB)))
        with pytest.raises(Invalid, match="give --memory-swap as well"):
            group.update(LinuxResources(memory=LinuxMemory(limit=128 * MIB)))
        with pytest.raises(Conflict, match="--memory 8388608 is below"):
            group.update(
                LinuxResources(memory=LinuxMemory(limit=8 * MIB, check_before_update=True))
            )
        group.update(LinuxResources(memory=LinuxMemory(limit=-1)))
        assert group.stats().memory_limit_bytes == -1


@pytest.mark.skipif(not V1, reason="file names of v1")
@pytest.mark.requires("cgroup:memory")
@pytest.mark.parametrize(
    ("memory", "memsw"),
    [
        (LinuxMemory(limit=64 * MIB), 128 * MIB),
        (LinuxMemory(limit=64 * MIB, swap=96 * MIB), 96 * MIB),
        (LinuxMemory(limit=64 * MIB, swap=-1), None),
    ],
)
def test_swap_follows_dockers_rules(
    manager: CgroupManager, groups: list[Cgroup], memory: LinuxMemory, memsw: int | None
) -> None:
    group = create(manager, groups, LinuxResources(memory=memory))
    with open(f"{group.paths()['memory']}/memory.memsw.limit_in_bytes") as file:
        value = int(file.read())
    assert value == memsw if memsw is not None else value > 1 << 62


@pytest.mark.requires("cgroup:memory")
def test_reservation_and_disabled_oom_killer(manager: CgroupManager, groups: list[Cgroup]) -> None:
    memory = LinuxMemory(limit=32 * MIB, reservation=16 * MIB, disable_oom_killer=True)
    group = create(manager, groups, LinuxResources(memory=memory))
    place = group.paths()["memory"]
    file_name = "memory.soft_limit_in_bytes" if V1 else "memory.low"
    with open(f"{place}/{file_name}") as file:
        assert int(file.read()) == 16 * MIB
    if not V1:
        assert any("--oom-kill-disable is ignored" in warning for warning in group.warnings)
        return
    with member(group, EATER.format(mib=64)) as process:
        events = group.oom_event_fd()
        process.go()
        poll = select.poll()
        poll.register(events, select.POLLIN)
        assert poll.poll(10_000), "it must hang in an out-of-memory condition"
        assert process.process.poll() is None
        assert group.oom_kills() == 0
        kill_and_reap(group)


def cpus_used(group: Cgroup, process: Member, seconds: float) -> float:
    """CPU time over wall-clock time of a running hog."""
    usage, start = group.stats().cpu_usage_ns, time.monotonic_ns()
    select.select([], [], [], seconds)  # the measure itself is a time: nothing to await
    used = group.stats().cpu_usage_ns - usage
    return used / (time.monotonic_ns() - start)


@pytest.mark.requires("cgroup:cpu")
@pytest.mark.parametrize("cpus", [1.5, 0.4])
def test_cpus_holds_a_hog(manager: CgroupManager, groups: list[Cgroup], cpus: float) -> None:
    if cpus >= (os.cpu_count() or 1):
        pytest.skip(f"the machine has no more than {cpus} CPUs")
    quota = LinuxCPU(quota=int(cpus * 20_000), period=20_000)
    group = create(manager, groups, LinuxResources(cpu=quota))
    with member(group, HOGS.format(count=4, seconds=3)) as process:
        process.go()
        used = cpus_used(group, process, 0.8)
        stats = group.stats()
        kill_and_reap(group)
    # Periods are long for an emulated CPU's clock (tests/support/guest.py).
    assert used <= cpus * (1.15 if os.environ.get("PROA_TEST_EMULATED") else 1.06)
    # Other programs may keep us below the quota, then nothing was throttled.
    assert stats.cpu_periods > 10
    if used > cpus * 0.95 or cpus < 1:
        assert used >= cpus * 0.5
        assert stats.cpu_throttled_periods > 0
        assert stats.cpu_throttled_ns > 0


@pytest.mark.requires("cgroup:cpu")
def test_cpus_can_be_changed_while_it_runs(manager: CgroupManager, groups: list[Cgroup]) -> None:
    group = create(manager, groups, LinuxResources())
    with member(group, HOGS.format(count=1, seconds=3)) as process:
        process.go()
        group.update(LinuxResources(cpu=LinuxCPU(quota=4_000, period=20_000)))
        assert cpus_used(group, process, 0.5) <= 0.25
        kill_and_reap(group)


@pytest.mark.requires("cgroup:cpu", "cgroup:cpuset")
def test_shares_divide_one_cpu(manager: CgroupManager, groups: list[Cgroup]) -> None:
    """Two hogs on one CPU get it in the proportion of their shares; the default is 1024."""
    big = create(manager, groups, LinuxResources(cpu=LinuxCPU(cpus="0")), "big")
    small = create(manager, groups, LinuxResources(cpu=LinuxCPU(cpus="0", shares=256)), "small")
    code = HOGS.format(count=1, seconds=3)
    with member(big, code) as one, member(small, code) as other:
        one.go()
        other.go()
        before = big.stats().cpu_usage_ns, small.stats().cpu_usage_ns
        select.select([], [], [], 1.2)
        after = big.stats().cpu_usage_ns, small.stats().cpu_usage_ns
        kill_and_reap(big)
        kill_and_reap(small)
    ratio = (after[0] - before[0]) / (after[1] - before[1])
    assert 2.4 <= ratio <= 6.5


@pytest.mark.requires("cgroup:cpuset")
def test_cpuset_at_creation_and_later(manager: CgroupManager, groups: list[Cgroup]) -> None:
    code = """
while True:
    print(sorted(os.sched_getaffinity(0)), flush=True)
    sys.stdin.readline()
"""
    last = max(os.sched_getaffinity(0))
    placed = LinuxResources(cpu=LinuxCPU(cpus=str(last), mems="0"))
    group = create(manager, groups, placed)
    with member(group, code) as process:
        process.go()
        assert process.line() == f"[{last}]"
    later = create(manager, groups, LinuxResources(), "later")
    with member(later, code) as process:
        process.go()
        assert process.line() != f"[{last}]"
        later.update(placed)
        process.go()
        assert process.line() == f"[{last}]"
        assert len(later.join_fds()) == len(group.join_fds())


@pytest.mark.requires("cgroup:pids")
def test_the_33rd_process_of_32_fails(manager: CgroupManager, groups: list[Cgroup]) -> None:
    code = """
made = []
try:
    while True:
        pid = os.fork()
        if pid == 0:
            sys.stdin.read()
            os._exit(0)
        made.append(pid)
except BlockingIOError:
    print(1 + len(made), flush=True)
sys.stdin.read()
for pid in made:
    os.waitpid(pid, 0)
"""
    group = create(manager, groups, LinuxResources(pids=LinuxPids(limit=32)))
    with member(group, code) as process:
        process.go()
        assert process.line() == "32"
        stats = group.stats()
        assert (stats.pids_current, stats.pids_limit) == (32, 32)
        assert len(group.pids()) == 32
        assert process.wait() == 0
    group.update(LinuxResources(pids=LinuxPids(limit=-1)))
    assert group.stats().pids_limit == -1


def _disk(path: str) -> tuple[int, int]:
    device = os.stat(path).st_dev
    return os.major(device), os.minor(device)


DIRECT_WRITER = """
import mmap, time
block = mmap.mmap(-1, {block})
fd = os.open({path!r}, os.O_WRONLY | os.O_CREAT | os.O_DIRECT)
start = time.monotonic()
for _ in range({count}):
    os.write(fd, block)
print(time.monotonic() - start, flush=True)
"""
DIRECT_READER = DIRECT_WRITER.replace("O_WRONLY", "O_RDONLY").replace(
    "os.write(fd, block)", "os.preadv(fd, [block], 0)"
)


@pytest.fixture
def disk_file(tmp_path: object) -> Iterator[str]:
    path = f"{tmp_path}/direct"
    if not os.path.exists("/sys/dev/block/{}:{}".format(*_disk(str(tmp_path)))):
        pytest.skip("the temporary directory is not on a block device")
    yield path
    if os.path.exists(path):
        os.unlink(path)


@pytest.mark.requires("cgroup:blkio")
def test_a_direct_writer_is_held_to_its_bytes_a_second(
    manager: CgroupManager, groups: list[Cgroup], disk_file: str
) -> None:
    major, minor = _disk(os.path.dirname(disk_file))
    limit = LinuxThrottleDevice(major=major, minor=minor, rate=4 * MIB)
    group = create(
        manager,
        groups,
        LinuxResources(block_io=LinuxBlockIO(throttle_write_bps_device=(limit,))),
    )
    code = DIRECT_WRITER.format(path=disk_file, block=MIB // 4, count=16)
    with member(group, code) as process:
        held_s = float(process.finish())
    # 4 MiB at 4 MiB/s; the first slice of a tenth of a second is free.
    assert 0.8 <= held_s <= 3
    stats = group.stats()
    assert stats.io_write_bytes >= 4 * MIB
    assert stats.io_write_ops >= 16


@pytest.mark.requires("cgroup:blkio")
def test_reads_and_operations_are_held_and_a_throttle_comes_and_goes_later(
    manager: CgroupManager, groups: list[Cgroup], disk_file: str
) -> None:
    major, minor = _disk(os.path.dirname(disk_file))
    with open(disk_file, "wb") as file:
        file.write(bytes(MIB))
        file.flush()
        os.fsync(file.fileno())

    def limits(bps: int, iops: int) -> LinuxResources:
        return LinuxResources(
            block_io=LinuxBlockIO(
                throttle_read_bps_device=(LinuxThrottleDevice(major=major, minor=minor, rate=bps),),
                throttle_read_iops_device=(
                    LinuxThrottleDevice(major=major, minor=minor, rate=iops),
                ),
            )
        )

    group = create(manager, groups, LinuxResources())
    read = DIRECT_READER.format(path=disk_file, block=4096, count=50)
    for resources, at_least_s, at_most_s in (
        (limits(0, 100), 0.3, 3.0),  # 50 operations at 100 a second
        (limits(400_000, 0), 0.3, 3.0),  # 200 kB at 400 kB a second
        (limits(0, 0), 0.0, 0.3),
    ):
        with member(group, read) as process:
            group.update(resources)
            held_s = float(process.finish())
        assert at_least_s <= held_s <= at_most_s, resources


@pytest.mark.requires("cgroup:blkio")
def test_weight_is_set_or_said_to_be_without_effect(
    manager: CgroupManager, groups: list[Cgroup]
) -> None:
    group = create(manager, groups, LinuxResources(block_io=LinuxBlockIO(weight=300)))
    place = group.paths().get("blkio") or group.paths()["io"]
    for name in ("blkio.bfq.weight", "blkio.weight", "io.bfq.weight", "io.weight"):
        if os.path.exists(f"{place}/{name}"):
            with open(f"{place}/{name}") as file:
                assert "300" in file.read() or name == "io.weight"
            break
    else:
        assert any("--blkio-weight is ignored" in warning for warning in group.warnings)


def test_an_unknown_disk_leaves_nothing(manager: CgroupManager) -> None:
    nowhere = LinuxThrottleDevice(major=240, minor=77, rate=MIB)
    with pytest.raises(NotFound, match="--device-read-bps: no block device has the number 240:77"):
        manager.create(
            f"{PARENT}/c1",
            LinuxResources(block_io=LinuxBlockIO(throttle_read_bps_device=(nowhere,))),
        )
    with pytest.raises(NotFound, match="there is no cgroup"):
        manager.open(f"{PARENT}/c1")


@pytest.mark.parametrize(
    ("resources", "flag"),
    [
        (LinuxResources(memory=LinuxMemory(limit=MIB)), "--memory"),
        (LinuxResources(cpu=LinuxCPU(quota=100_000_000, period=100_000)), "--cpus"),
        (LinuxResources(cpu=LinuxCPU(cpus="4095")), "--cpuset-cpus"),
        (LinuxResources(pids=LinuxPids(limit=-7)), "--pids-limit"),
    ],
)
def test_what_the_kernel_cannot_hold_leaves_nothing(
    manager: CgroupManager, resources: LinuxResources, flag: str
) -> None:
    with pytest.raises(Invalid) as caught:
        manager.create(f"{PARENT}/c1", resources)
    assert caught.value.message.startswith(flag)
    with pytest.raises(NotFound, match="there is no cgroup"):
        manager.open(f"{PARENT}/c1")


def test_io_is_counted_without_a_throttle(
    manager: CgroupManager, groups: list[Cgroup], disk_file: str
) -> None:
    group = create(manager, groups, LinuxResources())
    code = DIRECT_WRITER.format(path=disk_file, block=MIB, count=2) + "sys.stdin.readline()"
    with member(group, code) as process:
        process.go()
        process.line()
        assert group.stats().io_write_bytes >= 2 * MIB


def test_every_controller_gives_a_group_in_each_hierarchy(
    manager: CgroupManager, groups: list[Cgroup]
) -> None:
    group = manager.create(f"{PARENT}/c1", every_controller=True)
    groups.append(group)
    with member(group) as process:
        with open(f"/proc/{process.pid}/cgroup") as file:
            lines = file.read().splitlines()
        outside = [line for line in lines if not line.endswith(f"{PARENT}/c1")]
    # On hybrid the unified hierarchy has no controllers and is not used.
    assert [line for line in outside if not line.startswith("0::")] == []
