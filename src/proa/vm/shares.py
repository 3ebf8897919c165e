"""Host directories for a guest: one virtiofsd that sees nothing but what the container may.

All binds of a container become entries of one small tree, made in a mount namespace of the daemon's
own; virtiofsd's sandbox then makes that tree its whole world. ``:ro`` is a property of the mount
there: whatever the guest's kernel does, the host's refuses to write. Owners are the files' own:
root in the container is root on the host's disk, as in process isolation.

The daemon is QEMU's peer over a socket pair, ends when QEMU does, and with the thread that started
it.

Sources: virtiofsd(1) of QEMU 7.2 (Debian 12) and the Rust one (Debian 13), vhost-user protocol.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

from proa.errors import Unavailable, from_os_error
from proa.linux import mount as api
from proa.linux import namespaces, process
from proa.linux.syscalls import AT_EMPTY_PATH, AT_FDCWD, AT_RECURSIVE
from proa.vm.guestspec import Share

if TYPE_CHECKING:
    import socket

_PROGRAMS = ("/usr/libexec/virtiofsd", "/usr/lib/qemu/virtiofsd")
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}
_LISTENER_FD = 3
_LOG_BYTES = 4096
_DROPPED = "mknod"
"""A guest's root must not make devices on the host's disks."""


class SharedTree:
    """A running daemon, owned by the process that started it.

    Attributes:
        peer: QEMU's end; closed once QEMU has it.
    """

    def __init__(self, shares: Sequence[Share], place: str, cgroup_fds: Sequence[int]) -> None:
        """Start the daemon.

        Args:
            shares: what it shows.
            place: a directory of this container alone; the tree is mounted there, unseen by others.
            cgroup_fds: descriptors to join the container's groups through.

        Raises:
            NotFound: a source has gone.
            Unavailable: virtiofsd is not installed.
        """
        program = find_program()
        self._pidfd = -1
        self.peer: socket.socket
        sources: list[tuple[Share, int]] = []
        try:
            sources += ((share, _open_source(share)) for share in shares)
            listener, self.peer = _socket_pair(place)
            with listener:
                pid = os.fork()
                if pid == 0:
                    _Child(program, sources, place, cgroup_fds, listener.fileno()).run()
            self._pidfd = process.pidfd_open(pid)
        except OSError as error:
            raise from_os_error(error, "cannot share directories with a guest") from error
        finally:
            for _, fd in sources:
                os.close(fd)

    @property
    def pidfd(self) -> int:
        """Readable once the daemon has ended."""
        return self._pidfd

    def close(self) -> None:
        """End the daemon, reap it. Idempotent."""
        if self._pidfd < 0:
            return
        self.peer.close()
        try:
            process.pidfd_send_signal(self._pidfd, signal.SIGTERM)
        except ProcessLookupError:
            pass
        if not _wait_readable(self._pidfd, _PATIENCE_S):
            process.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        process.wait_pidfd(self._pidfd)
        os.close(self._pidfd)
        self._pidfd = -1


_PATIENCE_S = 2.0


def find_program() -> str:
    """Path of virtiofsd.

    Raises:
        Unavailable: it is not installed.
    """
    for path in _PROGRAMS:
        if os.access(path, os.X_OK):
            return path
    raise Unavailable(
        "virtiofsd is not installed: a virtual machine cannot have volumes or binds",
        "apt-get install qemu-system-common (Debian 12) or virtiofsd (Debian 13)",
    )


def build_arguments(program: str, directory: str) -> list[str]:
    """Arguments of the C daemon or the Rust one, told apart by their places."""
    if program.startswith("/usr/libexec/"):
        return [
            program, f"--fd={_LISTENER_FD}", f"--shared-dir={directory}", "--sandbox=namespace",
            "--xattr", "--announce-submounts", f"--modcaps=-{_DROPPED}", "--log-level=error",
        ]  # fmt: skip
    return [
        program, "-f", f"--fd={_LISTENER_FD}", "-o", f"source={directory}", "-o",
        "sandbox=namespace", "-o", "xattr", "-o", "announce_submounts", "-o",
        f"modcaps=-{_DROPPED}", "-o", "log_level=err",
    ]  # fmt: skip


def _open_source(share: Share) -> int:
    flags = AT_RECURSIVE if share.recursive else 0
    fd = api.clone_path(share.source, flags)
    try:
        attr_set = api.MOUNT_ATTR_RDONLY if share.readonly else 0
        attr = api.pack_mount_attr(attr_set, propagation=api.MS_PRIVATE)
        api.mount_setattr(fd, AT_EMPTY_PATH | flags, attr)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _socket_pair(place: str) -> tuple[socket.socket, socket.socket]:
    """A listening socket for the daemon and a connection to it, without a name left."""
    import socket

    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    directory = os.open(place, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    # The short way round sun_path's 108 bytes.
    name = f"/proc/self/fd/{directory}/virtiofs.sock"
    try:
        listener.bind(name)
        listener.listen(1)
        peer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            peer.connect(name)
        except BaseException:
            peer.close()
            raise
        finally:
            os.unlink(name)
    except BaseException:
        listener.close()
        raise
    finally:
        os.close(directory)
    return listener, peer


def _wait_readable(fd: int, timeout_s: float) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(timeout_s * 1000))


class _Child:
    """The daemon's process between fork and execve."""

    def __init__(
        self,
        program: str,
        sources: Sequence[tuple[Share, int]],
        place: str,
        cgroup_fds: Sequence[int],
        listener_fd: int,
    ) -> None:
        self._program = program
        self._sources = sources
        self._place = place
        self._cgroup_fds = cgroup_fds
        self._listener_fd = listener_fd

    def run(self) -> NoReturn:
        try:
            os.setsid()
            process.set_pdeathsig(signal.SIGKILL)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            for fd in self._cgroup_fds:
                os.write(fd, b"0")
            self._build_tree()
            null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
            high = fcntl.fcntl(self._listener_fd, fcntl.F_DUPFD_CLOEXEC, 64)
            for target, fd in ((0, null), (1, null), (2, null), (_LISTENER_FD, high)):
                os.dup2(fd, target)
            os.closerange(_LISTENER_FD + 1, 1 << 20)
            os.execve(self._program, build_arguments(self._program, self._place), _ENVIRONMENT)  # noqa: S606
        except BaseException as error:  # noqa: BLE001 - a child must not return
            # QEMU finds its end closed; debuggers find the reason.
            process.set_process_name(f"{error!r}")
        os._exit(125)

    def _build_tree(self) -> None:
        namespaces.unshare(namespaces.CLONE_NEWNS)
        private = api.pack_mount_attr(propagation=api.MS_PRIVATE)
        api.mount_setattr(AT_FDCWD, AT_RECURSIVE, private, "/")
        root = api.make_filesystem("tmpfs", mode="755", size="1048576")
        api.attach(root, self._place)
        for share, fd in self._sources:
            target = f"{self._place}/{share.name}"
            if os.path.isdir(f"/proc/self/fd/{fd}"):
                os.mkdir(target, 0o755)
            else:
                os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644))
            api.attach(fd, target)
        api.mount_setattr(root, AT_EMPTY_PATH, api.pack_mount_attr(api.MOUNT_ATTR_RDONLY))
