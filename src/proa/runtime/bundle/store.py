"""The containers of one root directory, as files.

::

    <root>/<id>/            0700; making it claims the id, removing it is the last act of delete
        state.json          the Record, replaced atomically
        config.json         the spec as it was read; the bundle's may change
        exec.fifo           init waits at it; the start that unlinks it starts the container

Crash rule: whatever is missing, ``delete --force`` removes the rest. A record without a pid is of a
``create`` that was killed, whose init died by its parent-death signal. Pids are checked against
their start time. All of it lies on a tmpfs (``/run``) and ends with the boot.
"""

from __future__ import annotations

import os
import re

import msgspec

from proa.errors import Conflict, Corrupt, Invalid, NotFound, from_os_error
from proa.fs.atomicfile import load_file, save_file
from proa.linux import procfs
from proa.oci import spec as oci

_ID = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*\Z")
_MAX_ID_CHARACTERS = 255


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """One container.

    Attributes:
        bundle, rootfs: absolute host directories.
        pid: of init on the host, 0 while there is none.
        start_ticks: when init started; with the pid it names the process for good.
        parked: init has reached the fifo: the container is *created*.
        created: RFC 3339.
        owner: uid of who created it.
    """

    id: str
    bundle: str
    rootfs: str
    pid: int = 0
    start_ticks: int = 0
    parked: bool = False
    created: str = ""
    owner: int = 0


class Store:
    """The containers below one root directory."""

    def __init__(self, root: str) -> None:
        self.root = root

    def reserve(self, container_id: str, spec: oci.Spec) -> None:
        """Claim an id and make its fifo.

        Raises:
            Conflict: it is taken.
            Invalid: it cannot be the name of a directory.
            ProaError: the directory cannot be made.
        """
        directory = self._directory(container_id)
        try:
            os.makedirs(self.root, 0o711, exist_ok=True)
            os.mkdir(directory, 0o700)
            save_file(f"{directory}/config.json", oci.encode(spec), durable=False)
            os.mkfifo(f"{directory}/exec.fifo", 0o600)
        except FileExistsError as error:
            raise Conflict(f"container with given ID already exists: {container_id}") from error
        except OSError as error:
            raise from_os_error(error, f"cannot make {directory}") from error

    def save(self, record: Record) -> None:
        """Replace a container's record."""
        path = f"{self._directory(record.id)}/state.json"
        save_file(path, msgspec.json.encode(record), durable=False)

    def load(self, container_id: str) -> Record:
        """Read a container's record.

        Raises:
            NotFound: no such container.
            Corrupt: the record is damaged.
        """
        directory = self._directory(container_id)
        try:
            return msgspec.json.decode(load_file(f"{directory}/state.json"), type=Record)
        except FileNotFoundError as error:
            if os.path.isdir(directory):
                return Record(id=container_id, bundle="", rootfs="")
            raise NotFound(f"container does not exist: {container_id}") from error
        except msgspec.DecodeError as error:
            raise Corrupt(f"{directory}/state.json is damaged: {error}") from error

    def load_spec(self, container_id: str) -> oci.Spec:
        """Read the spec that a container was made from.

        Raises:
            NotFound, Corrupt: see :meth:`load`.
        """
        path = f"{self._directory(container_id)}/config.json"
        try:
            return oci.decode(load_file(path))
        except FileNotFoundError as error:
            raise NotFound(f"container does not exist: {container_id}") from error
        except msgspec.DecodeError as error:
            raise Corrupt(f"{path} is damaged: {error}") from error

    def ids(self) -> list[str]:
        """Ids of all containers, sorted."""
        try:
            names = os.listdir(self.root)
        except FileNotFoundError:
            return []
        return sorted(name for name in names if _ID.match(name))

    def fifo(self, container_id: str) -> str:
        """Path of the container's fifo."""
        return f"{self._directory(container_id)}/exec.fifo"

    def remove(self, container_id: str) -> None:
        """Remove all files of a container. Idempotent."""
        directory = self._directory(container_id)
        try:
            for name in os.listdir(directory):
                os.unlink(f"{directory}/{name}")
            os.rmdir(directory)
        except FileNotFoundError:
            pass

    def _directory(self, container_id: str) -> str:
        if not _ID.match(container_id) or len(container_id) > _MAX_ID_CHARACTERS:
            raise Invalid(f"invalid container ID format: {container_id!r}")
        return f"{self.root}/{container_id}"


def is_alive(record: Record) -> bool:
    """Whether the container's init runs: there, the same process, not a zombie."""
    if record.pid <= 0:
        return False
    try:
        if procfs.read_start_ticks(record.pid) != record.start_ticks:
            return False
        return procfs.read_status(record.pid)["State"][0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False
