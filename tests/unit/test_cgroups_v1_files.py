"""What exactly is written on v1, and in which order, over a fake tree."""

from __future__ import annotations

import errno
import os

import pytest

from proa.cgroups.cgroup import Cgroup
from proa.cgroups.manager import CgroupManager
from proa.cgroups.node import Node
from proa.errors import Conflict, Forbidden, Invalid, NotFound, Unsupported
from proa.oci.resources import (
    LinuxBlockIO,
    LinuxCPU,
    LinuxHugepageLimit,
    LinuxMemory,
    LinuxPids,
    LinuxResources,
    LinuxThrottleDevice,
)
from tests.support.cgroups import FakeTree

GIB = 1 << 30
UNLIMITED = "9223372036854771712\n"
ALL = ("memory", "pids", "cpu", "cpuacct", "cpuset", "blkio", "freezer")


@pytest.fixture
def tree(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> FakeTree:
    return FakeTree(str(tmp_path), monkeypatch)


@pytest.fixture
def manager(tree: FakeTree) -> CgroupManager:
    made = tree.v1(*ALL)
    tree.born["cpuset"] = {"cpuset.cpus": "\n", "cpuset.mems": "\n"}
    tree.put("cpuset/proa/cpuset.cpus", "0-3\n")
    tree.put("cpuset/proa/cpuset.mems", "0\n")
    made.prepare()
    tree.writes.clear()
    return made


def create(manager: CgroupManager, resources: LinuxResources) -> Cgroup:
    return manager.create("/proa/c1", resources)


def groups(tree: FakeTree) -> set[str]:
    return {name for name in os.listdir(tree.root) if os.path.isdir(f"{tree.root}/{name}/proa/c1")}


def test_groups_of_a_container_without_limits(tree: FakeTree, manager: CgroupManager) -> None:
    group = create(manager, LinuxResources())
    assert groups(tree) == {"memory", "pids", "cpu", "cpuacct"}
    assert tree.written() == []
    assert len(group.join_fds()) == 4
    assert group.join_fds() == group.join_fds()
    assert group.clone_fd() == -1
    group.close()


def test_every_controller(tree: FakeTree, manager: CgroupManager) -> None:
    group = manager.create("/proa/c1", every_controller=True)
    assert groups(tree) == set(ALL)
    assert tree.written("cpuset/proa/c1") == [("cpuset.cpus", "0-3"), ("cpuset.mems", "0")]
    assert set(group.paths()) == set(ALL)


def test_a_reserved_group_gets_the_limits_of_a_fresh_one(
    tree: FakeTree, manager: CgroupManager
) -> None:
    tree.born["memory"] = {"memory.memsw.limit_in_bytes": UNLIMITED}
    manager.reserve("/proa/c1")
    assert groups(tree) == {"memory", "pids", "cpu", "cpuacct"}
    group = create(manager, LinuxResources(memory=LinuxMemory(limit=GIB)))
    assert tree.written("memory/proa/c1") == [
        ("memory.limit_in_bytes", f"{GIB}"),
        ("memory.memsw.limit_in_bytes", f"{2 * GIB}"),
    ]
    group.close()


def test_controllers_mounted_together_have_one_group(tree: FakeTree) -> None:
    group = tree.v1("memory", "pids", together=("cpu", "cpuacct")).create("/proa/c1")
    assert groups(tree) == {"memory", "pids", "cpu,cpuacct"}
    assert len(group.join_fds()) == 3
    group.close()


def test_absent_controllers_are_warnings(tree: FakeTree) -> None:
    group = tree.v1("memory", "pids", "cpu", "cpuacct", "devices-less").create("/proa/c1")
    assert group.warnings == [
        f"the cgroup controller {name} is not mounted: its limits and figures are not available"
        for name in ("cpuset", "blkio", "devices", "freezer")
    ]


@pytest.mark.parametrize(
    ("memory", "written"),
    [
        (LinuxMemory(limit=GIB), [("limit", GIB), ("memsw.limit", 2 * GIB)]),
        (LinuxMemory(limit=GIB, swap=-1), [("limit", GIB)]),
        (LinuxMemory(limit=GIB, swap=GIB), [("limit", GIB), ("memsw.limit", GIB)]),
        (LinuxMemory(limit=-1), []),
        (LinuxMemory(reservation=GIB), [("soft_limit", GIB)]),
    ],
)
def test_memory_of_a_fresh_group(
    tree: FakeTree, manager: CgroupManager, memory: LinuxMemory, written: list[tuple[str, int]]
) -> None:
    tree.born["memory"] = {"memory.memsw.limit_in_bytes": UNLIMITED}
    create(manager, LinuxResources(memory=memory))
    assert tree.written("memory/proa/c1") == [
        (f"memory.{name}_in_bytes", str(value)) for name, value in written
    ]


@pytest.mark.parametrize(
    ("current", "memory", "order"),
    [
        # Raising: memory plus swap must make room first. Lowering: it must follow.
        (2 * GIB, LinuxMemory(limit=4 * GIB, swap=8 * GIB), ["memsw.limit", "limit"]),
        (8 * GIB, LinuxMemory(limit=GIB, swap=2 * GIB), ["limit", "memsw.limit"]),
        (2 * GIB, LinuxMemory(limit=GIB, swap=-1), ["memsw.limit", "limit"]),
        (2 * GIB, LinuxMemory(limit=-1), ["memsw.limit", "limit"]),
        (8 * GIB, LinuxMemory(limit=GIB), ["limit"]),
    ],
)
def test_memory_of_a_live_group(
    tree: FakeTree, manager: CgroupManager, current: int, memory: LinuxMemory, order: list[str]
) -> None:
    group = create(manager, LinuxResources())
    tree.put("memory/proa/c1/memory.memsw.limit_in_bytes", f"{current}\n")
    group.update(LinuxResources(memory=memory))
    assert [file for file, _ in tree.written("memory/proa/c1")] == [
        f"memory.{name}_in_bytes" for name in order
    ]


def test_memory_above_the_old_sum_is_refused(tree: FakeTree, manager: CgroupManager) -> None:
    group = create(manager, LinuxResources())
    tree.put("memory/proa/c1/memory.memsw.limit_in_bytes", f"{2 * GIB}\n")
    with pytest.raises(Invalid, match="give --memory-swap as well"):
        group.update(LinuxResources(memory=LinuxMemory(limit=3 * GIB)))


def test_swap_without_accounting_is_a_warning(tree: FakeTree, manager: CgroupManager) -> None:
    group = create(manager, LinuxResources(memory=LinuxMemory(limit=GIB)))
    assert group.warnings[1:] == [
        "--memory-swap is ignored: this kernel does not account swap (swapaccount=1)"
    ]


def test_oom_killer_and_swappiness(tree: FakeTree, manager: CgroupManager) -> None:
    create(manager, LinuxResources(memory=LinuxMemory(disable_oom_killer=True, swappiness=10)))
    assert tree.written("memory/proa/c1") == [
        ("memory.swappiness", "10"),
        ("memory.oom_control", "1"),
    ]


@pytest.mark.parametrize(
    ("cpu", "written"),
    [
        (LinuxCPU(quota=150_000, period=100_000), [("cpu.cfs_quota_us", "150000")]),
        (
            LinuxCPU(quota=25_000, period=50_000),
            [("cpu.cfs_period_us", "50000"), ("cpu.cfs_quota_us", "25000")],
        ),
        (LinuxCPU(quota=-1, shares=1024), []),
        (LinuxCPU(shares=512, idle=0), [("cpu.shares", "512")]),
        (
            LinuxCPU(quota=2000, burst=1000, realtime_period=5, realtime_runtime=4),
            [
                ("cpu.cfs_quota_us", "2000"),
                ("cpu.cfs_burst_us", "1000"),
                ("cpu.rt_period_us", "5"),
                ("cpu.rt_runtime_us", "4"),
            ],
        ),
    ],
)
def test_cpu(
    tree: FakeTree, manager: CgroupManager, cpu: LinuxCPU, written: list[tuple[str, str]]
) -> None:
    create(manager, LinuxResources(cpu=cpu))
    assert tree.written("cpu/proa/c1") == written


def test_quota_goes_before_a_period_that_the_parent_refuses(
    tree: FakeTree, manager: CgroupManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused: list[str] = []
    write = Node.write

    def refuse_once(node: Node, file: str, value: str) -> None:
        if file == "cpu.cfs_period_us" and not refused:
            refused.append(file)
            raise OSError(errno.EINVAL, "ratio")
        write(node, file, value)

    monkeypatch.setattr(Node, "write", refuse_once)
    create(manager, LinuxResources(cpu=LinuxCPU(quota=10_000, period=50_000)))
    assert tree.written("cpu/proa/c1") == [
        ("cpu.cfs_quota_us", "10000"),
        ("cpu.cfs_period_us", "50000"),
    ]


def test_cpuset_is_made_when_asked_for(tree: FakeTree, manager: CgroupManager) -> None:
    create(manager, LinuxResources(cpu=LinuxCPU(cpus="1")))
    assert tree.written("cpuset/proa/c1") == [
        ("cpuset.cpus", "0-3"),
        ("cpuset.mems", "0"),
        ("cpuset.cpus", "1"),
    ]


def test_pids(tree: FakeTree, manager: CgroupManager) -> None:
    group = create(manager, LinuxResources(pids=LinuxPids(limit=32)))
    assert tree.written("pids/proa/c1") == [("pids.max", "32")]
    group.update(LinuxResources(pids=LinuxPids(limit=0)))
    assert tree.written("pids/proa/c1") == [("pids.max", "max")]


def test_throttles(tree: FakeTree, manager: CgroupManager, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proa.cgroups.v1.blkio.get_whole_disk", lambda device, flag: (device[0], 0))
    group = create(
        manager,
        LinuxResources(
            block_io=LinuxBlockIO(
                throttle_read_bps_device=(LinuxThrottleDevice(major=8, minor=0, rate=1),),
                throttle_write_bps_device=(LinuxThrottleDevice(major=8, minor=1, rate=2),),
                throttle_read_iops_device=(LinuxThrottleDevice(major=8, minor=0, rate=3),),
                throttle_write_iops_device=(LinuxThrottleDevice(major=8, minor=0, rate=0),),
            )
        ),
    )
    assert tree.written("blkio/proa/c1") == [
        ("blkio.throttle.read_bps_device", "8:0 1"),
        ("blkio.throttle.write_bps_device", "8:0 2"),
        ("blkio.throttle.read_iops_device", "8:0 3"),
        ("blkio.throttle.write_iops_device", "8:0 0"),
    ]
    assert group.warnings == [
        "the cgroup controller devices is not mounted: its limits and figures are not available",
        "--device-write-bps: 8:1 is a partition; the limit is set on its disk 8:0",
    ]


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (errno.EINVAL, Invalid, "--pids-limit 5 is refused by the kernel"),
        (errno.EBUSY, Conflict, "--pids-limit 5 is below what the container already uses"),
        (errno.EACCES, Forbidden, "--pids-limit 5 may not be set"),
        (errno.EROFS, Unsupported, "mounted read-only"),
        (errno.ENOENT, Unsupported, "--pids-limit 5 cannot be held by this kernel"),
    ],
)
def test_a_refused_limit_leaves_nothing(
    tree: FakeTree, manager: CgroupManager, error: int, kind: type[Exception], words: str
) -> None:
    tree.refusals["pids/proa/c1/pids.max"] = OSError(error, "no")
    with pytest.raises(kind, match=words):
        create(manager, LinuxResources(pids=LinuxPids(limit=5)))
    assert groups(tree) == set()


def test_what_v1_does_not_have(tree: FakeTree, manager: CgroupManager) -> None:
    with pytest.raises(Unsupported, match=r"'memory.high' needs cgroup v2"):
        create(manager, LinuxResources(unified={"memory.high": "1"}))
    assert groups(tree) == set()
    group = create(
        manager, LinuxResources(hugepage_limits=(LinuxHugepageLimit(page_size="2MB", limit=1),))
    )
    assert "huge page limits are not supported and were ignored" in group.warnings


def test_open_finds_or_says_so(tree: FakeTree, manager: CgroupManager) -> None:
    with pytest.raises(NotFound, match="there is no cgroup /proa/c1"):
        manager.open("/proa/c1")
    create(manager, LinuxResources())
    assert set(manager.open("/proa/c1").paths()) == {"memory", "pids", "cpu", "cpuacct"}


def test_a_group_with_processes_is_not_taken_over(tree: FakeTree, manager: CgroupManager) -> None:
    create(manager, LinuxResources())
    tree.put("memory/proa/c1/cgroup.procs", f"{os.getpid()}\n")
    with pytest.raises(Conflict, match="exists and has processes"):
        create(manager, LinuxResources())


def test_missing_parents_get_their_cpuset_from_above(tree: FakeTree) -> None:
    manager = tree.v1("cpuset")
    tree.born["cpuset"] = {"cpuset.cpus": "\n", "cpuset.mems": "\n"}
    tree.put("cpuset/cpuset.cpus", "0-1\n")
    tree.put("cpuset/cpuset.mems", "0\n")
    manager.create("/a/b/c1", LinuxResources(cpu=LinuxCPU(cpus="0")))
    assert [path for path, _text in tree.written("cpuset")] == [
        "a/cpuset.cpus",
        "a/cpuset.mems",
        "a/b/cpuset.cpus",
        "a/b/cpuset.mems",
        "a/b/c1/cpuset.cpus",
        "a/b/c1/cpuset.mems",
        "a/b/c1/cpuset.cpus",
    ]
