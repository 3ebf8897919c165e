"""``proa vm``: machines from disk images, driven over their consoles."""

import json
import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from proa.engine.facade import Engine
from proa.errors import Conflict, Invalid, NotFound
from tests.support import debianinit
from tests.support.bootsector import GREETING, write_disk
from tests.support.engines import Proa, launcher
from tests.support.kernels import ensure_kernel
from tests.support.terminal import Terminal

pytestmark = pytest.mark.requires("root", "qemu-system-x86_64", "qemu-img")

BOOT_TIMEOUT_S = 120


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "sector.img"
    write_disk(path)
    return path


@pytest.fixture
def vms(fresh_proa: Proa) -> Iterator[Proa]:
    """The command line on an empty root; its machines are removed after."""
    yield fresh_proa
    names = fresh_proa.ok("vm", "ls", "-q").split()
    if names:
        fresh_proa.ok("vm", "rm", "-f", *names)


@pytest.fixture
def engine(vms: Proa) -> Iterator[Engine]:
    with Engine(vms.root, vms.run_dir) as engine:
        yield engine


class Console:
    """One client of a machine's console."""

    def __init__(self, engine: Engine, name: str) -> None:
        self._socket: socket.socket = engine.vms.open_console(name)
        self.said = b""

    def expect(self, wanted: bytes) -> bytes:
        """Read until ``wanted`` was said; return and forget everything up to it."""
        deadline = time.monotonic() + BOOT_TIMEOUT_S
        while wanted not in self.said:
            self._socket.settimeout(max(0.01, deadline - time.monotonic()))
            try:
                data = self._socket.recv(65536)
            except TimeoutError:
                raise AssertionError(f"{wanted!r} was not said after {self.said!r}") from None
            assert data, f"the console ended after {self.said!r}"
            self.said += data
        before, _, self.said = self.said.partition(wanted)
        return before

    def type(self, text: bytes) -> None:
        self._socket.sendall(text)

    def expect_end(self) -> None:
        self._socket.settimeout(BOOT_TIMEOUT_S)
        while self._socket.recv(65536):
            pass

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> "Console":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def status(vms: Proa, name: str) -> dict[str, object]:
    (document,) = json.loads(vms.ok("vm", "inspect", name))
    state: dict[str, object] = document["State"]
    return state


def test_a_machine_lives_from_create_to_rm(vms: Proa, engine: Engine, disk: Path) -> None:
    before = disk.read_bytes()
    machine_id = vms.ok("vm", "create", "--disk", str(disk), "-m", "32m", "box1")
    assert len(machine_id) == 64
    assert status(vms, "box1")["Status"] == "created"
    started = vms("vm", "start", "box1")
    assert started.stdout == "box1\n"
    assert "Up " in vms.ok("vm", "ls")
    with Console(engine, machine_id[:12]) as console:
        console.expect(GREETING)
        console.type(b"x")
        console.expect(b"x")
        console.type(b"r")
        console.expect(b"=x")
        console.type(b"q")
        console.expect_end()
    state = status(vms, "box1")
    assert (state["Status"], state["EndedBy"], state["Error"]) == ("exited", "shutdown", "")
    assert disk.read_bytes() == before
    vms.ok("vm", "start", "box1")
    with Console(engine, "box1") as console:
        console.expect(GREETING)
        console.type(b"r")
        console.expect(b"=x")
    assert vms("vm", "rm", "box1").code == 1
    assert vms.ok("vm", "rm", "-f", "box1") == "box1"
    assert vms.ok("vm", "ls", "-q") == ""
    assert os.listdir(f"{vms.root}/vms") == []
    assert disk.exists()


def test_copies_of_one_image_do_not_see_each_other(vms: Proa, engine: Engine, disk: Path) -> None:
    for name, letter in (("one1", b"a"), ("two2", b"b")):
        engine.vms.create(name, disks=[str(disk)])
        engine.vms.start(name)
        with Console(engine, name) as console:
            console.expect(GREETING)
            console.type(letter)
            console.expect(letter)
    for name, letter in (("one1", b"a"), ("two2", b"b")):
        with Console(engine, name) as console:
            console.type(b"r")
            console.expect(b"=" + letter)


def test_a_machine_that_does_not_go_down_is_switched_off(
    vms: Proa, engine: Engine, disk: Path
) -> None:
    engine.vms.create("deaf", disks=[str(disk)])
    engine.vms.start("deaf")
    started = time.monotonic()
    vms.ok("vm", "stop", "-t", "1", "deaf")
    assert 0.9 < time.monotonic() - started < 20
    assert status(vms, "deaf")["EndedBy"] == "killed"
    vms.ok("vm", "stop", "deaf")


