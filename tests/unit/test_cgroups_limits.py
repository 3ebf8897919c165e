"""Limits that must be refused before anything is made, and those that must not."""

from __future__ import annotations

import pytest

from proa.cgroups.blockdev import get_block_device, get_whole_disk, uses_scheduler
from proa.cgroups.limits import (
    check_resources,
    format_cpu_list,
    load_machine,
    parse_cpu_list,
)
from proa.errors import Invalid, NotFound, Unsupported
from proa.oci.resources import (
    LinuxBlockIO,
    LinuxCPU,
    LinuxMemory,
    LinuxPids,
    LinuxResources,
    LinuxThrottleDevice,
)
from tests.support.cgroups import MACHINE

MIB = 1 << 20


@pytest.mark.parametrize(
    ("resources", "words"),
    [
        (LinuxResources(memory=LinuxMemory(limit=6 * MIB - 1)), "--memory 6291455 is too small"),
        (LinuxResources(memory=LinuxMemory(limit=-2)), "--memory -2"),
        (LinuxResources(memory=LinuxMemory(limit=1 << 63)), "--memory 9223372036854775808"),
        (LinuxResources(memory=LinuxMemory(swap=64 * MIB)), "--memory-swap needs --memory"),
        (
            LinuxResources(memory=LinuxMemory(limit=64 * MIB, swap=32 * MIB)),
            "--memory-swap 33554432 is less than --memory 67108864",
        ),
        (LinuxResources(memory=LinuxMemory(limit=64 * MIB, swap=-2)), "--memory-swap -2"),
        (
            LinuxResources(memory=LinuxMemory(limit=64 * MIB, reservation=65 * MIB)),
            "--memory-reservation 68157440 is more than --memory",
        ),
        (LinuxResources(memory=LinuxMemory(reservation=1)), "--memory-reservation 1 is too small"),
        (LinuxResources(memory=LinuxMemory(swappiness=101)), "--memory-swappiness 101"),
        (LinuxResources(cpu=LinuxCPU(quota=450_000, period=100_000)), "--cpus 4.5 is more than"),
        (LinuxResources(cpu=LinuxCPU(quota=999)), "--cpus: a quota of 999"),
        (LinuxResources(cpu=LinuxCPU(quota=-5)), "--cpus: a quota of -5"),
        (LinuxResources(cpu=LinuxCPU(period=999)), "--cpu-period 999"),
        (LinuxResources(cpu=LinuxCPU(period=1_000_001)), "--cpu-period 1000001"),
        (LinuxResources(cpu=LinuxCPU(shares=1)), "--cpu-shares 1"),
        (LinuxResources(cpu=LinuxCPU(shares=262_145)), "--cpu-shares 262145"),
        (LinuxResources(cpu=LinuxCPU(shares=-3)), "--cpu-shares -3"),
        (LinuxResources(cpu=LinuxCPU(cpus="0,4")), "--cpuset-cpus 0,4: not available"),
        (LinuxResources(cpu=LinuxCPU(cpus="2-1")), "--cpuset-cpus '2-1' is not a list"),
        (LinuxResources(cpu=LinuxCPU(cpus="0-99999999999")), "is not a list"),
        (LinuxResources(cpu=LinuxCPU(mems="1")), "--cpuset-mems 1: not available"),
        (LinuxResources(cpu=LinuxCPU(burst=1)), "cpu burst 1"),
        (LinuxResources(cpu=LinuxCPU(idle=2)), "cpu idle 2"),
        (LinuxResources(pids=LinuxPids(limit=-2)), "--pids-limit -2"),
        (LinuxResources(pids=LinuxPids(limit=4_194_305)), "--pids-limit 4194305"),
        (LinuxResources(block_io=LinuxBlockIO(weight=9)), "--blkio-weight 9"),
        (LinuxResources(block_io=LinuxBlockIO(weight=1001)), "--blkio-weight 1001"),
        (
            LinuxResources(
                block_io=LinuxBlockIO(
                    throttle_read_bps_device=(LinuxThrottleDevice(major=8, minor=0, rate=-1),)
                )
            ),
            "--device-read-bps 8:0",
        ),
        (LinuxResources(unified={"../memory.max": "1"}), "unified resource '../memory.max'"),
        (LinuxResources(unified={"cgroup.kill": "1"}), "unified resource 'cgroup.kill'"),
    ],
)
def test_refused_with_the_flag_in_the_message(resources: LinuxResources, words: str) -> None:
    with pytest.raises(Invalid) as caught:
        check_resources(resources, MACHINE)
    assert words in caught.value.message


