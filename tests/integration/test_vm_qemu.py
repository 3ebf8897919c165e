"""A QEMU that really runs: what a guest that broke out of it finds, and how its end is told."""

import os
import select
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from proa.errors import Invalid, NotFound, Unavailable, Unsupported
from proa.vm import probe
from proa.vm.accel import (
    boot_probe,
    choose_accelerator,
    find_acceleration,
    measure_tsc_khz,
)
from proa.vm.kernel import Kernel
from proa.vm.qemu.argv import build_command, tuned_parameters
from proa.vm.qemu.machine import Disk, File, Inherited, KernelBoot, Machine
from proa.vm.qemu.process import Confinement, Qemu, spawn
from proa.vm.qemu.qmp import Qmp, QmpError
from tests.support.kernels import ensure_kernel

pytestmark = pytest.mark.requires("root", "qemu-system-x86_64")

UID = 1_600_000_000
MIB = 1 << 20


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("vm"))


@pytest.fixture(scope="module")
def kernel(root: str) -> Kernel:
    return ensure_kernel(root)


def idle_machine(kernel: Kernel, **changes: object) -> Machine:
    """A machine whose CPU never starts: its QEMU is there at once and costs nothing."""
    machine = Machine(
        name="idle",
        memory_bytes=128 * MIB,
        boot=KernelBoot(kernel=File(kernel.vmlinux)),
        paused=True,
    )
    return msgspec.structs.replace(machine, **changes)


@pytest.fixture
def idle(kernel: Kernel) -> Iterator[tuple[Qemu, Qmp]]:
    ours, theirs = socket.socketpair()
    command = build_command(idle_machine(kernel, qmp=Inherited(theirs.fileno())))
    with theirs, spawn(command, Confinement(uid=UID)) as qemu:
        theirs.close()
        qmp = Qmp(ours)
        # It has its program loaded and everything open once it answers.
        qmp.execute("query-status")
        yield qemu, qmp
        qmp.close()


def status_of(qemu: Qemu) -> dict[str, str]:
    with open(f"/proc/{qemu.pid}/status") as lines:
        return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def test_qemu_has_a_user_of_its_own_and_no_way_to_more(idle: tuple[Qemu, Qmp]) -> None:
    qemu, _ = idle
    status = status_of(qemu)
    assert set(status["Uid"].split()) == {str(UID)}
    assert set(status["Gid"].split()) == {str(UID)}
    assert status["Groups"] == ""
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[name], 16) == 0, name
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"


def test_qemu_shares_no_namespace_with_the_host_but_the_users(idle: tuple[Qemu, Qmp]) -> None:
    qemu, _ = idle
    for name in ("mnt", "pid", "net", "ipc", "uts", "cgroup"):
        theirs = os.readlink(f"/proc/{qemu.pid}/ns/{name}")
        assert theirs != os.readlink(f"/proc/self/ns/{name}"), name


def test_qemu_sees_its_program_files_and_nothing_of_the_host(idle: tuple[Qemu, Qmp]) -> None:
    qemu, _ = idle
    view = f"/proc/{qemu.pid}/root"
    assert set(os.listdir(view)) <= {"usr", "bin", "lib", "lib32", "lib64", "etc", "proc", "dev"}
    assert os.listdir(f"{view}/etc") == ["ld.so.cache"]
    assert set(os.listdir(f"{view}/dev")) == {"null", "zero", "full", "random", "urandom"}
    with open(f"/proc/{qemu.pid}/mountinfo") as lines:
        mounts = [line.split() for line in lines]
    writable = [fields[4] for fields in mounts if not fields[5].startswith("ro")]
    assert writable == ["/proc"]


def test_qemu_holds_descriptors_of_its_guest_only(idle: tuple[Qemu, Qmp], kernel: Kernel) -> None:
    qemu, _ = idle
    links = {os.readlink(f"/proc/{qemu.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{qemu.pid}/fd")}
    files = {link for link in links if link.startswith("/") and not link.startswith("/memfd:")}
    assert files <= {"/dev/null", kernel.vmlinux}


def test_a_qemu_that_is_killed_is_noticed_at_once(idle: tuple[Qemu, Qmp]) -> None:
    qemu, _ = idle
    assert qemu.poll() is None
    qemu.kill()
    poll = select.poll()
    poll.register(qemu.pidfd, select.POLLIN)
    assert poll.poll(2000)
    assert qemu.wait() == (0, signal.SIGKILL)
    assert "signal 9" in str(qemu.failure("run web"))


def test_qemu_dies_with_the_process_that_started_it(kernel: Kernel) -> None:
    command = build_command(idle_machine(kernel))
    read, write = os.pipe()
    parent = os.fork()
    if parent == 0:
        try:
            qemu = spawn(command, Confinement(uid=UID))
            os.write(write, str(qemu.pid).encode())
            signal.pause()
        finally:
            os._exit(1)
    os.close(write)
    pid = int(os.read(read, 32))
    os.close(read)
    pidfd = os.pidfd_open(pid)
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    assert poll.poll(5000)
    os.close(pidfd)


