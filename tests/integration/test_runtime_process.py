"""Process isolation on the real kernel: what the contract's suite cannot see from inside."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from proa.cgroups.manager import CgroupManager
from proa.errors import Conflict, NotFound, ProaError
from proa.linux import namespaces as ns
from proa.oci.isolation import DirectoryRoot, Stdio
from proa.oci.resources import LinuxDeviceCgroup, LinuxPids, LinuxResources
from proa.oci.spec import LinuxDevice, LinuxNamespace, Mount, Spec
from proa.runtime import groups, recover
from proa.runtime.process import ProcessIsolation
from proa.runtime.security import userns
from tests.support.sandboxes import (
    KINDS,
    USERNS_BASE,
    Boxes,
    make_process,
    make_root,
    make_spec,
    status_of,
)

pytestmark = pytest.mark.requires("root", "userns", "idmap", "overlay", "busybox")

HOST_USERNS = tuple([kind for kind in KINDS if kind != "user"])
MOUNT_POINTS = {
    "/", "/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/sys", "/sys/fs/cgroup",
}  # fmt: skip


@pytest.fixture(params=["native", "portable"])
def boxes(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Boxes]:
    make_root(str(tmp_path / "layer"))
    isolation = ProcessIsolation(executor=request.param)
    made = Boxes(isolation, str(tmp_path / "state"), str(tmp_path / "layer"))
    yield made
    made.close()
    groups.manager().close()


def directory_root(boxes: Boxes) -> DirectoryRoot:
    return DirectoryRoot(path=f"{boxes.directory}/layers/busybox")


def mounts_of(pid: int) -> dict[str, str]:
    """Filesystem type by mount point, as the process sees them."""
    found = {}
    for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines():
        fields = line.split()
        found[fields[4]] = fields[fields.index("-") + 1]
    return found


@pytest.mark.parametrize("kinds", [KINDS, HOST_USERNS])
@pytest.mark.parametrize("layered", [True, False])
def test_nothing_of_the_host_stays_mounted(
    boxes: Boxes, kinds: tuple[str, ...], layered: bool
) -> None:
    root = boxes.overlay() if layered else directory_root(boxes)
    with boxes.running(make_spec(make_process("sleep", "1000"), kinds=kinds), root) as sandbox:
        mounts = mounts_of(sandbox.init.pid)
        others = {
            point
            for point in mounts
            if not point.startswith(("/proc/", "/sys/firmware", "/sys/fs/cgroup/", "/dev/"))
            and not point.startswith("/sys/devices/")
        }
        assert others <= MOUNT_POINTS
        assert mounts["/"] == ("overlay" if layered else mounts["/"])
        assert os.stat(f"/proc/{sandbox.init.pid}/root").st_ino != os.stat("/").st_ino


def test_root_inside_is_nobody_outside(boxes: Boxes) -> None:
    with boxes.running() as sandbox:
        status = status_of(Path(f"/proc/{sandbox.init.pid}/status").read_text())
        assert set(status["Uid"].split()) == {str(USERNS_BASE)}
        assert set(status["Gid"].split()) == {str(USERNS_BASE)}
        assert status["Groups"] == ""


def test_the_hosts_user_namespace_can_be_kept(boxes: Boxes) -> None:
    script = "mknod /tmp/x c 1 3 2>/dev/null; stat -c '%u %t:%T' /dev/null; touch /made"
    root = boxes.overlay()
    spec = make_spec(make_process("sh", "-c", script), kinds=HOST_USERNS)
    assert boxes.run(spec, root).out == "0 1:3\n"
    assert os.stat(f"{boxes.directory}/{root.upper}/made").st_uid == 0


def test_a_directory_is_root_too(boxes: Boxes) -> None:
    spec = make_spec(make_process("sh", "-c", "touch /made; stat -c %u /made"))
    root = directory_root(boxes)
    assert boxes.run(spec, root).out == "0\n"
    assert os.stat(f"{root.path}/made").st_uid == 0


def test_processes_are_in_the_cgroup_from_the_start(boxes: Boxes) -> None:
    spec = make_spec(
        make_process("sh", "-c", "for i in 1 2 3 4 5 6 7 8; do sleep 1 & done; echo all"),
        resources=LinuxResources(pids=LinuxPids(limit=4)),
    )
    outcome = boxes.run(spec)
    assert "all" not in outcome.out
    assert "fork" in outcome.err


def test_a_filesystem_that_cannot_be_mapped_is_shown_with_a_warning(boxes: Boxes) -> None:
    mount = Mount(destination="/host", source="/sys/kernel", options=("rbind", "ro"))
    spec = make_spec(make_process("sleep", "1000"))
    spec = msgspec.structs.replace(spec, mounts=(*spec.mounts, mount))
    with boxes.running(spec) as sandbox:
        (warning,) = sandbox.warnings
        assert "/sys/kernel" in warning
        assert boxes.exec(sandbox, make_process("stat", "-c", "%u", "/host")).out == "65534\n"


def test_a_missing_bind_source_leaves_nothing(boxes: Boxes) -> None:
    spec = make_spec(make_process("true"))
    mount = Mount(destination="/x", source="/nowhere", options=("rbind",))
    spec = msgspec.structs.replace(spec, mounts=(*spec.mounts, mount))
    before = sorted(os.listdir("/proc/self/fd"))
    for _ in range(50):
        with pytest.raises(NotFound, match="/nowhere"):
            boxes.create(spec, Stdio(0, 1, 2))
    groups.manager().close()
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_devices_of_the_spec(boxes: Boxes) -> None:
    device = LinuxDevice(
        type="c", path="/dev/extra/none", major=1, minor=3, file_mode=0o640, uid=5, gid=6
    )
    rule = LinuxDeviceCgroup(allow=True, type="c", major=1, minor=3, access="rwm")
    path = device.path
    for kinds in (KINDS, HOST_USERNS):
        spec = make_spec(
            make_process("sh", "-c", f"stat -c '%t:%T %a %u:%g' {path}; echo x >{path}"),
            kinds=kinds,
            devices=(device,),
            resources=LinuxResources(devices=(rule,)),
        )
        outcome = boxes.run(spec)
        assert (outcome.out, outcome.err) == ("1:3 640 5:6\n", "")


def test_another_containers_network_can_be_joined(boxes: Boxes) -> None:
    with boxes.running() as sandbox:
        path = f"/proc/{sandbox.init.pid}/ns/net"
        spec = make_spec(make_process("readlink", "/proc/self/ns/net"))
        assert spec.linux is not None
        namespaces = [item for item in spec.linux.namespaces if item.type != "network"]
        namespaces.append(LinuxNamespace(type="network", path=path))
        linux = msgspec.structs.replace(spec.linux, namespaces=tuple(namespaces))
        own = os.readlink("/proc/self/ns/net")
        outcome = boxes.run(msgspec.structs.replace(spec, linux=linux))
        assert outcome.out.strip() == os.readlink(path) != own
        assert os.readlink("/proc/self/ns/net") == own, "the engine is back where it was"


def test_the_hosts_network_shows_the_hosts_sysfs_read_only(boxes: Boxes) -> None:
    kinds = tuple([kind for kind in KINDS if kind != "network"])
    script = "ls /sys/class/net | wc -l; touch /sys/kernel/x; mount | grep -c ' /sys '"
    outcome = boxes.run(make_spec(make_process("sh", "-c", script), kinds=kinds))
    assert outcome.lines[0] == str(len(os.listdir("/sys/class/net")))
    assert outcome.lines[1] == "1"
    assert outcome.err != ""


def test_the_hosts_pids_and_ipc_can_be_shared(boxes: Boxes) -> None:
    kinds = tuple([kind for kind in KINDS if kind not in ("pid", "ipc")])
    spec = make_spec(make_process("sh", "-c", f"ls -d /proc/{os.getpid()}"), kinds=kinds)
    assert spec.linux is not None
    outcome = boxes.run(spec)
    assert outcome.out == f"/proc/{os.getpid()}\n"


def test_the_network_is_handed_out_before_anything_runs(boxes: Boxes) -> None:
    seen = []

    def configure(fd: int) -> None:
        seen.append(os.fstat(fd).st_ino)
        os.close(fd)

    null = os.open("/dev/null", os.O_RDWR)
    spec = make_spec(make_process("sleep", "1000"))
    sandbox = boxes.isolation.create(
        boxes.sandbox(spec), Stdio(null, null, null), start=True, on_network=configure
    )
    boxes._made.append(sandbox)
    os.close(null)
    assert seen == [os.stat(f"/proc/{sandbox.init.pid}/ns/net").st_ino]


def test_a_network_that_fails_ends_the_creation(boxes: Boxes) -> None:
    def configure(fd: int) -> None:
        os.close(fd)
        raise Conflict("no address is left")

    with pytest.raises(Conflict, match="no address"):
        boxes.isolation.create(
            boxes.sandbox(make_spec(make_process("true"))), Stdio(0, 1, 2), on_network=configure
        )


def test_a_failing_step_is_named(boxes: Boxes) -> None:
    spec = make_spec(make_process("true"))
    mount = Mount(destination="/x", type="nosuchfs", source="none")
    with pytest.raises(ProaError, match=r"cannot mount /x.*step \d+, fsopen"):
        boxes.run(msgspec.structs.replace(spec, mounts=(*spec.mounts, mount)))


def failing_specs() -> list[Spec]:
    plain = make_spec(make_process("missing"))
    mount = Mount(destination="/etc/passwd/x", type="tmpfs", source="tmpfs")
    return [plain, msgspec.structs.replace(plain, mounts=(*plain.mounts, mount))]


def test_nothing_leaks_over_many_launches_and_failures(boxes: Boxes) -> None:
    boxes.shell("true")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(10):
        boxes.shell("true")
        for spec in failing_specs():
            with pytest.raises(ProaError):
                boxes.run(spec)
        with boxes.running() as sandbox:
            boxes.exec(sandbox, make_process("true"))
            with pytest.raises(ProaError):
                boxes.exec(sandbox, make_process("missing"))
            sandbox.delete()
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("start", [True, False])
def test_a_container_dies_with_its_supervisor_and_is_cleared_away(
    boxes: Boxes, start: bool
) -> None:
    described = boxes.sandbox(make_spec(make_process("sleep", "1000")))
    reader, writer = os.pipe()
    supervisor = os.fork()
    if supervisor == 0:
        try:
            os.setsid()
            made = boxes.isolation.create(described, Stdio(0, 1, 2), start=start)
            os.write(writer, str(made.init.pid).encode())
            signal.pause()
        finally:
            os._exit(1)
    init = int(os.read(reader, 32))
    os.close(reader)
    os.close(writer)
    pidfd = os.pidfd_open(init)
    os.kill(supervisor, signal.SIGKILL)
    os.waitpid(supervisor, 0)
    assert select.select([pidfd], [], [], 10)[0], "init outlived its supervisor"
    os.close(pidfd)
    assert recover.remove_remains(described.id)
    assert not recover.remove_remains(described.id)
    with pytest.raises(NotFound):
        CgroupManager().open(f"/proa/{described.id}")


def test_user_namespaces_are_found_to_work(tmp_path: Path) -> None:
    assert userns.probe(str(tmp_path)) is None


def test_the_engine_stays_in_its_own_namespaces(boxes: Boxes) -> None:
    before = {kind: os.readlink(f"/proc/self/ns/{name}") for kind, name in ns.FILES.items()}
    with boxes.running() as sandbox:
        boxes.exec(sandbox, make_process("true"))
    after = {kind: os.readlink(f"/proc/self/ns/{name}") for kind, name in ns.FILES.items()}
    assert after == before
