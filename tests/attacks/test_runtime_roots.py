"""Attacks on the runtime from images and from inside containers (design/attacks.md, "Runtime")."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest

from proa.errors import Invalid, ProaError
from proa.linux.openat2 import RENAME_EXCHANGE, renameat2
from proa.oci.isolation import OverlayRoot, Stdio
from proa.oci.spec import LinuxCapabilities, Mount
from proa.runtime import groups
from proa.runtime.process import ProcessIsolation
from proa.runtime.security.capabilities import DEFAULT
from tests.support.engines import Proa, processes
from tests.support.sandboxes import KINDS, Boxes, make_process, make_root, make_spec, status_of

pytestmark = pytest.mark.requires("root", "userns", "idmap", "overlay", "busybox", "seccomp")

EXECS = 1000
STARTS = 2000
_SWAP_S = 0.00005
"""Some hundred times a start; faster, and the victim waits for the directory's lock."""

HOST_USERNS = tuple([kind for kind in KINDS if kind != "user"])


@pytest.fixture
def boxes(tmp_path: Path) -> Iterator[Boxes]:
    make_root(str(tmp_path / "layer"))
    made = Boxes(ProcessIsolation(), str(tmp_path / "state"), str(tmp_path / "layer"))
    yield made
    made.close()
    groups.manager().close()


class Canary:
    """A host tree that must not change."""

    def __init__(self, place: Path) -> None:
        self.place = place
        place.mkdir()
        (place / "file").write_text("canary")
        (place / "directory").mkdir()
        self._before = self._read()

    def _read(self) -> list[tuple[str, int, int]]:
        return sorted(
            (str(path), path.lstat().st_mode, path.lstat().st_mtime_ns)
            for path in (self.place, *self.place.rglob("*"))
        )

    def check(self) -> None:
        assert self._read() == self._before
        assert str(self.place) not in Path("/proc/self/mountinfo").read_text()


@pytest.fixture
def canary(tmp_path: Path) -> Canary:
    return Canary(tmp_path / "canary")


def root_with_link(boxes: Boxes, name: str, target: str) -> OverlayRoot:
    """An image in which a top-level directory is a symbolic link."""
    os.makedirs(f"{boxes.directory}/layers/busybox/bin", exist_ok=True)
    directory = f"{boxes.directory}/layers/busybox/{name}"
    if os.path.isdir(directory) and not os.path.islink(directory):
        os.rmdir(directory)
    os.symlink(target, directory)
    return boxes.overlay()


@pytest.mark.parametrize("kinds", [KINDS, HOST_USERNS])
@pytest.mark.parametrize("name", ["proc", "sys", "dev"])
def test_cve_2019_16884_a_link_in_place_of_kernel_files(
    boxes: Boxes, canary: Canary, name: str, kinds: tuple[str, ...]
) -> None:
    for target in (str(canary.place / "directory"), "tmp", "../../../../.."):
        root = root_with_link(boxes, name, target)
        with pytest.raises(Invalid, match=f"/{name}.*symbolic link"):
            boxes.run(make_spec(make_process("true"), kinds=kinds), root)
        os.unlink(f"{boxes.directory}/layers/busybox/{name}")
    canary.check()


def test_cve_2023_27561_links_below_dev(boxes: Boxes, canary: Canary) -> None:
    """What the image has at /dev is covered before anything below it is used."""
    dev = f"{boxes.directory}/layers/busybox/dev"
    for name in ("pts", "shm", "mqueue", "null", "console"):
        os.symlink(str(canary.place / "directory"), f"{dev}/{name}")
    assert boxes.shell("stat -c %F /dev/pts /dev/shm /dev/null").lines == [
        "directory", "directory", "character special file",
    ]  # fmt: skip
    canary.check()


def test_cve_2019_19921_a_volume_on_proc_is_refused(boxes: Boxes, canary: Canary) -> None:
    core_pattern = Path("/proc/sys/kernel/core_pattern").read_text()
    for destination in ("/proc", "/proc/sys/kernel", "/proc/../proc/self"):
        spec = make_spec(make_process("true"))
        mount = Mount(destination=destination, source=str(canary.place), options=("rbind",))
        with pytest.raises(Invalid, match="hide or fake"):
            boxes.run(msgspec.structs.replace(spec, mounts=(*spec.mounts, mount)))
    assert Path("/proc/sys/kernel/core_pattern").read_text() == core_pattern
    canary.check()


