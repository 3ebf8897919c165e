"""Where the engine keeps things on disk.

State root (``--root``, ``PROA_ROOT``; ``/var/lib/proa`` for root)::

    proa.db                    records (proa.engine.state)
    content/ snapshots/        images (proa.image)
    containers/<id>/           upper work, hosts hostname resolv.conf, log
    berths/<name>/             directories of containers to come (proa.engine.berths)
    places/                    the lowest layer of every root: where mounts go
    volumes/<name>/_data
    vms/<id>/                  virtual machines: disks, console.log

Volatile root (``PROA_RUN``; ``/run/proa`` for root)::

    z-<key>                    the zygote's socket; the key names namespaces and code
    z-<key>.lock               held while a zygote is being started
    c/<id>                     control socket of a running container
    v/<id>                     control socket of a running virtual machine

Both are 0700. A container's directory is locked (flock) by its supervisor for as long as that
lives: a free lock on the directory of a container that is recorded as running means its supervisor
died.
"""

from __future__ import annotations

import errno
import os

from proa.errors import from_os_error
from proa.fs import tree

PLACES = "places"
"""Empty directories and files at the places of the mounts that every container has.

Most images lack some. Made in the container's writable layer they would have to be made and removed
with each one, and the directories above them copied up; as a layer below the image's they are there
once. Docker's init layer serves the same end.
"""

_PLACED_DIRECTORIES = ("dev", "etc", "proc", "sys")
_PLACED_FILES = ("etc/hostname", "etc/hosts", "etc/resolv.conf")
_SOCKET_PATH_MAX = 100
"""sun_path holds 108 bytes (unix(7)); longer names are reached through /proc/self/fd."""


def default_root() -> str:
    """Return the state root of this user (architecture, section 4)."""
    if os.geteuid() == 0:
        return "/var/lib/proa"
    data = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
    return os.path.join(data, "proa")


def default_run() -> str:
    """Return the volatile root of this user."""
    if os.geteuid() == 0:
        return "/run/proa"
    return os.path.join(os.environ.get("XDG_RUNTIME_DIR") or f"/tmp/proa-{os.geteuid()}", "proa")


class Layout:
    """Paths below the two roots. Making one touches nothing on disk; :meth:`ensure` does."""

    __slots__ = ("root", "run")

    def __init__(self, root: str = "", run: str = "") -> None:
        self.root = os.path.abspath(root or os.environ.get("PROA_ROOT") or default_root())
        self.run = os.path.abspath(run or os.environ.get("PROA_RUN") or default_run())

    def ensure(self) -> None:
        """Make the directories.

        Raises:
            ProaError: one cannot be made or entered; the message names it.
        """
        for path in (
            self.root, self.containers, self.berths, self.volumes, self.run, self.controls,
        ):  # fmt: skip
            if os.path.isdir(path):
                continue
            try:
                os.makedirs(path, mode=0o700, exist_ok=True)
            except OSError as error:
                raise from_os_error(error, f"cannot make the engine's directory {path}") from error
            if path in (self.containers, self.berths, self.volumes):
                self._spread(path)
        if not os.access(self.root, os.W_OK | os.X_OK):
            refused = PermissionError(errno.EACCES, os.strerror(errno.EACCES), self.root)
            raise from_os_error(refused, f"cannot use the state directory {self.root}")
        if not os.path.isdir(f"{self.root}/{PLACES}"):
            try:
                self._make_places()
            except OSError as error:
                raise from_os_error(error, f"cannot make {self.root}/{PLACES}") from error

    def _spread(self, path: str) -> None:
        """Keep what one container does to the disk from slowing down the next."""
        from proa.linux.inodeflags import spread_children

        try:
            spread_children(path)
        except OSError:
            return  # not ext4

    def _make_places(self) -> None:
        staged = f"{self.root}/.{PLACES}-{os.getpid()}"
        try:
            for name in ("", *_PLACED_DIRECTORIES):
                os.mkdir(f"{staged}/{name}")
                os.chmod(f"{staged}/{name}", 0o755)  # whatever the umask is
            for name in _PLACED_FILES:
                os.close(os.open(f"{staged}/{name}", os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC))
                os.chmod(f"{staged}/{name}", 0o644)
            try:
                os.rename(staged, f"{self.root}/{PLACES}")
            except OSError as error:
                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                    raise
        finally:
            tree.remove_tree(staged)

    @property
    def containers(self) -> str:
        """Directory of the containers' directories."""
        return f"{self.root}/containers"

    @property
    def berths(self) -> str:
        """Directory of the directories that containers to come will have."""
        return f"{self.root}/berths"

    @property
    def volumes(self) -> str:
        """Directory of the volumes."""
        return f"{self.root}/volumes"

    @property
    def controls(self) -> str:
        """Directory of the control sockets."""
        return f"{self.run}/c"

    def container(self, container_id: str) -> str:
        """Directory of one container."""
        return f"{self.root}/containers/{container_id}"

    def control(self, container_id: str) -> str:
        """Control socket of one running container."""
        return f"{self.run}/c/{container_id}"

    def vm(self, machine_id: str) -> str:
        """Directory of one virtual machine."""
        return f"{self.root}/vms/{machine_id}"

    def vm_control(self, machine_id: str) -> str:
        """Socket of one running virtual machine."""
        return f"{self.run}/v/{machine_id}"

    def log(self, container_id: str) -> str:
        """Log file of one container (json-file driver)."""
        return f"{self.root}/containers/{container_id}/{container_id}-json.log"


class SocketPath:
    """A unix socket's path that fits ``sun_path``, however deep the directory is.

    Used as a context manager: the descriptor that a long path needs lives until its end.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd = -1

    def __enter__(self) -> str:
        """Return a path usable with bind(2) and connect(2)."""
        if len(os.fsencode(self._path)) <= _SOCKET_PATH_MAX:
            return self._path
        directory, name = os.path.split(self._path)
        self._fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        return f"/proc/self/fd/{self._fd}/{name}"

    def __exit__(self, *exc: object) -> None:
        """Close the directory."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
