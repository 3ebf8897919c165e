"""Start a QEMU that can touch nothing but its own guest, and notice its end.

A guest that breaks out of QEMU finds: a user id of its own and no capability, nor a way to any; a
root with QEMU's program files (read-only), ``/proc`` of a pid namespace with itself in it, and some
devices; an empty network namespace; QEMU's own seccomp filter (no new processes, no change of
identity or limits); the cgroup it was put in; and the descriptors of its guest's disks, card and
sockets. There is no monitor socket in any file system: QMP is one end of a socket pair.

The process is a child of the caller (the machine's supervisor) and dies with it. Its pidfd is
readable as soon as QEMU is gone, for whatever reason.

Nothing here is undone on disk: all of it goes with the process.
"""

from __future__ import annotations

import fcntl
import os
import resource
import select
import signal
import stat
from collections.abc import Sequence
from typing import NoReturn

import msgspec

from proa.errors import Invalid, ProaError, Unavailable, from_os_error
from proa.linux import mount, namespaces, process
from proa.linux.capability import read_last_capability
from proa.linux.syscalls import AT_EMPTY_PATH, AT_FDCWD, AT_RECURSIVE
from proa.vm.qemu.machine import FIRST_FD, Command, File, Source

_NAMESPACES = (
    namespaces.CLONE_NEWNS
    | namespaces.CLONE_NEWIPC
    | namespaces.CLONE_NEWUTS
    | namespaces.CLONE_NEWCGROUP
)
_PROGRAM_PATHS = ("/usr", "/bin", "/lib", "/lib32", "/lib64", "/etc/ld.so.cache")
_DEVICES = (("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9))
_KVM = ("kvm", 10, 232)
_HIDDEN_BEHIND = "/proc"
"""A directory that every host has, to mount the new root on before it becomes the root."""
_READ_ONLY = mount.pack_mount_attr(
    mount.MOUNT_ATTR_RDONLY | mount.MOUNT_ATTR_NOSUID | mount.MOUNT_ATTR_NODEV
)
_LOG_BYTES = 65536
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "HOME": "/"}


class Confinement(msgspec.Struct, frozen=True, kw_only=True):
    """Where QEMU is put.

    Attributes:
        uid: user and group id of this QEMU alone (from the container's or machine's own range);
            0 keeps the caller's identity, which is refused for root.
        cgroup_fds: descriptors to write ``0`` to (``Cgroup.join_fds()``, v1), or ``cgroup.procs``
            files (v2).
        network: ``none`` is an empty network namespace; ``host`` the caller's, for
            :class:`~proa.vm.qemu.machine.UserNetwork`.
        kvm: give it ``/dev/kvm``.
        binds: further host paths that it may read (at the same place).
        die_with_parent: SIGKILL when the thread that started it ends.
    """

    uid: int = 0
    cgroup_fds: tuple[int, ...] = ()
    network: str = "none"
    kvm: bool = False
    binds: tuple[str, ...] = ()
    die_with_parent: bool = True


class Qemu:
    """A running QEMU, owned by the process that started it.

    Attributes:
        pid: as the host sees it.
        pidfd: readable once QEMU has ended; owned by this object.
        log_fd: what QEMU wrote to its standard error (non-blocking); owned by this object.
    """

    def __init__(self, pid: int, pidfd: int, log_fd: int) -> None:
        self.pid = pid
        self.pidfd = pidfd
        self.log_fd = log_fd
        self._log = b""
        self._status: tuple[int, int] | None = None

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal; an ended QEMU is not an error."""
        if self.pidfd < 0:
            return
        try:
            process.pidfd_send_signal(self.pidfd, number)
        except ProcessLookupError:
            pass

    def poll(self) -> tuple[int, int] | None:
        """Exit code and signal (one of them 0), or None while it runs."""
        if self._status is None:
            self._status = process.wait_pidfd(self.pidfd, block=False)
        return self._status

    def wait(self) -> tuple[int, int]:
        """Reap it: exit code and signal. Blocks until it has ended. Idempotent."""
        if self._status is None:
            self._status = process.wait_pidfd(self.pidfd)
            assert self._status is not None  # it blocks
        return self._status

    def read_log(self) -> str:
        """What QEMU has said so far, its last 4 KiB."""
        while self.log_fd >= 0:
            try:
                data = os.read(self.log_fd, _LOG_BYTES)
            except BlockingIOError:
                break
            if not data:
                break
            self._log = (self._log + data)[-4096:]
        return self._log.decode(errors="replace").strip()

    def failure(self, doing: str) -> ProaError:
        """The error to raise when QEMU ended and should not have."""
        code, number = self.poll() or (0, 0)
        how = f"signal {number}" if number else f"exit code {code}"
        said = [line.partition(": ")[2] or line for line in self.read_log().splitlines()]
        # What follows the first error is what came of it.
        told = next((line for line in said if "error" in line), said[-1] if said else "")
        return Unavailable(
            f"cannot {doing}: QEMU ended with {how}", told[:300] or "it said nothing"
        )

    def close(self) -> None:
        """Kill it if it runs, reap it, close descriptors. Idempotent."""
        if self.pidfd < 0:
            return
        self.kill()
        self.wait()
        self.read_log()
        os.close(self.pidfd)
        os.close(self.log_fd)
        self.pidfd = self.log_fd = -1

    def __enter__(self) -> Qemu:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def find_program(name: str) -> str:
    """Absolute path of QEMU's program.

    Raises:
        Unavailable: it is not installed.
    """
    for directory in ("/usr/bin", "/usr/local/bin", "/usr/libexec", "/usr/lib/qemu"):
        path = f"{directory}/{name}"
        if os.access(path, os.X_OK):
            return path
    packages = {"qemu-img": "qemu-utils", "qemu-system-aarch64": "qemu-system-arm"}
    package = packages.get(name, "qemu-system-x86")
    raise Unavailable(f"{name} is not installed", f"apt-get install {package}")


def spawn(command: Command, confinement: Confinement) -> Qemu:
    """Start QEMU; returns once it executes.

    Args:
        command: from :func:`proa.vm.qemu.argv.build_command`; ``argv[0]`` is looked up.

    Raises:
        Invalid: root asked for a QEMU that is root.
        NotFound, Forbidden: a file of the machine cannot be opened; the message names it.
        Unavailable: QEMU is not installed.
        ProaError: any kind; nothing is left behind.
    """
    privileged = os.geteuid() == 0
    if privileged and confinement.uid == 0:
        raise Invalid("QEMU is not run as root", "give Confinement a uid")
    program = find_program(command.argv[0])
    opened: list[int] = []
    try:
        fds = [_open_source(command, index, opened) for index in range(len(command.sources))]
        return _fork(program, command, confinement, fds, privileged)
    except OSError as error:
        raise from_os_error(error, f"cannot start {command.argv[0]}") from error
    finally:
        for fd in opened:
            os.close(fd)


def _open_source(command: Command, index: int, opened: list[int]) -> int:
    """Descriptor of one source; those that were made here are added to ``opened``."""
    source: Source = command.sources[index]
    text = command.texts.get(index)
    if text is not None:
        fd = os.memfd_create("proa-text", os.MFD_CLOEXEC)
        opened.append(fd)
        os.write(fd, text.encode())
        # A fresh description at offset 0 that cannot be written.
        fd = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)
    elif isinstance(source, File):
        mode = os.O_RDWR if source.writable else os.O_RDONLY
        try:
            fd = os.open(source.path, mode | os.O_CLOEXEC)
        except OSError as error:
            raise from_os_error(error, f"cannot open {source.path} for a machine") from error
    else:
        return source.fd
    opened.append(fd)
    return fd


def _fork(
    program: str, command: Command, confinement: Confinement, fds: Sequence[int], privileged: bool
) -> Qemu:
    report_read, report_write = os.pipe2(os.O_CLOEXEC)
    log_read, log_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    home = namespaces.open_namespace("self", "pid") if privileged else -1
    try:
        if privileged:
            namespaces.unshare(namespaces.CLONE_NEWPID)
        try:
            pid = os.fork()
            if pid == 0:
                os.close(report_read)
                child = _Child(confinement, privileged, report_write)
                child.run(program, command.argv, (log_write, *fds))
        finally:
            if privileged:
                namespaces.setns(home, namespaces.CLONE_NEWPID)
        os.close(report_write)
        report_write = -1
        qemu = Qemu(pid, process.pidfd_open(pid), log_read)
        log_read = -1
        failure = os.read(report_read, 4096)
        if failure:
            qemu.close()
            number, _, step = failure.decode().partition(" ")
            error = OSError(int(number), os.strerror(int(number)))
            raise from_os_error(error, f"cannot {step} for {command.argv[0]}")
        return qemu
    finally:
        for fd in (report_read, report_write, log_read, log_write, home):
            if fd >= 0:
                os.close(fd)


class _Child:
    """The child between fork and execve."""

    def __init__(self, confinement: Confinement, privileged: bool, report_fd: int) -> None:
        self._confinement = confinement
        self._privileged = privileged
        self._report_fd = report_fd
        self._step = "begin"

    def run(self, program: str, argv: Sequence[str], fds: Sequence[int]) -> NoReturn:
        try:
            self._step = "leave the session"
            os.setsid()
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            # First: above the highest target, where no dup2 can hit a source.
            self._step = "arrange descriptors"
            self._report_fd = _raise_fd(self._report_fd, len(fds))
            fds = [_raise_fd(fd, len(fds)) for fd in fds]
            self._step = "join the cgroup"
            for fd in self._confinement.cgroup_fds:
                os.write(fd, b"0")
            if self._privileged:
                self._confine()
            self._step = "arrange descriptors"
            null = os.open("/dev/null", os.O_RDWR)
            os.dup2(null, 0)
            os.dup2(fds[0], 1)
            os.dup2(fds[0], 2)
            for target, fd in enumerate(fds[1:], FIRST_FD):
                os.dup2(fd, target)
            last = FIRST_FD + len(fds) - 1
            os.closerange(last, self._report_fd)
            os.closerange(self._report_fd + 1, 1 << 20)
            self._step = f"execute {program}"
            os.execve(program, list(argv), _ENVIRONMENT)  # noqa: S606
        except OSError as error:
            os.write(self._report_fd, f"{error.errno} {self._step}".encode())
        except BaseException as error:  # noqa: BLE001 (a child must not return)
            os.write(self._report_fd, f"5 {self._step}: {error!r}".encode()[:4096])
        os._exit(125)

    def _confine(self) -> None:
        confinement = self._confinement
        self._step = "enter namespaces"
        flags = _NAMESPACES
        if confinement.network == "none":
            flags |= namespaces.CLONE_NEWNET
        namespaces.unshare(flags)
        self._build_root()
        self._step = "give up the identity of root"
        for number in range(read_last_capability() + 1):
            process.prctl(process.PR_CAPBSET_DROP, number)
        os.setgroups(())
        os.setresgid(confinement.uid, confinement.uid, confinement.uid)
        os.setresuid(confinement.uid, confinement.uid, confinement.uid)
        process.prctl(process.PR_SET_NO_NEW_PRIVS, 1)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if confinement.die_with_parent:
            # After setresuid, which clears it. A pipe without a reader tells of a parent that
            # was gone before: getppid(2) is 0 across pid namespaces.
            self._step = "bind its life to the supervisor's"
            process.set_pdeathsig(signal.SIGKILL)
            poll = select.poll()
            poll.register(self._report_fd, 0)
            if poll.poll(0):
                os._exit(125)

    def _build_root(self) -> None:
        """A root with QEMU's program files and nothing of the host's."""
        self._step = "detach from the host's mounts"
        private = mount.pack_mount_attr(propagation=mount.MS_PRIVATE)
        mount.mount_setattr(AT_FDCWD, AT_RECURSIVE, private, "/")
        self._step = "collect the program files"
        trees = []
        for path in (*_PROGRAM_PATHS, *self._confinement.binds):
            if not os.path.islink(path) and os.path.exists(path):
                fd = mount.clone_path(path)
                mount.mount_setattr(fd, AT_EMPTY_PATH, _READ_ONLY)
                trees.append((path, fd))
        links = [(path, os.readlink(path)) for path in _PROGRAM_PATHS if os.path.islink(path)]
        self._step = "make a root"
        root = mount.make_filesystem("tmpfs", mode="755", size="65536")
        proc = mount.make_filesystem("proc", hidepid="2")
        mount.attach(root, _HIDDEN_BEHIND)
        os.umask(0)
        for path, target in links:
            os.symlink(target, _HIDDEN_BEHIND + path)
        for path, fd in trees:
            _make_mount_point(_HIDDEN_BEHIND + path, path)
            mount.attach(fd, _HIDDEN_BEHIND + path)
        os.mkdir(f"{_HIDDEN_BEHIND}/proc", 0o755)
        mount.attach(proc, f"{_HIDDEN_BEHIND}/proc")
        self._make_devices(f"{_HIDDEN_BEHIND}/dev")
        mount.enter_root(_HIDDEN_BEHIND)
        mount.mount_setattr(root, AT_EMPTY_PATH, mount.pack_mount_attr(mount.MOUNT_ATTR_RDONLY))

    def _make_devices(self, directory: str) -> None:
        os.mkdir(directory, 0o755)
        devices = (*_DEVICES, _KVM) if self._confinement.kvm else _DEVICES
        for name, major, minor in devices:
            path = f"{directory}/{name}"
            os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(major, minor))


def _make_mount_point(target: str, source: str) -> None:
    if os.path.isdir(source):
        os.makedirs(target, mode=0o755, exist_ok=True)
        return
    os.makedirs(os.path.dirname(target), mode=0o755, exist_ok=True)
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644))


def _raise_fd(fd: int, count: int) -> int:
    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, FIRST_FD + count + 1)
