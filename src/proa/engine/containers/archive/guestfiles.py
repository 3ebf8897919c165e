"""The files of containers in virtual machines: asked of the guest's agent, never mounted here.

A filesystem that a guest has written is hostile to the kernel that mounts it, so the host does not.
*Running*: the supervisor passes the questions on. *Stopped*: the container is created anew, parked
before its command, for as long as it takes; its lock is held.
"""

from __future__ import annotations

import os
from _thread import get_ident
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import cast

import msgspec

from proa.engine.compose.spec import compose_sandbox
from proa.engine.containers.lifecycle import (
    StartedAgain,
    get,
    lock_stopped,
    reach_running,
)
from proa.engine.containers.query import find_image
from proa.engine.context import Context
from proa.engine.ipc import control, wire
from proa.engine.model import ContainerRecord
from proa.errors import Conflict, Internal, NotFound, Unavailable
from proa.oci.files import FileAccess, FileStat, StatFile, Transfer
from proa.oci.isolation import Stdio
from proa.vm.agent import messages

_RUNNING = ("running", "paused")
_CHUNK_BYTES = 256 * 1024
_MAX_MESSAGE_BYTES = 65536
_FAILED = 1

Await = Callable[[], int]
"""Waits for a transfer's end and returns its exit code."""


class GuestFiles:
    """A guest that can be asked.

    Attributes:
        name: names the container in messages.
    """

    def __init__(
        self,
        name: str,
        stat: Callable[[StatFile], FileStat],
        start: Callable[[Transfer, Stdio], Await],
    ) -> None:
        self.name = name
        self._stat = stat
        self._start = start

    def stat(self, path: str, *, follow: bool) -> FileStat:
        """Look at a path.

        Raises:
            NotFound: there is nothing.
        """
        try:
            return self._stat(StatFile(path=path, follow=follow))
        except NotFound as error:
            raise NotFound(f"could not find the file {path} in container {self.name}") from error

    def pack(self, request: Transfer) -> Iterator[bytes]:
        """Yield an archive; what was yielded before an error is to be thrown away.

        Raises:
            ProaError: what the guest says.
        """
        null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        reading, writing = os.pipe2(os.O_CLOEXEC)
        said, saying = os.pipe2(os.O_CLOEXEC)
        try:
            try:
                wait = self._start(request, Stdio(null, writing, saying))
            finally:
                for fd in (null, writing, saying):
                    os.close(fd)
            while data := os.read(reading, _CHUNK_BYTES):
                yield data
            self._finish(wait, said)
        finally:
            os.close(reading)
            os.close(said)

    def unpack(self, request: Transfer, pieces: Iterable[bytes]) -> None:
        """Send an archive.

        Raises:
            ProaError: what the guest says.
        """
        null = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        reading, writing = os.pipe2(os.O_CLOEXEC)
        said, saying = os.pipe2(os.O_CLOEXEC)
        try:
            try:
                wait = self._start(request, Stdio(reading, null, saying))
            finally:
                for fd in (null, reading, saying):
                    os.close(fd)
            try:
                for piece in pieces:
                    _write(writing, piece)
            except BrokenPipeError:
                # The guest has given up; it says why.
                pass
            finally:
                os.close(writing)
            self._finish(wait, said)
        finally:
            os.close(said)

    def _finish(self, wait: Await, said: int) -> None:
        code = wait()
        if code == 0:
            return
        message = b""
        while len(message) < _MAX_MESSAGE_BYTES and (more := os.read(said, _CHUNK_BYTES)):
            message += more
        if code != _FAILED or not message:
            raise Unavailable(f"the guest of container {self.name} ended while it moved files")
        error = messages.error_of(message[:_MAX_MESSAGE_BYTES])
        raise type(error)(f"{error.message} in container {self.name}", error.hint)


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


_open: dict[tuple[int, str], GuestFiles] = {}
"""By thread and container: a copy asks several times, and a stopped guest starts but once."""


