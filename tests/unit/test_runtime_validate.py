"""Specs that are refused before anything starts."""

from __future__ import annotations

import msgspec
import pytest

from proa.errors import Invalid, ProaError, Unsupported
from proa.oci.isolation import DirectoryRoot, SandboxSpec
from proa.oci.spec import (
    Hook,
    Hooks,
    Linux,
    LinuxCapabilities,
    LinuxDevice,
    LinuxIDMapping,
    LinuxNamespace,
    LinuxTimeOffset,
    Mount,
    POSIXRlimit,
    Process,
    Spec,
    User,
)
from proa.runtime.validate import validate

MAPPING = (LinuxIDMapping(container_id=0, host_id=100000, size=10),)
LINUX = Linux(
    namespaces=tuple([LinuxNamespace(type=kind) for kind in ("mount", "pid", "network", "uts")])
)
PROCESS = Process(args=("true",), env=("A=b",))


def sandbox(
    *,
    identity: str = "box",
    process: Process | None = PROCESS,
    linux: Linux | None = LINUX,
    mounts: tuple[Mount, ...] = (),
    hostname: str = "",
) -> SandboxSpec:
    spec = Spec(process=process, linux=linux, mounts=mounts, hostname=hostname)
    return SandboxSpec(id=identity, spec=spec, root=DirectoryRoot(path="/r"), bundle="/b")


def test_a_plain_sandbox_is_accepted() -> None:
    validate(sandbox(hostname="a-b.c", mounts=(Mount(destination="/proc", type="proc"),)))


@pytest.mark.parametrize("identity", ["", "a/b", "../x", "-x", "a b", "x\n"])
def test_container_ids_are_plain(identity: str) -> None:
    with pytest.raises(Invalid, match="container id"):
        validate(sandbox(identity=identity))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"args": ()}, "no command"),
        ({"args": ("",)}, "no command"),
        ({"args": ("a\0b",)}, "NUL"),
        ({"cwd": "relative"}, "not absolute"),
        ({"env": ("NAME",)}, "NAME=value"),
        ({"env": ("=x",)}, "NAME=value"),
        ({"env": ("A=b\0c",)}, "NAME=value"),
        ({"user": User(uid=2**32 - 1)}, "out of range"),
        ({"user": User(additional_gids=(-1,))}, "out of range"),
        ({"rlimits": (POSIXRlimit(type="RLIMIT_X", soft=1, hard=1),)}, "unknown resource limit"),
        ({"rlimits": (POSIXRlimit(type="RLIMIT_CPU", soft=2, hard=1),)}, "above its hard"),
        ({"capabilities": LinuxCapabilities(bounding=("CAP_X",))}, "unknown capability"),
        ({"terminal": True}, "devpts"),
    ],
)
def test_processes(changes: dict[str, object], words: str) -> None:
    with pytest.raises(Invalid, match=words):
        validate(sandbox(process=msgspec.structs.replace(PROCESS, **changes)))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"namespaces": (LinuxNamespace(type="mount"),) * 2}, "twice"),
        ({"namespaces": (LinuxNamespace(type="moon"),)}, "unknown namespace"),
        ({"namespaces": (LinuxNamespace(type="pid"),)}, "mount namespace"),
        ({"uid_mappings": MAPPING}, "need a user namespace"),
        ({"sysctl": {"kernel.shmmax": "1"}}, "needs a ipc namespace"),
        ({"sysctl": {"kernel.panic": "1"}}, "whole host"),
        ({"sysctl": {"net..x": "1"}}, "invalid sysctl"),
        ({"sysctl": {"net.ipv4.ip_forward": "1"}}, "/proc"),
        ({"rootfs_propagation": "upwards"}, "propagation"),
        ({"masked_paths": ("proc/kcore",)}, "not absolute"),
        ({"devices": (LinuxDevice(type="x", path="/dev/x"),)}, "device"),
        ({"time_offsets": {"monotonic": LinuxTimeOffset(secs=1)}}, "time namespace"),
    ],
)
def test_the_linux_section(changes: dict[str, object], words: str) -> None:
    with pytest.raises(Invalid, match=words):
        validate(sandbox(linux=msgspec.structs.replace(LINUX, **changes)))


def test_a_user_namespace_needs_mappings_of_root() -> None:
    namespaces = (*LINUX.namespaces, LinuxNamespace(type="user"))
    linux = msgspec.structs.replace(LINUX, namespaces=namespaces)
    with pytest.raises(Invalid, match="needs user id mappings"):
        validate(sandbox(linux=linux))
    other = (LinuxIDMapping(container_id=5, host_id=100000, size=10),)
    linux = msgspec.structs.replace(linux, uid_mappings=other, gid_mappings=other)
    with pytest.raises(Invalid, match="leave out 0"):
        validate(sandbox(linux=linux))


