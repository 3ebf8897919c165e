"""Probes of this machine's kernel and devices, independent of the code under test.

Each returns an empty string when the capability is there and a short reason when it is not. They
speak to the kernel on their own: a probe that used :mod:`proa.linux` would hide its defects as
"capability missing".
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator

CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000
SYS_OPEN_TREE = 428
SYS_MOUNT_SETATTR = 442
AT_EMPTY_PATH = 0x1000
OPEN_TREE_CLONE = 1
MOUNT_ATTR_IDMAP = 0x00100000
LOOP_CTL_GET_FREE = 0x4C82

_libc = ctypes.CDLL(None, use_errno=True)


class _MountAttr(ctypes.Structure):
    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


def root() -> str:
    """Effective uid 0 in the initial user namespace."""
    if os.geteuid() != 0:
        return "not running as root"
    with open("/proc/self/uid_map") as file:
        if file.read().split() != ["0", "0", "4294967295"]:
            return "root only of a user namespace"
    return ""


def cgroup1() -> str:
    """At least one resource controller in a v1 hierarchy (v1 or hybrid)."""
    if any("memory" in controllers for controllers in _v1_hierarchies()):
        return ""
    return "no v1 memory hierarchy is mounted"


def cgroup2() -> str:
    """A unified hierarchy that owns the memory controller (not the empty one of hybrid)."""
    if "memory" in _v2_controllers():
        return ""
    return "no cgroup v2 hierarchy with the memory controller is mounted"


def cgroup_controller(name: str) -> str:
    """The controller is in a v1 hierarchy or in the unified one, by its v1 name."""
    if any(name in controllers for controllers in _v1_hierarchies()):
        return ""
    # In v2 the devices controller is a BPF program and the block controller is called io.
    unified = {"blkio": "io", "cpuacct": "cpu", "devices": "memory", "freezer": "memory"}
    if unified.get(name, name) in _v2_controllers():
        return ""
    return f"the cgroup controller {name} is not mounted"


def userns() -> str:
    """A process may create a user namespace."""
    return _in_child(lambda: _check(_libc.unshare(CLONE_NEWUSER), "unshare(CLONE_NEWUSER)"))


def overlay() -> str:
    """The kernel knows overlayfs, or loads it on demand."""
    with open("/proc/filesystems") as file:
        if any(line.split()[-1] == "overlay" for line in file):
            return ""
    # A missing module appears in /proc/filesystems only after the first mount(2); the attempt
    # without options fails in every case and loads it.
    _libc.mount(b"overlay", b"/nonexistent", b"overlay", 0, None)
    with open("/proc/filesystems") as file:
        if any(line.split()[-1] == "overlay" for line in file):
            return ""
    return "the kernel has no overlayfs"


def idmap() -> str:
    """The filesystem of the test directories can be ID-mapped (mount_setattr(2))."""
    if os.geteuid() != 0:
        return "ID-mapped mounts need root"
    return _in_child(_try_idmap)


def seccomp() -> str:
    """Seccomp filters are built into the kernel."""
    with open("/proc/self/status") as file:
        if any(line.startswith("Seccomp_filters:") for line in file):
            return ""
    return "the kernel has no seccomp filters"


def libseccomp() -> str:
    """libseccomp's shared library is installed (the reference for compiled filters)."""
    try:
        ctypes.CDLL("libseccomp.so.2")
    except OSError as error:
        return str(error)
    return ""


def loop() -> str:
    """A loop device can be had."""
    try:
        fd = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        return f"/dev/loop-control: {error.strerror}"
    try:
        number = _libc.ioctl(fd, LOOP_CTL_GET_FREE)
        return "" if number >= 0 else f"LOOP_CTL_GET_FREE: {os.strerror(ctypes.get_errno())}"
    finally:
        os.close(fd)


def kvm() -> str:
    """KVM answers (a device node alone proves nothing)."""
    try:
        fd = os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        return f"/dev/kvm: {error.strerror}"
    os.close(fd)
    return ""


def qemu_system() -> str:
    """The system emulator of this machine's architecture is installed."""
    name = f"qemu-system-{platform.machine()}"
    return "" if shutil.which(name) else f"{name} is not installed"


def binfmt_arm64() -> str:
    """Foreign arm64 programs run (natively, or through binfmt_misc)."""
    if platform.machine() == "aarch64":
        return ""
    path = "/proc/sys/fs/binfmt_misc/qemu-aarch64"
    try:
        with open(path) as file:
            return "" if file.readline().strip() == "enabled" else f"{path} is disabled"
    except OSError:
        return "qemu-aarch64 is not registered in binfmt_misc"


def binfmt_userns() -> str:
    """User namespaces have registries of emulators of their own."""
    from proa.engine.emulation import has_own_registries

    return "" if has_own_registries() else "Linux before 6.7 has one binfmt_misc for all"


def _v1_hierarchies() -> Iterator[frozenset[str]]:
    with open("/proc/self/mountinfo") as file:
        for line in file:
            head, _, tail = line.partition(" - ")
            fields = tail.split()
            if fields[0] == "cgroup":
                yield frozenset(fields[2].split(",")) - {"rw", "ro"}
            del head


def _v2_controllers() -> frozenset[str]:
    with open("/proc/self/mountinfo") as file:
        for line in file:
            head, _, tail = line.partition(" - ")
            if tail.split()[0] == "cgroup2":
                with open(os.path.join(head.split()[4], "cgroup.controllers")) as controllers:
                    return frozenset(controllers.read().split())
    return frozenset()


def _check(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _try_idmap() -> None:
    userns_fd = _mapped_userns()
    # The directory is on the filesystem that the engine's test roots are on.
    with tempfile.TemporaryDirectory(dir=os.environ.get("PROA_TEST_DIR", "/var/tmp")) as name:
        tree = _libc.syscall(SYS_OPEN_TREE, -100, name.encode(), OPEN_TREE_CLONE | os.O_CLOEXEC)
        _check(tree, "open_tree")
        attr = _MountAttr(attr_set=MOUNT_ATTR_IDMAP, userns_fd=userns_fd)
        _check(
            _libc.syscall(
                SYS_MOUNT_SETATTR, tree, b"", AT_EMPTY_PATH, ctypes.byref(attr), ctypes.sizeof(attr)
            ),
            "mount_setattr(MOUNT_ATTR_IDMAP)",
        )


def _mapped_userns() -> int:
    """Return a descriptor of a user namespace that maps 0 to 65536 at host id 100000."""
    ready_r, ready_w = os.pipe()
    done_r, done_w = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(done_w)
        status = _libc.unshare(CLONE_NEWUSER)
        os.write(ready_w, b"y" if status == 0 else b"n")
        os.read(done_r, 1)
        os._exit(0)
    try:
        if os.read(ready_r, 1) != b"y":
            raise OSError(errno.EPERM, "unshare(CLONE_NEWUSER) was refused")
        for kind in ("uid_map", "gid_map"):
            with open(f"/proc/{pid}/{kind}", "w") as file:
                file.write("0 100000 65536")
        return os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(done_w)
        os.waitpid(pid, 0)


def _in_child(probe: Callable[[], None]) -> str:
    """Run ``probe`` in a forked child; return the reason of its ``OSError``, empty if none."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        reason = ""
        try:
            probe()
        except BaseException as error:
            reason = str(getattr(error, "strerror", None) or error) or repr(error)
        os.write(write_end, reason.encode())
        os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end) as file:
        reason = file.read()
    os.waitpid(pid, 0)
    return reason