def test_the_monitor_cannot_open_files_of_the_host(idle: tuple[Qemu, Qmp], tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    secret.chmod(0o644)
    node = {"driver": "file", "node-name": "x", "filename": str(secret)}
    with pytest.raises(QmpError, match="No such file"):
        idle[1].execute("blockdev-add", node)


def test_root_is_no_user_for_qemu_and_missing_files_are_named(kernel: Kernel) -> None:
    with pytest.raises(Invalid, match="root"):
        spawn(build_command(idle_machine(kernel)), Confinement())
    disk = Disk(source=File("/var/tmp/proa-absent"))
    with pytest.raises(NotFound, match="/var/tmp/proa-absent"):
        spawn(build_command(idle_machine(kernel, disks=(disk,))), Confinement(uid=UID))


def test_what_qemu_says_before_it_ends_is_told(kernel: Kernel) -> None:
    machine = idle_machine(kernel, cpu="no-such-model")
    with spawn(build_command(machine), Confinement(uid=UID)) as qemu:
        qemu.wait()
        error = qemu.failure("start web")
    assert isinstance(error, Unavailable)
    assert "no-such-model" in str(error)


def test_a_disk_of_many_parts_and_a_disk_on_a_base(kernel: Kernel, tmp_path: Path) -> None:
    parts = []
    for number in range(40):
        part = tmp_path / f"part{number}"
        part.write_bytes(bytes(4096))
        parts.append(File(str(part)))
    ours, theirs = socket.socketpair()
    machine = idle_machine(
        kernel, disks=(Disk(extents=tuple(parts), cache="unsafe"),), qmp=Inherited(theirs.fileno())
    )
    with theirs, spawn(build_command(machine), Confinement(uid=UID)):
        theirs.close()
        qmp = Qmp(ours)
        (device,) = qmp.execute("query-block")
        qmp.close()
    assert device["inserted"]["image"]["virtual-size"] == 40 * 4096
    assert device["inserted"]["ro"] is True


def test_a_probe_guest_reaches_its_user_space_under_tcg(kernel: Kernel) -> None:
    assert boot_probe(kernel, "tcg", measure_tsc_khz(), 60) > 0


def test_kvm_is_used_only_when_a_guest_ran_on_it(kernel: Kernel, root: str) -> None:
    try:
        boot_probe(kernel, "kvm", 0, 20)
        runs = True
    except Unavailable:
        runs = False
    chosen = choose_accelerator(root, kernel)
    assert chosen.accelerator == ("kvm" if runs else "tcg")
    assert bool(chosen.warning) != runs
    known = find_acceleration(root, kernel)
    assert known is not None
    assert known.accelerator == chosen.accelerator
    started = time.monotonic()
    assert choose_accelerator(root, kernel) == chosen
    assert time.monotonic() - started < 0.5
    if not runs:
        with pytest.raises(Unsupported, match="KVM cannot be used"):
            choose_accelerator(root, kernel, "kvm")
    assert choose_accelerator(root, kernel, "tcg").accelerator == "tcg"


def test_the_guest_cannot_write_what_it_was_given_to_read(kernel: Kernel, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(MIB))
    command = build_command(idle_machine(kernel, disks=(Disk(source=File(str(disk))),)))
    with spawn(command, Confinement(uid=UID)) as qemu:
        flags = [
            int(line.split()[1], 8)
            for fd in os.listdir(f"/proc/{qemu.pid}/fd")
            if os.readlink(f"/proc/{qemu.pid}/fd/{fd}") == str(disk)
            for line in Path(f"/proc/{qemu.pid}/fdinfo/{fd}").read_text().splitlines()
            if line.startswith("flags")
        ]
    assert flags
    assert all(flag & os.O_ACCMODE == os.O_RDONLY for flag in flags)


def test_the_word_of_the_probe_is_said_by_its_init(kernel: Kernel, tmp_path: Path) -> None:
    initramfs = tmp_path / "probe.cpio"
    initramfs.write_bytes(probe.make_initramfs())
    initramfs.chmod(0o644)
    ours, theirs = socket.socketpair()
    boot = KernelBoot(kernel=File(kernel.vmlinux), initrd=File(str(initramfs)))
    machine = Machine(
        name="probe", memory_bytes=128 * MIB, boot=boot, console=Inherited(theirs.fileno())
    )
    line = tuned_parameters(machine, measure_tsc_khz())
    machine = msgspec.structs.replace(
        machine, boot=msgspec.structs.replace(boot, command_line=line)
    )
    with ours, spawn(build_command(machine), Confinement(uid=UID)) as qemu:
        theirs.close()
        said = b""
        ours.settimeout(60)
        try:
            while data := ours.recv(4096):
                said += data
        except ConnectionResetError:
            pass
        assert qemu.wait() == (0, 0)
    assert probe.WORD in said