@pytest.mark.parametrize(
    "destination", ["/proc", "/proc/sys", "/proc/self/attr", "/proc/../proc/1", "/proc//sys"]
)
def test_nothing_covers_the_kernels_files(destination: str) -> None:
    mount = Mount(destination=destination, source="/tmp", options=("rbind",))
    with pytest.raises(Invalid, match="hide or fake"):
        validate(sandbox(mounts=(mount,)))
    with pytest.raises(Invalid, match="hide or fake"):
        validate(sandbox(mounts=(Mount(destination=destination, type="tmpfs"),)))


def test_lxcfs_may_cover_what_is_only_read() -> None:
    validate(sandbox(mounts=(Mount(destination="/proc/meminfo", source="/x", options=("bind",)),)))


@pytest.mark.parametrize(
    "mount",
    [
        Mount(destination="relative", type="tmpfs"),
        Mount(destination="/", type="tmpfs"),
        Mount(destination="/x/..", type="tmpfs"),
        Mount(destination="/x", source="relative", options=("bind",)),
        Mount(destination="/x", type=""),
        Mount(destination="/x", type="a,b"),
    ],
)
def test_mounts_that_make_no_sense(mount: Mount) -> None:
    with pytest.raises(Invalid):
        validate(sandbox(mounts=(mount,)))


@pytest.mark.parametrize("hostname", ["a" * 65, "a b", "a/b", "a\nb"])
def test_host_names(hostname: str) -> None:
    with pytest.raises(Invalid, match="host name"):
        validate(sandbox(hostname=hostname))


def test_a_host_name_needs_a_namespace_of_its_own() -> None:
    linux = msgspec.structs.replace(LINUX, namespaces=(LinuxNamespace(type="mount"),))
    with pytest.raises(Invalid, match="UTS namespace"):
        validate(sandbox(linux=linux, hostname="box"))


@pytest.mark.parametrize(
    ("paths", "accepted"),
    [
        ({"user": "/proc/1/ns/user"}, True),
        ({"user": "/proc/1/ns/user", "pid": "/proc/1/ns/pid"}, True),
        ({"user": "/proc/1/ns/user", "pid": ""}, False),
        ({"user": "", "pid": "/proc/1/ns/pid"}, False),
        ({"pid": "/proc/1/ns/pid"}, True),
    ],
)
def test_a_joined_user_namespace_owns_the_processes(paths: dict[str, str], accepted: bool) -> None:
    kinds = [LinuxNamespace(type=kind, path=path) for kind, path in paths.items()]
    mappings = MAPPING if "user" in paths else ()
    linux = msgspec.structs.replace(
        LINUX,
        namespaces=(LinuxNamespace(type="mount"), *kinds),
        uid_mappings=mappings,
        gid_mappings=mappings,
    )
    if accepted:
        validate(sandbox(linux=linux))
        return
    with pytest.raises(Unsupported, match=r"/proc|pid namespace of its own"):
        validate(sandbox(linux=linux))


@pytest.mark.parametrize(
    "changes",
    [
        {"apparmor_profile": "docker-default"},
        {"selinux_label": "system_u:system_r:container_t"},
    ],
)
def test_what_is_not_built_is_refused_and_never_ignored(changes: dict[str, object]) -> None:
    with pytest.raises(Unsupported, match="not part of this version"):
        validate(sandbox(process=msgspec.structs.replace(PROCESS, **changes)))


def test_hooks_and_labels_are_not_built() -> None:
    plain = sandbox()
    hooks = Hooks(poststop=(Hook(path="/bin/x"),))
    spec = msgspec.structs.replace(plain.spec, hooks=hooks)
    with pytest.raises(Unsupported, match="hooks"):
        validate(msgspec.structs.replace(plain, spec=spec))
    mount = Mount(destination="/x", source="/y", options=("bind",), uid_mappings=MAPPING)
    with pytest.raises(Unsupported, match="mappings of its own"):
        validate(sandbox(mounts=(mount,)))
    with pytest.raises(Unsupported, match="labels"):
        validate(sandbox(linux=msgspec.structs.replace(LINUX, mount_label="x")))


def test_a_spec_without_a_process_is_refused() -> None:
    with pytest.raises(ProaError, match="no process"):
        validate(sandbox(process=None))
    with pytest.raises(ProaError, match="no process"):
        validate(sandbox(linux=None))
