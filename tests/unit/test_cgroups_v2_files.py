"""What exactly is written on v2, over a fake tree."""

from __future__ import annotations

import errno

import pytest

from proa.cgroups.cgroup import Cgroup
from proa.cgroups.manager import CgroupManager
from proa.cgroups.v2 import devices as v2_devices
from proa.cgroups.v2.cpu import weight_from_shares
from proa.cgroups.v2.io import weight_from_blkio
from proa.errors import Conflict, Invalid, NotFound, Unsupported
from proa.oci.resources import (
    LinuxBlockIO,
    LinuxCPU,
    LinuxDeviceCgroup,
    LinuxMemory,
    LinuxPids,
    LinuxResources,
    LinuxThrottleDevice,
)
from tests.support.cgroups import FakeTree

GIB = 1 << 30


@pytest.fixture
def tree(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> FakeTree:
    monkeypatch.setattr(v2_devices, "load", lambda rules: 1_000_000)
    monkeypatch.setattr(v2_devices, "attach", lambda fd, program: None)
    monkeypatch.setattr(v2_devices, "replace", lambda fd, program: None)
    monkeypatch.setattr("proa.cgroups.v2.driver.os.close", lambda fd: None)
    return FakeTree(str(tmp_path), monkeypatch)


@pytest.fixture
def manager(tree: FakeTree) -> CgroupManager:
    made = tree.v2()
    made.prepare()
    tree.writes.clear()
    return made


def create(manager: CgroupManager, resources: LinuxResources) -> Cgroup:
    return manager.create("/proa/c1", resources)


def test_controllers_are_enabled_from_the_top(tree: FakeTree) -> None:
    tree.v2(controllers="cpu memory rdma").prepare()
    assert tree.written() == [
        ("cgroup.subtree_control", "+cpu"),
        ("cgroup.subtree_control", "+memory"),
        ("proa/cgroup.subtree_control", "+cpu"),
        ("proa/cgroup.subtree_control", "+memory"),
    ]


def test_a_controller_that_cannot_be_handed_on_is_a_warning(tree: FakeTree) -> None:
    manager = tree.v2(controllers="cpu")
    tree.refusals["cgroup.subtree_control"] = OSError(errno.EBUSY, "busy")
    tree.refusals["proa/cgroup.subtree_control"] = OSError(errno.EBUSY, "busy")
    group = create(manager, LinuxResources(cpu=LinuxCPU(shares=512)))
    assert group.warnings == [
        "--cpus is ignored: the cgroup controller cpu is not available in /proa"
    ]
    assert tree.written() == []


def test_no_limits_write_nothing(tree: FakeTree, manager: CgroupManager) -> None:
    group = create(manager, LinuxResources())
    assert tree.written() == []
    assert group.warnings == []
    assert group.join_fds() == ()
    assert group.clone_fd() >= 0


@pytest.mark.parametrize(
    ("memory", "written"),
    [
        (LinuxMemory(limit=GIB), [("memory.swap.max", f"{GIB}"), ("memory.max", f"{GIB}")]),
        (LinuxMemory(limit=GIB, swap=-1), [("memory.max", f"{GIB}")]),
        (
            LinuxMemory(limit=GIB, swap=GIB),
            [("memory.swap.max", "0"), ("memory.max", f"{GIB}")],
        ),
        (
            LinuxMemory(limit=GIB, swap=3 * GIB, reservation=GIB // 2),
            [
                ("memory.swap.max", f"{2 * GIB}"),
                ("memory.max", f"{GIB}"),
                ("memory.low", f"{GIB // 2}"),
            ],
        ),
        (LinuxMemory(limit=-1), []),
    ],
)
def test_memory(
    tree: FakeTree, manager: CgroupManager, memory: LinuxMemory, written: list[tuple[str, str]]
) -> None:
    tree.born[""] = {"memory.swap.max": "max\n"}
    create(manager, LinuxResources(memory=memory))
    assert tree.written("proa/c1") == written


def test_swap_without_accounting_is_a_warning(tree: FakeTree, manager: CgroupManager) -> None:
    group = create(manager, LinuxResources(memory=LinuxMemory(limit=GIB)))
    assert tree.written("proa/c1") == [("memory.max", f"{GIB}")]
    assert group.warnings == ["--memory-swap is ignored: this kernel does not account swap"]


def test_what_v2_does_not_have_is_a_warning(tree: FakeTree, manager: CgroupManager) -> None:
    group = create(
        manager,
        LinuxResources(
            memory=LinuxMemory(disable_oom_killer=True, swappiness=1, kernel=1),
            cpu=LinuxCPU(shares=1024, realtime_runtime=1),
        ),
    )
    assert [warning.split(" ")[0] for warning in group.warnings] == [
        "--oom-kill-disable",
        "--memory-swappiness",
        "--kernel-memory",
        "--cpu-rt-period",
    ]


@pytest.mark.parametrize(
    ("cpu", "written"),
    [
        (LinuxCPU(quota=150_000, period=100_000), [("cpu.max", "150000 100000")]),
        (LinuxCPU(quota=150_000), [("cpu.max", "150000 100000")]),
        (LinuxCPU(period=50_000), [("cpu.max", "max 50000")]),
        (LinuxCPU(quota=-1), []),
        (LinuxCPU(shares=1024), [("cpu.weight", "100")]),
        (
            LinuxCPU(quota=2000, burst=1000, idle=1),
            [("cpu.max", "2000 100000"), ("cpu.max.burst", "1000"), ("cpu.idle", "1")],
        ),
        (LinuxCPU(cpus="0-1", mems="0"), [("cpuset.cpus", "0-1"), ("cpuset.mems", "0")]),
    ],
)
def test_cpu(
    tree: FakeTree, manager: CgroupManager, cpu: LinuxCPU, written: list[tuple[str, str]]
) -> None:
    create(manager, LinuxResources(cpu=cpu))
    assert tree.written("proa/c1") == written


def test_an_update_keeps_what_is_not_given(tree: FakeTree, manager: CgroupManager) -> None:
    group = create(manager, LinuxResources(cpu=LinuxCPU(quota=150_000, period=50_000)))
    tree.written()
    group.update(LinuxResources(cpu=LinuxCPU(quota=25_000)))
    assert tree.written("proa/c1") == [("cpu.max", "25000 50000")]
    group.update(LinuxResources(cpu=LinuxCPU(quota=-1), pids=LinuxPids(limit=-1)))
    assert tree.written("proa/c1") == [("pids.max", "max"), ("cpu.max", "max 50000")]


def test_update_of_memory_follows_docker(tree: FakeTree, manager: CgroupManager) -> None:
    group = create(manager, LinuxResources(memory=LinuxMemory(limit=GIB, swap=-1)))
    tree.put("proa/c1/memory.swap.max", f"{GIB}\n")
    tree.put("proa/c1/memory.current", f"{GIB // 2}\n")
    tree.written()
    with pytest.raises(Invalid, match="give --memory-swap as well"):
        group.update(LinuxResources(memory=LinuxMemory(limit=3 * GIB)))
    assert tree.written() == []
    with pytest.raises(Conflict, match="below what the container already uses"):
        group.update(LinuxResources(memory=LinuxMemory(limit=GIB // 4, check_before_update=True)))
    group.update(LinuxResources(memory=LinuxMemory(limit=3 * GIB, swap=4 * GIB)))
    assert tree.written("proa/c1") == [
        ("memory.swap.max", f"{GIB}"),
        ("memory.max", f"{3 * GIB}"),
    ]
    group.update(LinuxResources(memory=LinuxMemory(limit=-1)))
    assert tree.written("proa/c1") == [("memory.swap.max", "max"), ("memory.max", "max")]


def test_block_io(tree: FakeTree, manager: CgroupManager, monkeypatch: pytest.MonkeyPatch) -> None:
    disks = {(8, 1): (8, 0)}
    monkeypatch.setattr(
        "proa.cgroups.v2.io.get_whole_disk", lambda device, flag: disks.get(device, device)
    )
    group = create(
        manager,
        LinuxResources(
            block_io=LinuxBlockIO(
                throttle_read_bps_device=(LinuxThrottleDevice(major=8, minor=0, rate=1024),),
                throttle_write_bps_device=(LinuxThrottleDevice(major=8, minor=1, rate=2048),),
                throttle_read_iops_device=(LinuxThrottleDevice(major=8, minor=0, rate=0),),
                throttle_write_iops_device=(LinuxThrottleDevice(major=9, minor=0, rate=7),),
            )
        ),
    )
    assert tree.written("proa/c1") == [
        ("io.max", "8:0 rbps=1024"),
        ("io.max", "8:0 wbps=2048"),
        ("io.max", "8:0 riops=max"),
        ("io.max", "9:0 wiops=7"),
    ]
    assert group.warnings == [
        "--device-write-bps: 8:1 is a partition; the limit is set on its disk 8:0"
    ]


def test_block_io_weight(tree: FakeTree, manager: CgroupManager) -> None:
    weight = LinuxResources(block_io=LinuxBlockIO(weight=500))
    group = create(manager, weight)
    assert group.warnings == [
        "--blkio-weight is ignored: this kernel has neither BFQ nor io.weight"
    ]
    tree.put("proa/c1/io.weight", "default 100\n")
    tree.written()
    group.update(weight)
    assert tree.written("proa/c1") == [("io.weight", "default 4950")]


def test_unified_resources_are_written_as_they_are(tree: FakeTree, manager: CgroupManager) -> None:
    create(manager, LinuxResources(unified={"memory.high": "max", "cpu.weight": "7"}))
    assert tree.written("proa/c1") == [("memory.high", "max"), ("cpu.weight", "7")]


def test_a_refused_limit_leaves_nothing(
    tree: FakeTree, manager: CgroupManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    tree.refusals["proa/c1/pids.max"] = OSError(errno.EINVAL, "invalid")
    with pytest.raises(Invalid, match="--pids-limit 5 is refused by the kernel"):
        create(manager, LinuxResources(pids=LinuxPids(limit=5)))
    assert not os.path.exists(f"{tree.root}/proa/c1")


def test_a_kernel_without_bpf_is_named(
    manager: CgroupManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(rules: object) -> int:
        raise OSError(errno.ENOSYS, "no bpf")

    monkeypatch.setattr(v2_devices, "load", refuse)
    with pytest.raises(Unsupported) as caught:
        create(
            manager,
            LinuxResources(devices=(LinuxDeviceCgroup(allow=True, type="c", access="r"),)),
        )
    assert "CONFIG_CGROUP_BPF" in caught.value.hint


def test_stats(tree: FakeTree, manager: CgroupManager) -> None:
    group = create(manager, LinuxResources())
    for file, text in (
        ("cpu.stat", "usage_usec 5\nuser_usec 3\nsystem_usec 2\nnr_periods 9\nnr_throttled 1\n"),
        ("memory.current", "100\n"),
        ("memory.peak", "200\n"),
        ("memory.max", "max\n"),
        ("memory.stat", "anon 60\ninactive_file 30\n"),
        ("memory.events", "oom 2\noom_kill 1\n"),
        ("pids.current", "4\n"),
        ("pids.max", "32\n"),
        ("io.stat", "8:0 rbytes=1 wbytes=2 rios=3 wios=4\n"),
    ):
        tree.put(f"proa/c1/{file}", text)
    stats = group.stats()
    assert (stats.cpu_usage_ns, stats.cpu_user_ns, stats.cpu_system_ns) == (5000, 3000, 2000)
    assert (stats.cpu_periods, stats.cpu_throttled_periods, stats.cpu_throttled_ns) == (9, 1, -1)
    assert (stats.memory_usage_bytes, stats.memory_peak_bytes) == (100, 200)
    assert (stats.memory_limit_bytes, stats.memory_inactive_file_bytes) == (-1, 30)
    assert stats.memory_detail == {"anon": 60, "inactive_file": 30}
    assert stats.oom_kills == group.oom_kills() == 1
    assert (stats.pids_current, stats.pids_limit) == (4, 32)
    assert (stats.io_read_bytes, stats.io_write_bytes) == (1, 2)
    assert (stats.io_read_ops, stats.io_write_ops) == (3, 4)


def test_open_finds_or_says_so(tree: FakeTree, manager: CgroupManager) -> None:
    with pytest.raises(NotFound, match="there is no cgroup /proa/c1"):
        manager.open("/proa/c1")
    create(manager, LinuxResources())
    tree.put("proa/c1/cgroup.controllers", "cpu pids\n")
    tree.put("proa/c1/cgroup.procs", "12\n7\n12\n")
    group = manager.open("/proa/c1")
    assert set(group.paths()) == {"", "cpu", "pids"}
    assert group.pids() == [7, 12]


@pytest.mark.parametrize(
    ("shares", "weight"), [(2, 1), (1024, 100), (262_144, 10_000), (512, 59), (2048, 174)]
)
def test_weight_from_shares(shares: int, weight: int) -> None:
    assert weight_from_shares(shares) == weight


@pytest.mark.parametrize(("blkio", "weight"), [(10, 1), (1000, 10_000), (500, 4950)])
def test_weight_from_blkio(blkio: int, weight: int) -> None:
    assert weight_from_blkio(blkio) == weight
