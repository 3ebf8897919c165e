"""From what a user asks for to the runtime spec."""

from __future__ import annotations

import os

import pytest

from proa.engine.compose import files, mounts, process, resources, securityoptions
from proa.engine.config import (
    ContainerConfig,
    MountConfig,
    Resources,
    ThrottleDevice,
    Ulimit,
)
from proa.errors import Invalid, NotFound
from proa.oci.imageconfig import ContainerDefaults
from proa.oci.resources import LinuxCPU, LinuxMemory, LinuxPids
from proa.runtime import defaults


def config(**fields):
    return ContainerConfig(image="box", **fields)


@pytest.mark.parametrize(
    ("entrypoint", "command", "image_entrypoint", "image_cmd", "expected"),
    [
        (None, (), (), ("bash",), ("bash",)),
        (None, ("ls", "-l"), (), ("bash",), ("ls", "-l")),
        (None, (), ("nginx",), ("-g", "x"), ("nginx", "-g", "x")),
        (None, ("-t",), ("nginx",), ("-g", "x"), ("nginx", "-t")),
        (("sh",), (), ("nginx",), ("-g", "x"), ("sh",)),
        (("sh",), ("-c", "id"), ("nginx",), ("-g", "x"), ("sh", "-c", "id")),
        ((), ("id",), ("nginx",), (), ("id",)),
    ],
)
def test_the_command_follows_dockers_rules(
    entrypoint, command, image_entrypoint, image_cmd, expected
):
    asked = config(entrypoint=entrypoint, command=command)
    image = ContainerDefaults(entrypoint=image_entrypoint, cmd=image_cmd)
    assert process.resolve_command(asked, image) == expected


def test_no_command_at_all_is_refused():
    with pytest.raises(Invalid, match="no command specified"):
        process.resolve_command(config(entrypoint=()), ContainerDefaults(cmd=("bash",)))


def test_the_users_environment_wins_over_the_images():
    image = ContainerDefaults(env=("PATH=/image", "A=image", "B=image"))
    asked = config(env=("A=user", "C=x=y", "B"), tty=True)
    assert process.resolve_environment(asked, image, "0123456789abcdef") == {
        "PATH": "/image",
        "HOSTNAME": "0123456789ab",
        "TERM": "xterm",
        "A": "user",
        "C": "x=y",
    }


@pytest.mark.parametrize(
    ("asked", "image", "expected"),
    [
        ("", "", "/"),
        ("", "srv", "/srv"),
        ("", "/a//b/", "/a/b"),
        ("/x", "/y", "/x"),
        ("//", "", "/"),
    ],
)
def test_the_working_directory_is_absolute(asked, image, expected):
    found = process.resolve_working_directory(
        config(working_dir=asked), ContainerDefaults(working_dir=image)
    )
    assert found == expected


def test_a_relative_working_directory_of_the_user_is_refused():
    with pytest.raises(Invalid, match="absolute"):
        process.resolve_working_directory(config(working_dir="srv"), ContainerDefaults())


def test_only_root_starts_with_effective_capabilities():
    root = process.compose_capabilities(config(), 0)
    user = process.compose_capabilities(config(), 1000)
    assert root.effective == root.permitted == root.bounding == user.bounding
    assert (user.effective, user.permitted) == ((), ())
    for sets in (root, user):
        assert (sets.ambient, sets.inheritable) == ((), ())


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), True),
        (("no-new-privileges",), True),
        (("no-new-privileges=false",), False),
        (("no-new-privileges:false",), False),
        (("seccomp=unconfined",), True),
    ],
)
def test_no_new_privileges_is_on_unless_told_otherwise(options, expected):
    assert process.wants_no_new_privileges(options) is expected


def test_a_privileged_container_may_gain_privileges():
    assert not process.wants_no_new_privileges((), privileged=True)
    assert process.wants_no_new_privileges(("no-new-privileges",), privileged=True)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("apparmor=docker-default",), "AppArmor profile docker-default"),
        (("label=type:svirt_t",), "SELinux label type:svirt_t"),
        (("apparmor=unconfined", "label=disable", "label:disable", "seccomp=unconfined"), ""),
    ],
)
def test_profiles_without_effect_are_told(options, words):
    found = securityoptions.find_ineffective(options)
    assert len(found) == bool(words)
    assert not words or words in found[0]


def test_system_paths_can_be_shown():
    assert securityoptions.shows_system_paths(("systempaths=unconfined",))
    assert not securityoptions.shows_system_paths(("apparmor=unconfined",))


def test_ulimits():
    limit = process.compose_rlimit(Ulimit(name="nofile", soft=10, hard=-1))
    assert (limit.type, limit.soft, limit.hard) == ("RLIMIT_NOFILE", 10, 2**64 - 1)
    with pytest.raises(Invalid, match="nofiles"):
        process.compose_rlimit(Ulimit(name="nofiles", soft=1, hard=1))
    with pytest.raises(Invalid, match="above"):
        process.compose_rlimit(Ulimit(name="nofile", soft=2, hard=1))