def test_leaf_weight_is_unsupported() -> None:
    with pytest.raises(Unsupported, match="leaf weight"):
        check_resources(LinuxResources(block_io=LinuxBlockIO(leaf_weight=10)), MACHINE)


@pytest.mark.parametrize(
    "resources",
    [
        LinuxResources(memory=LinuxMemory(limit=6 * MIB)),
        LinuxResources(memory=LinuxMemory(limit=-1, swap=-1)),
        LinuxResources(memory=LinuxMemory(limit=64 * MIB, swap=64 * MIB)),
        LinuxResources(memory=LinuxMemory(limit=64 * MIB, swap=-1, reservation=64 * MIB)),
        LinuxResources(cpu=LinuxCPU(quota=400_000, period=100_000)),
        LinuxResources(cpu=LinuxCPU(quota=-1, shares=0)),
        LinuxResources(cpu=LinuxCPU(cpus="0-3", mems="0", shares=2, burst=0, idle=1)),
        LinuxResources(pids=LinuxPids(limit=-1), block_io=LinuxBlockIO(weight=0)),
        LinuxResources(unified={"memory.high": "max"}),
    ],
)
def test_accepted(resources: LinuxResources) -> None:
    check_resources(resources, MACHINE)


@pytest.mark.parametrize(
    ("text", "numbers"), [("0", {0}), ("0-2,7", {0, 1, 2, 7}), ("3,1-1\n", {1, 3})]
)
def test_cpu_list(text: str, numbers: set[int]) -> None:
    assert parse_cpu_list(text) == numbers
    assert parse_cpu_list(format_cpu_list(numbers)) == numbers


@pytest.mark.parametrize("text", ["", ",", "0,", "a", "1-", "-1", "0x1", "70000", "٣"])
def test_not_a_cpu_list(text: str) -> None:
    with pytest.raises(ValueError):
        parse_cpu_list(text)


def test_cpu_list_is_written_in_runs() -> None:
    assert format_cpu_list({7, 2, 1, 0}) == "0-2,7"


def test_machine_is_read_from_sysfs(tmp_path: object) -> None:
    import os

    for kind, text in (("cpu", "0-5\n"), ("node", "0-1\n")):
        os.makedirs(f"{tmp_path}/devices/system/{kind}")
        with open(f"{tmp_path}/devices/system/{kind}/online", "w") as file:
            file.write(text)
    machine = load_machine(str(tmp_path))
    assert machine.cpus == set(range(6))
    assert machine.nodes == {0, 1}


def _sysfs(root: str) -> None:
    import os

    disk = f"{root}/devices/pci/block/sda"
    os.makedirs(f"{disk}/sda1")
    os.makedirs(f"{disk}/queue")
    os.makedirs(f"{root}/dev/block")
    os.makedirs(f"{root}/block")
    for path, text in (
        (f"{disk}/dev", "8:0\n"),
        (f"{disk}/sda1/dev", "8:1\n"),
        (f"{disk}/sda1/partition", "1\n"),
        (f"{disk}/queue/scheduler", "none [bfq] mq-deadline\n"),
    ):
        with open(path, "w") as file:
            file.write(text)
    os.symlink(disk, f"{root}/dev/block/8:0")
    os.symlink(f"{disk}/sda1", f"{root}/dev/block/8:1")
    os.symlink(disk, f"{root}/block/sda")


def test_a_partition_stands_for_its_disk(tmp_path: object) -> None:
    _sysfs(str(tmp_path))
    assert get_whole_disk((8, 1), "--device-read-bps", str(tmp_path)) == (8, 0)
    assert get_whole_disk((8, 0), "--device-read-bps", str(tmp_path)) == (8, 0)
    with pytest.raises(NotFound, match="--device-read-bps: no block device has the number 9:0"):
        get_whole_disk((9, 0), "--device-read-bps", str(tmp_path))


def test_scheduler_in_use(tmp_path: object) -> None:
    _sysfs(str(tmp_path))
    assert uses_scheduler("bfq", str(tmp_path))
    assert not uses_scheduler("mq-deadline", str(tmp_path))


def test_block_device_path() -> None:
    with pytest.raises(Invalid, match="--device-read-bps: /dev/null is not a block device"):
        get_block_device("/dev/null", "--device-read-bps")
    with pytest.raises(NotFound, match="--device-read-bps: no device /dev/nowhere"):
        get_block_device("/dev/nowhere", "--device-read-bps")