@contextmanager
def open_guest(context: Context, reference: str) -> Iterator[GuestFiles]:
    """Open a container's guest for questions, until the end of the block.

    Raises:
        NotFound: no such container, or its image is gone.
        Conflict: it starts and stops all the time.
        ProaError: its guest cannot be started.
    """
    record = get(context, reference)
    key = (get_ident(), record.id)
    found = _open.get(key)
    if found is not None:
        yield found
        return
    with _reach(context, record) as files:
        _open[key] = files
        try:
            yield files
        finally:
            del _open[key]


@contextmanager
def _reach(context: Context, record: ContainerRecord) -> Iterator[GuestFiles]:
    for _ in range(_ATTEMPTS):
        if record.state.status in _RUNNING:
            yield _running(context, record)
            return
        try:
            lock = lock_stopped(context, record)
        except StartedAgain:
            record = get(context, record.id)
            continue
        if lock < 0:
            raise NotFound(f"no such container: {record.name}")
        try:
            with _parked(context, record) as files:
                yield files
        finally:
            os.close(lock)
        return
    raise Conflict(f"container {record.name} starts and stops all the time", "stop it first")


_ATTEMPTS = 10


def _running(context: Context, record: ContainerRecord) -> GuestFiles:
    def stat(request: StatFile) -> FileStat:
        peer = reach_running(context, get(context, record.id))
        with peer:
            answer = control.ask_value(peer, request)
        try:
            return msgspec.msgpack.decode(answer, type=FileStat)
        except msgspec.DecodeError as error:
            raise Internal(f"a supervisor's answer cannot be read: {error}") from error

    def start(request: Transfer, stdio: Stdio) -> Await:
        peer = reach_running(context, get(context, record.id))
        fds = (stdio.stdin, stdio.stdout, stdio.stderr)
        wire.send(peer, b"Q", wire.encode(request), fds)

        def wait() -> int:
            with peer:
                kind, payload, _ = wire.receive(peer)
                if kind == b"I":
                    kind, payload, _ = wire.receive(peer)
                if kind == b"X":
                    return int(payload)
                if kind == b"E":
                    raise wire.error_of(wire.decode_failure(payload))
                raise Unavailable(f"the supervisor of container {record.name} has ended")

        return wait

    return GuestFiles(record.name, stat, start)


@contextmanager
def _parked(context: Context, record: ContainerRecord) -> Iterator[GuestFiles]:
    image = find_image(context, record)
    if image is None:
        raise NotFound(f"the image of container {record.name} is gone")
    context.images.ensure_unpacked(image)
    spec, _ = compose_sandbox(context, record, image)
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    try:
        isolation = context.isolation(record.config)
        sandbox = isolation.create(spec, Stdio(null, null, null))
    finally:
        os.close(null)
    access = cast("FileAccess", sandbox)

    def start(request: Transfer, stdio: Stdio) -> Await:
        handle = access.transfer(request, stdio)

        def wait() -> int:
            code = handle.wait().code
            handle.close()
            return code

        return wait

    try:
        yield GuestFiles(record.name, access.stat_file, start)
    finally:
        sandbox.delete()


@contextmanager
def copied_upper(context: Context, record: ContainerRecord) -> Iterator[str]:
    """Unpack a guest's writable layer into a directory here, until the end of the block.

    Raises:
        Corrupt, Invalid: what the guest sends is no layer, or hostile.
        ProaError: see :func:`open_guest`.
    """
    import tempfile

    from proa.fs.tree import remove_tree
    from proa.image.layers.layer import apply_layer

    directory = tempfile.mkdtemp(prefix="view-", dir=context.layout.container(record.id))
    try:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with open_guest(context, record.id) as guest:
                what = f"the writable layer of container {record.name}"
                apply_layer(guest.pack(Transfer(kind="layer")), fd, what)
        finally:
            os.close(fd)
        yield directory
    finally:
        remove_tree(directory)
