"""The container's files for the engine: looked at by the agent, moved by a child of it.

Paths are resolved inside the container's root as its processes see it, volumes included; links lead
nowhere else (:mod:`proa.fs.rootpath`).
"""

from __future__ import annotations

import os
import stat
from typing import NoReturn

from proa.errors import Invalid, NotFound, ProaError, from_os_error
from proa.fs import rootpath
from proa.oci.files import FileStat, StatFile, Transfer
from proa.oci.isolation import ExitStatus, Stdio

_UPPER = "/guest/disk/upper"
_CHUNK_BYTES = 65536


def stat_file(pid: int, request: StatFile) -> FileStat:
    """Look at a path of the root of a process.

    Raises:
        NotFound: there is nothing.
    """
    root = _open_root(pid)
    try:
        fd = _open(root, request.path, follow=request.follow)
        try:
            status = os.fstat(fd)
            link = os.readlink("", dir_fd=fd) if stat.S_ISLNK(status.st_mode) else ""
        finally:
            os.close(fd)
    finally:
        os.close(root)
    return FileStat(
        size_bytes=status.st_size,
        mode=status.st_mode,
        mtime_ns=status.st_mtime_ns,
        link_target=link,
    )


class TransferProcess:
    """A child of the agent that moves files; a :class:`proa.oci.isolation.ProcessHandle`.

    Args:
        root_pid: whose root it works in.
        request: what to do.
        stdio: its descriptors.
    """

    console = -1

    def __init__(self, root_pid: int, request: Transfer, stdio: Stdio) -> None:
        """Fork.

        Raises:
            OSError: no room for a process.
        """
        root = _open_root(root_pid)
        try:
            self.pid = os.fork()
            if self.pid == 0:
                _run(root, request, stdio)
        finally:
            os.close(root)
        self.pidfd = os.pidfd_open(self.pid)
        self._status: ExitStatus | None = None

    def signal(self, number: int) -> None:
        """Send a signal; an ended process is not an error."""
        if self._status is None:
            os.kill(self.pid, number)

    def resize(self, rows: int, columns: int) -> None:
        """It has no terminal."""

    def wait(self) -> ExitStatus:
        """Reap it. Idempotent."""
        if self._status is None:
            _, status = os.waitpid(self.pid, 0)
            code = os.waitstatus_to_exitcode(status)
            self._status = ExitStatus(code=code if code >= 0 else 128 - code, signal=max(-code, 0))
        return self._status

    def close(self) -> None:
        """Close its descriptor. Idempotent."""
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1


def _run(root: int, request: Transfer, stdio: Stdio) -> NoReturn:
    """The child: do it, say what went wrong, end."""
    code = 1
    try:
        for target, fd in enumerate((stdio.stdin, stdio.stdout, stdio.stderr)):
            os.dup2(fd, target)
        kept = os.dup2(root, 3)
        os.closerange(4, 1 << 16)
        _move(kept, request)
        code = 0
    except OSError as error:
        _say(from_os_error(error, f"cannot copy {request.path}"))
    except ProaError as error:
        _say(error)
    except BaseException as error:  # noqa: BLE001 - a child must not return
        _say(Invalid(f"cannot copy {request.path}: {error!r}"))
    os._exit(code)


def _say(error: ProaError) -> None:
    from proa.vm.agent import messages

    try:
        os.write(2, messages.encode(messages.failure_of(error)))
    except OSError:
        # Nobody listens any more.
        return


def _move(root: int, request: Transfer) -> None:
    if request.kind == "pack":
        _pack(root, request)
    elif request.kind == "unpack":
        _unpack(root, request)
    else:
        from proa.image.layers.diff import write_layer

        write_layer(_UPPER, _write)


def _pack(root: int, request: Transfer) -> None:
    from proa.image.layers.treepack import END, Packer

    fd = _open(root, request.path, follow=request.follow)
    packer = Packer()
    if request.name:
        pieces = packer.pack(fd, os.fsencode(request.name))
    else:
        pieces = packer.pack_below([fd], b"")
    for piece in pieces:
        _write(piece)
    _write(END)


def _unpack(root: int, request: Transfer) -> None:
    from proa.image.layers.extract import Destination, Ownership, unpack

    destination = Destination(root_fd=root, path=request.path, follow=True)
    try:
        os.close(destination.open(b""))
    except NotADirectoryError as error:
        raise Invalid(f"{request.path} is not a directory") from error
    except FileNotFoundError as error:
        raise NotFound(f"could not find the file {request.path}") from error
    owner = None if request.keep_owner else 0
    pieces = iter(lambda: os.read(0, _CHUNK_BYTES), b"")
    unpack(pieces, destination, Ownership(uid=owner, gid=owner), "the archive")


def _write(data: bytes | memoryview) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(1, view) :]


def _open_root(pid: int) -> int:
    try:
        return os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise from_os_error(error, "cannot open the container's root") from error


def _open(root: int, path: str, *, follow: bool) -> int:
    flags = os.O_PATH if follow or path.endswith(("/", "/.")) else os.O_PATH | os.O_NOFOLLOW
    try:
        return rootpath.open_in_root(root, path, flags)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFound(f"could not find the file {path}") from error
    except OSError as error:
        raise from_os_error(error, f"cannot open {path}") from error