def test_two_at_one_console_and_keys_that_leave(vms: Proa, engine: Engine, disk: Path) -> None:
    engine.vms.create("seen", disks=[str(disk)])
    engine.vms.start("seen")
    argv = [*launcher(), "vm", "console", "seen"]
    with Console(engine, "seen") as other, Terminal(argv, env=vms.environment()) as terminal:
        other.expect(GREETING)
        terminal.expect("sector up")
        terminal.type("y")
        terminal.expect("y")
        other.expect(b"y")
        terminal.type("\x1d")
        assert terminal.wait() == 0
        other.type(b"z")
        other.expect(b"z")
    assert status(vms, "seen")["Status"] == "running"


def test_a_snapshot_of_a_running_machine_has_its_disk(
    vms: Proa, engine: Engine, disk: Path
) -> None:
    engine.vms.create("snap", disks=[str(disk)])
    engine.vms.start("snap")
    with Console(engine, "snap") as console:
        console.expect(GREETING)
        console.type(b"1")
        console.expect(b"1")
        vms.ok("vm", "snapshot", "save", "snap", "first")
        console.type(b"2")
        console.expect(b"2")
        assert vms.ok("vm", "snapshot", "ls", "snap") == "first"
        vms.ok("vm", "snapshot", "load", "snap", "first")
        console.type(b"r")
        console.expect(b"=1")
    assert vms("vm", "snapshot", "save", "snap", "first").code == 1
    assert vms("vm", "snapshot", "load", "snap", "absent").code == 1
    vms.ok("vm", "stop", "-t", "0", "snap")
    vms.ok("vm", "snapshot", "rm", "snap", "first")
    vms.ok("vm", "snapshot", "save", "snap", "cold")
    assert vms.ok("vm", "snapshot", "ls", "snap") == "cold"


def test_a_killed_supervisor_is_told_and_takes_qemu_along(
    vms: Proa, engine: Engine, disk: Path
) -> None:
    record = engine.vms.create("lost", disks=[str(disk)])
    engine.vms.start("lost")
    qemu = os.pidfd_open(engine.vms.get("lost").state.qemu_pid)
    with open(f"/proc/{engine.vms.get('lost').state.qemu_pid}/stat") as stat:
        supervisor = int(stat.read().rpartition(")")[2].split()[1])
    os.kill(supervisor, signal.SIGKILL)
    poll = select.poll()
    poll.register(qemu, select.POLLIN)
    assert poll.poll(2000)
    os.close(qemu)
    state = engine.vms.get(record.id).state
    assert (state.status, state.how) == ("exited", "failed")
    engine.vms.start("lost")
    assert engine.vms.get("lost").state.status == "running"


def test_a_killed_qemu_is_told_within_two_seconds(vms: Proa, engine: Engine, disk: Path) -> None:
    engine.vms.create("shot", disks=[str(disk)])
    engine.vms.start("shot")
    with Console(engine, "shot") as console:
        os.kill(engine.vms.get("shot").state.qemu_pid, signal.SIGKILL)
        started = time.monotonic()
        console.expect_end()
    while engine.vms.get("shot").state.status == "running":
        assert time.monotonic() - started < 2
        time.sleep(0.01)
    state = engine.vms.get("shot").state
    assert state.how == "failed"
    assert "signal 9" in state.error


def test_a_changed_base_is_refused(engine: Engine, disk: Path) -> None:
    engine.vms.create("base", disks=[str(disk)])
    with disk.open("r+b") as stream:
        stream.write(b"changed")
    with pytest.raises(Conflict, match="was changed"):
        engine.vms.start("base")
    assert engine.vms.get("base").state.status == "created"


def test_an_image_that_refers_to_other_files_is_refused(engine: Engine, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(65536))
    for name, options in (
        ("backed", ["-b", str(secret), "-F", "raw"]),
        ("split", ["-o", f"data_file={tmp_path}/data"]),
    ):
        image = str(tmp_path / f"{name}.qcow2")
        subprocess.run(
            ["qemu-img", "create", "-q", "-f", "qcow2", *options, image, "1M"], check=True
        )
        with pytest.raises(Invalid, match="refers to another file"):
            engine.vms.create(name, disks=[image])
    assert engine.vms.list() == []