MIB = 1 << 20


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        (Resources(memory_bytes=64 * MIB), LinuxMemory(limit=64 * MIB, swap=128 * MIB)),
        (
            Resources(memory_bytes=64 * MIB, memory_swap_bytes=-1),
            LinuxMemory(limit=64 * MIB, swap=-1),
        ),
        (
            Resources(memory_bytes=64 * MIB, memory_swap_bytes=64 * MIB),
            LinuxMemory(limit=64 * MIB, swap=64 * MIB),
        ),
        (Resources(memory_reservation_bytes=MIB), LinuxMemory(reservation=MIB)),
        (Resources(), None),
    ],
)
def test_memory_follows_dockers_swap_rule(limits, expected):
    assert resources.compose_resources(limits).memory == expected


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (Resources(memory_swap_bytes=MIB), "--memory-swap needs --memory"),
        (Resources(memory_bytes=2 * MIB, memory_swap_bytes=MIB), "smaller"),
        (Resources(memory_bytes=MIB, memory_reservation_bytes=2 * MIB), "--memory-reservation"),
        (Resources(nano_cpus=10**15), "more than the"),
        (Resources(nano_cpus=1), "too small"),
        (Resources(nano_cpus=10**9, cpu_quota_us=1000), "exclude each other"),
        (Resources(device_read_bps=(ThrottleDevice("/dev/null", 1),)), "not a block device"),
    ],
)
def test_limits_that_cannot_be_are_refused_by_name(limits, words):
    with pytest.raises(Invalid, match=words):
        resources.compose_resources(limits)


def test_a_throttled_device_that_does_not_exist_is_named():
    with pytest.raises(NotFound, match="/dev/nonesuch"):
        resources.compose_resources(
            Resources(device_write_iops=(ThrottleDevice("/dev/nonesuch", 1),))
        )


def test_cpus_become_a_quota():
    assert resources.compose_resources(Resources(nano_cpus=500_000_000)).cpu == LinuxCPU(
        quota=50_000, period=100_000
    )


def test_pids_are_limited_by_default():
    def limit(asked):
        return resources.compose_resources(Resources(pids_limit=asked)).pids

    assert limit(None) == LinuxPids(limit=resources.DEFAULT_PIDS_LIMIT)
    assert limit(-1) == LinuxPids(limit=-1)
    assert limit(32) == LinuxPids(limit=32)


def test_the_users_mounts_replace_the_standard_ones_and_come_parents_first():
    asked = config(
        mounts=(
            MountConfig(type="bind", source="/srv/b", target="/data/deep", readonly=True),
            MountConfig(type="tmpfs", target="/dev/shm/"),
            MountConfig(type="bind", source="/srv/a", target="/data"),
            MountConfig(type="bind", source="/srv/hosts", target="/etc/hosts"),
        )
    )
    found = mounts.compose_mounts(asked, "/c", "/v", defaults.MOUNTS)
    targets = [mount.destination for mount in found]
    assert targets.index("/data") < targets.index("/data/deep")
    assert targets.count("/dev/shm") == 1
    by_target = {mount.destination: mount for mount in found}
    assert by_target["/dev/shm"].type == "tmpfs"
    assert by_target["/etc/hosts"].source == "/srv/hosts"
    assert by_target["/etc/hostname"].source == "/c/hostname"
    assert {"ro", "rro", "rbind", "rprivate"} <= set(by_target["/data/deep"].options)


def test_the_size_of_shm():
    found = mounts.compose_mounts(config(shm_size_bytes=MIB), "/c", "/v", defaults.MOUNTS)
    shm = next(mount for mount in found if mount.destination == "/dev/shm")
    assert f"size={MIB}" in shm.options
    assert sum(option.startswith("size=") for option in shm.options) == 1


@pytest.mark.parametrize(
    ("mount", "error", "words"),
    [
        (MountConfig(type="bind", source="/", target="rel"), Invalid, "absolute"),
        (MountConfig(type="bind", source="/", target="/proc"), Invalid, "/proc"),
        (MountConfig(type="bind", source="/", target="/proc/sys"), Invalid, "/proc/sys"),
        (MountConfig(type="bind", source="/", target="/a/../"), Invalid, "'/'"),
        (MountConfig(type="bind", source="rel", target="/x"), Invalid, "absolute"),
        (MountConfig(type="bind", source="/nonesuch", target="/x"), NotFound, "/nonesuch"),
        (
            MountConfig(type="bind", source="/", target="/x", propagation="up"),
            Invalid,
            "propagation 'up'",
        ),
    ],
)
def test_mounts_that_cannot_be_are_refused(mount, error, words):
    with pytest.raises(error, match=words):
        mounts.validate_mounts(config(mounts=(mount,)))


def test_two_mounts_at_one_place_are_refused():
    twice = (
        MountConfig(type="tmpfs", target="/x"),
        MountConfig(type="tmpfs", target="/x/"),
    )
    with pytest.raises(Invalid, match="duplicate mount point: /x"):
        mounts.validate_mounts(config(mounts=twice))


def test_v_makes_a_missing_source(tmp_path):
    source = tmp_path / "made" / "here"
    mounts.validate_mounts(
        config(
            mounts=(MountConfig(type="bind", source=str(source), target="/x", create_source=True),)
        )
    )
    assert source.is_dir()


def test_the_containers_own_files(tmp_path):
    asked = config(
        extra_hosts=("db:10.0.0.5", "six:[fd00::1]"), dns=("9.9.9.9",), dns_search=("lan",)
    )
    files.save(str(tmp_path), asked, "0123456789abcdef")
    assert (tmp_path / "hostname").read_text() == "0123456789ab\n"
    hosts = (tmp_path / "hosts").read_text()
    assert "10.0.0.5\tdb\n" in hosts
    assert "fd00::1\tsix\n" in hosts
    assert "0123456789ab" in hosts
    assert (tmp_path / "resolv.conf").read_text() == "nameserver 9.9.9.9\nsearch lan\n"


def test_a_malformed_extra_host_is_named(tmp_path):
    with pytest.raises(Invalid, match="'db' for --add-host"):
        files.save(str(tmp_path), config(extra_hosts=("db",)), "0" * 64)


def test_with_the_hosts_network_the_name_is_the_hosts():
    assert files.host_name(config(network_mode="host"), "0" * 64) == os.uname().nodename
    assert files.host_name(config(hostname="mine", network_mode="host"), "0" * 64) == "mine"