@contextmanager
def swapping(place: Path, target: Path) -> Iterator[None]:
    """Exchange a directory and a link to ``target`` at ``place`` as fast as possible."""
    place.mkdir()
    other = place.with_name(place.name + "-link")
    other.symlink_to(target)
    pid = os.fork()
    if pid == 0:
        try:
            fd = os.open(place.parent, os.O_RDONLY | os.O_DIRECTORY)
            while True:
                renameat2(fd, place.name, fd, other.name, RENAME_EXCHANGE)
                time.sleep(_SWAP_S)
        finally:
            os._exit(0)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


@pytest.mark.parametrize("kinds", [KINDS, HOST_USERNS])
def test_cve_2021_30465_a_mount_target_is_swapped(
    boxes: Boxes, canary: Canary, tmp_path: Path, kinds: tuple[str, ...]
) -> None:
    shared = tmp_path / "volume"
    shared.mkdir()
    mounts = (
        Mount(destination="/vol", source=str(shared), options=("rbind",)),
        Mount(destination="/vol/swapped/deep", type="tmpfs", source="tmpfs"),
    )
    spec = make_spec(make_process("true"), kinds=kinds)
    spec = msgspec.structs.replace(spec, mounts=(*spec.mounts, *mounts))
    root = boxes.overlay()
    ran = 0
    with (
        swapping(shared / "swapped", canary.place / "directory"),
        open(os.devnull, "r+b") as nowhere,
    ):
        stdio = Stdio(nowhere.fileno(), nowhere.fileno(), nowhere.fileno())
        for _ in range(STARTS // 2):
            # All mounts are made before the command would start.
            try:
                sandbox = boxes.isolation.create(boxes.sandbox(spec, root), stdio)
            except ProaError:
                continue
            sandbox.delete()
            ran += 1
    assert 0 < ran < STARTS // 2, "neither side of the race was met"
    canary.check()


def test_cve_2025_31133_masks_are_the_kernels_null_device(boxes: Boxes) -> None:
    """/dev/null of the image, whatever it is, never covers a masked file."""
    dev = f"{boxes.directory}/layers/busybox/dev"
    Path(f"{dev}/null").write_text("fake")
    out = boxes.shell("stat -c '%F %t:%T' /proc/keys /proc/timer_list /dev/null").out
    assert set(out.splitlines()) == {"character special file 1:3"}


def test_cve_2024_21626_leaked_descriptors_and_working_directories(boxes: Boxes) -> None:
    leaked = [os.open("/", os.O_RDONLY | os.O_DIRECTORY) for _ in range(50)]
    for fd in leaked:
        os.set_inheritable(fd, True)
    try:
        for kinds in (KINDS, HOST_USERNS):
            for number in range(64):
                for place in ("self", "thread-self", "1"):
                    process = make_process("true", cwd=f"/proc/{place}/fd/{number}")
                    with pytest.raises(ProaError, match="working directory"):
                        boxes.run(make_spec(process, kinds=kinds))
            outcome = boxes.run(make_spec(make_process("ls", "/proc/self/fd"), kinds=kinds))
            assert outcome.out.split() == ["0", "1", "2", "3"]
            with boxes.running(make_spec(make_process("sleep", "1000"), kinds=kinds)) as sandbox:
                for number in range(64):
                    with pytest.raises(ProaError, match="working directory"):
                        boxes.exec(sandbox, make_process("true", cwd=f"/proc/self/fd/{number}"))
                for command in ("/proc/self/fd/3", "/proc/self/fd/4"):
                    with pytest.raises(ProaError):
                        boxes.exec(sandbox, make_process(command))
    finally:
        for fd in leaked:
            os.close(fd)


def test_cve_2022_24769_inheritable_and_ambient_are_empty(boxes: Boxes) -> None:
    with boxes.running() as sandbox:
        own = Path(f"/proc/{sandbox.init.pid}/status").read_text()
        entered = boxes.exec(sandbox, make_process("cat", "/proc/self/status")).out
    for text in (own, entered):
        status = status_of(text)
        assert (status["CapInh"], status["CapAmb"]) == ("0" * 16, "0" * 16)


def test_cve_2022_0492_cgroups_cannot_be_mounted_or_given_a_release_agent(boxes: Boxes) -> None:
    script = (
        "mkdir /tmp/x; mount -t cgroup -o memory cgroup /tmp/x && echo mounted;"
        "mount -t cgroup2 cgroup /tmp/x && echo mounted;"
        "unshare -UrmC sh -c 'mount -t cgroup -o memory c /tmp/x && echo mounted';"
        "for f in $(find /sys/fs/cgroup -name release_agent -o -name notify_on_release); do"
        " echo /x > $f && echo written $f; done"
    )
    for kinds in (KINDS, HOST_USERNS):
        outcome = boxes.run(make_spec(make_process("sh", "-c", script), kinds=kinds))
        assert outcome.out == ""


def test_cve_2019_5736_the_engines_binary_cannot_be_overwritten(boxes: Boxes) -> None:
    interpreter = os.path.realpath("/proc/self/exe")
    before = sha256(Path(interpreter).read_bytes()).digest()
    entry = Path(f"{boxes.directory}/layers/busybox/entry")
    entry.write_text("#!/proc/self/exe\n")
    entry.chmod(0o755)
    writer = "while :; do for p in /proc/[0-9]*; do echo x > $p/exe; done; done 2>/dev/null"
    for kinds in (KINDS, HOST_USERNS):
        spec = make_spec(make_process("sh", "-c", writer), kinds=kinds)
        with boxes.running(spec) as sandbox:
            for _ in range(EXECS // 2):
                boxes.exec(sandbox, make_process("true"))
                try:
                    boxes.exec(sandbox, make_process("/entry"))
                except ProaError:
                    continue
    assert sha256(Path(interpreter).read_bytes()).digest() == before


def test_cve_2019_5736_the_zygotes_binary_is_on_a_read_only_mount(proa: Proa) -> None:
    """What is opened through /proc/PID/exe of any of its forks cannot be written to."""
    proa.ok("ps")
    # A server on the same root starts no container's process itself.
    forks = [pid for pid in processes(proa.run_dir) if comm(pid).startswith("proa-")]
    looked_at = 0
    for pid in forks:
        try:
            fd = os.open(f"/proc/{pid}/exe", os.O_PATH)
        except FileNotFoundError:
            continue  # a worker that has just left
        try:
            assert os.fstatvfs(fd).f_flag & os.ST_RDONLY
        finally:
            os.close(fd)
        looked_at += 1
    assert looked_at


def comm(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/comm") as stream:
            return stream.read().strip()
    except OSError:
        return ""  # a worker that has just left


def test_cve_2016_9962_a_joining_process_cannot_be_traced(boxes: Boxes) -> None:
    """A child of exec may share the engine's memory: nobody in the container may read it."""
    kept = (*sorted(DEFAULT), "CAP_SYS_PTRACE")
    sets = LinuxCapabilities(bounding=kept, effective=kept, permitted=kept)
    reader = (
        "while :; do for p in /proc/[0-9]*; do [ $p = /proc/1 ] && continue;"
        " case $(cat $p/maps 2>/dev/null) in *python*) echo SEEN $p;; esac; done; done"
    )
    process = make_process("sh", "-c", f"({reader}) > /tmp/seen", capabilities=sets)
    with boxes.running(make_spec(process)) as sandbox:
        for _ in range(200):
            assert boxes.exec(sandbox, make_process("true")).status.code == 0
        assert boxes.exec(sandbox, make_process("cat", "/tmp/seen")).out == ""


def test_cve_2017_5226_terminal_input_cannot_be_injected(boxes: Boxes) -> None:
    """The container's terminal is a pty of its own; without one there is nothing to inject into."""
    pid, master = os.forkpty()
    if pid == 0:
        try:
            out = boxes.shell("cat /proc/self/stat | cut -d' ' -f6,7; tty").out
            os.write(1, b"<" + out.encode() + b">")
        finally:
            os._exit(0)
    seen = b""
    try:
        while not seen.endswith(b">"):
            seen += os.read(master, 1000)
    except OSError:
        pass
    os.waitpid(pid, 0)
    os.close(master)
    assert seen.replace(b"\r", b"") == b"<1 0\nnot a tty\n>", "session 1, terminal 0"


def test_the_hosts_root_is_out_of_reach(boxes: Boxes, canary: Canary) -> None:
    """Names that leave a root when it is only a chroot, or when the old root lies on top of it."""
    script = (
        "for p in / /. /.. /../.. /proc/1/root /proc/self/cwd/..; do"
        f" ls $p{canary.place} 2>/dev/null; done; cat /proc/self/mountinfo"
    )
    outcome = boxes.shell(script)
    assert "canary" not in outcome.out
    canary.check()
