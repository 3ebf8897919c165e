"""What is mounted, read from mount tables of real machines."""

from __future__ import annotations

import os

import pytest

from proa.cgroups.hierarchy import Hierarchy, load_hierarchy, parse_disabled, parse_mountinfo

SYSTEMD_V2 = """\
24 30 0:22 / /proc rw,nosuid shared:12 - proc proc rw
35 24 0:30 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate
"""
SYSTEMD_V1 = """\
32 25 0:27 / /sys/fs/cgroup ro,nosuid shared:9 - tmpfs tmpfs ro,mode=755
33 32 0:28 / /sys/fs/cgroup/unified rw,nosuid shared:10 - cgroup2 cgroup2 rw
34 32 0:29 / /sys/fs/cgroup/systemd rw,nosuid shared:11 - cgroup cgroup rw,xattr,name=systemd
38 32 0:33 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:16 - cgroup cgroup rw,cpu,cpuacct
39 32 0:34 / /sys/fs/cgroup/memory rw,nosuid shared:17 - cgroup cgroup rw,memory
"""
NESTED = """\
700 690 0:33 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory
701 690 0:33 / /mnt/with\\040space rw - cgroup cgroup rw,memory
702 690 0:34 /docker/abc /sys/fs/cgroup/pids ro - cgroup cgroup rw,pids
"""


def test_v2_machine() -> None:
    v1, unified = parse_mountinfo(SYSTEMD_V2)
    assert v1 == {}
    assert unified == "/sys/fs/cgroup"
    assert Hierarchy(v1=v1, unified=unified).mode == "v2"


def test_hybrid_machine_with_controllers_mounted_together() -> None:
    v1, unified = parse_mountinfo(SYSTEMD_V1)
    assert v1 == {
        "name=systemd": "/sys/fs/cgroup/systemd",
        "cpu": "/sys/fs/cgroup/cpu,cpuacct",
        "cpuacct": "/sys/fs/cgroup/cpu,cpuacct",
        "memory": "/sys/fs/cgroup/memory",
    }
    assert unified == "/sys/fs/cgroup/unified"
    assert Hierarchy(v1=v1, unified=unified).mode == "hybrid"


def test_a_mount_of_the_root_is_preferred_and_escapes_are_undone() -> None:
    v1, _unified = parse_mountinfo(NESTED)
    assert v1 == {"memory": "/mnt/with space", "pids": "/sys/fs/cgroup/pids"}


@pytest.mark.parametrize(
    ("v1", "unified", "mode"),
    [
        ({}, "", "none"),
        ({"memory": "/m"}, "", "v1"),
        ({"memory": "/m"}, "/u", "hybrid"),
        ({"net_cls": "/n", "name=systemd": "/s"}, "/u", "v2"),
    ],
)
def test_mode(v1: dict[str, str], unified: str, mode: str) -> None:
    assert Hierarchy(v1=v1, unified=unified).mode == mode


def test_disabled_controllers() -> None:
    text = "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpu\t1\t1\t1\nmemory\t0\t1\t0\n"
    assert parse_disabled(text) == {"memory"}


def test_load_reads_a_fake_proc(tmp_path: object) -> None:
    root = str(tmp_path)
    os.makedirs(f"{root}/proc/self")
    os.makedirs(f"{root}/cgroup")
    with open(f"{root}/proc/self/mountinfo", "w") as file:
        file.write(f"35 24 0:30 / {root}/cgroup rw - cgroup2 cgroup2 rw\n")
    with open(f"{root}/cgroup/cgroup.controllers", "w") as file:
        file.write("cpu memory\n")
    found = load_hierarchy(f"{root}/proc")
    assert found.mode == "v2"
    assert found.unified == f"{root}/cgroup"
    assert found.v2_controllers == {"cpu", "memory"}