@pytest.mark.parametrize(
    "words",
    [
        ["x,readonly=off"],
        ["--name", "x=y", "--disk", "{disk}"],
        ["--disk", "{disk}", "--cpu", "max -bios x", "web1"],
        ["--disk", "{disk}", "-m", "1m", "web1"],
        ["--disk", "{disk}", "--disk-size", "1k", "web1"],
        ["--disk", "{disk}", "--firmware", "coreboot", "web1"],
        ["--disk", "{disk}.absent", "web1"],
        ["--disk", "{disk}", "-p", "80", "web1"],
        ["--disk", "{disk}", "--network", "none", "-p", "127.0.0.1:80:80", "web1"],
        ["web1"],
    ],
)
def test_impossible_machines_leave_nothing(vms: Proa, disk: Path, words: list[str]) -> None:
    done = vms("vm", "create", *(word.replace("{disk}", str(disk)) for word in words))
    assert done.code != 0
    assert done.stderr
    assert vms.ok("vm", "ls", "-q") == ""
    assert not os.path.exists(f"{vms.root}/vms") or os.listdir(f"{vms.root}/vms") == []


def test_names_are_unique_and_machines_are_found(engine: Engine, disk: Path) -> None:
    record = engine.vms.create("only", disks=[str(disk)], disk_size_bytes=2 << 20)
    assert engine.vms.inspect("only")["Disks"][0]["Size"] == 2 << 20
    assert engine.vms.get(record.id[:10]).name == "only"
    with pytest.raises(Conflict, match="only"):
        engine.vms.create("only", disks=[str(disk)])
    with pytest.raises(NotFound):
        engine.vms.get("absent")
    assert len(os.listdir(os.path.dirname(engine.vms.inspect("only")["ConsoleLog"]) + "/..")) == 1


def test_ports_of_the_host_lead_into_the_machine(vms: Proa, engine: Engine, disk: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    vms.ok("vm", "create", "--disk", str(disk), "-p", f"127.0.0.1:{port}:22", "port")
    vms.ok("vm", "start", "port")
    # QEMU accepts for the guest; a second machine cannot have the same port, and is told.
    socket.create_connection(("127.0.0.1", port), 5).close()
    vms.ok("vm", "create", "--disk", str(disk), "-p", f"127.0.0.1:{port}:22", "dup1")
    done = vms("vm", "start", "dup1")
    assert done.code == 1
    assert "dup1" in done.stderr


@pytest.mark.timeout(300)
@pytest.mark.requires("mmdebstrap", "busybox", "mkfs.ext4")
def test_a_debian_with_its_own_init_boots_to_login_and_goes_down(
    vms: Proa, engine: Engine, tmp_path: Path
) -> None:
    ensure_kernel(vms.root)
    disk = str(tmp_path / "debian.qcow2")
    vms.ok("import", debianinit.archive(), debianinit.NAME, timeout_s=120)
    vms.ok("image", "to-disk", debianinit.NAME, disk, timeout_s=120)
    vms.ok("vm", "create", "--disk", disk, "--firmware", "uefi", "-m", "512m", "--cpus", "2", "deb")
    vms.ok("vm", "start", "deb")
    with Console(engine, "deb") as console:
        console.expect(b"login:")
        console.type(b"root\n")
        console.expect(b"Password:")
        console.type(debianinit.PASSWORD.encode() + b"\n")
        console.expect(b"guest:~#")
        console.type(b"cat /proc/1/comm; echo $((6*7)) cores: $(nproc)\n")
        console.expect(b"systemd\r\n")
        console.expect(b"42 cores: 2")
        console.type(b"echo keep > /root/kept; sync; stat -c%s /root/kept\n")
        console.expect(b"5\r\n")
        vms.ok("vm", "stop", "deb", timeout_s=120)
        console.expect_end()
    assert status(vms, "deb")["EndedBy"] == "stopped"
    assert status(vms, "deb")["Error"] == ""


def test_an_image_without_an_init_is_no_disk(vms: Proa, tmp_path: Path) -> None:
    ensure_kernel(vms.root)
    root = tmp_path / "root.tar"
    subprocess.run(["tar", "-cf", root, "-C", tmp_path, "--files-from", "/dev/null"], check=True)
    vms.ok("import", str(root), "empty:latest")
    done = vms("image", "to-disk", "empty:latest", str(tmp_path / "disk"), env={})
    assert done.code == 1
    assert "has no init" in done.stderr
    assert not (tmp_path / "disk").exists()
