"""Frames on the engine's unix sockets.

A frame is one kind byte, a four-byte big-endian length and that many bytes. Descriptors travel with
the first byte of a frame (SCM_RIGHTS, unix(7)). The same frames serve the zygote's socket and the
containers' control sockets; both ends check every length.

Requests to a worker of the zygote (client to worker):

=====  ===========================================================================================
``C``  run a command line: ``argc NUL envc NUL`` then that many NUL-ended words (bytes); descriptors
       are stdin, stdout, stderr and the working directory
``R``  :class:`RunRequest`, a container created and run for a library; descriptors by its flags
``S``  :class:`StartRequest`, the supervisor of an existing container; descriptors likewise
``H``  a container's id: act for its keeper, which has something to do
=====  ===========================================================================================

The worker answers ``A`` as soon as it has read the request: a connection that ends before that was
never acted upon and may be tried again. Then come ``I`` (started, :class:`Started`), ``X`` (exit
code in decimal) or ``E`` (:class:`Failure`). A client may send ``K`` (a signal number in decimal)
any time.
"""

from __future__ import annotations

import array
import os
import socket

import msgspec

from proa import errors
from proa.engine.config import ContainerConfig, ContainerUpdate, Pull
from proa.oci.files import StatFile, Transfer
from proa.oci.processlist import ReadProcesses
from proa.oci.spec import Process

MAX_FRAME_BYTES = 8 * 1024 * 1024
"""Above any argument vector and environment that execve(2) takes (ARG_MAX is at most 6 MiB)."""

MAX_FDS = 8


class RunRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Create and run a container.

    ``fds`` says which of stdin, stdout, stderr travel along, ``job`` whose terminal they are.
    """

    config: ContainerConfig
    name: str = ""
    pull: Pull = "missing"
    detach: bool = False
    fds: tuple[bool, bool, bool] = (False, False, False)
    detach_keys: str = ""
    job: int = 0


class StartRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Start an existing container; with ``log`` the last descriptor is one to write steps to."""

    id: str
    log: bool = False
    detach: bool = True
    fds: tuple[bool, bool, bool] = (False, False, False)
    detach_keys: str = ""
    job: int = 0


class Started(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The container, or the process that was started in it, runs as ``pid``."""

    id: str
    pid: int = 0
    warnings: tuple[str, ...] = ()


class Failure(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An error of :mod:`proa.errors` on its way to another process."""

    kind: str
    message: str
    hint: str = ""


class Signal(msgspec.Struct, frozen=True, kw_only=True, tag="signal"):
    """Send a signal to the container's init."""

    number: int


class Stop(msgspec.Struct, frozen=True, kw_only=True, tag="stop"):
    """Signal, wait ``timeout_s`` (-1: for ever), kill; answered when the container has ended."""

    number: int = 0
    timeout_s: float | None = None


class Wait(msgspec.Struct, frozen=True, kw_only=True, tag="wait"):
    """Answered with the exit code when the container has ended (and is removed, if it shall be)."""


class Attach(msgspec.Struct, frozen=True, kw_only=True, tag="attach"):
    """Join the container's stdio; the descriptors that are True travel along.

    The connection stays open; its end detaches. Answered with ``O``, and with the exit code when
    the container ends or ``D`` when the detach keys were pressed.
    """

    fds: tuple[bool, bool, bool] = (False, True, True)
    detach_keys: str = ""
    job: int = 0


class Exec(msgspec.Struct, frozen=True, kw_only=True, tag="exec"):
    """Start one more process. Its stdin, stdout and stderr travel along, unless it has a terminal.

    Answered with ``I`` (with the terminal's master side as descriptor, if there is one) when it
    runs, and with its exit code when it has ended. The connection's end changes nothing.
    """

    process: Process
    log: bool = False
    """Another descriptor travels along, behind those, that steps are written to."""


class Resize(msgspec.Struct, frozen=True, kw_only=True, tag="resize"):
    """Set the size of the container's terminal, in characters."""

    rows: int
    columns: int


class Pause(msgspec.Struct, frozen=True, kw_only=True, tag="pause"):
    """Freeze all processes."""


class Unpause(msgspec.Struct, frozen=True, kw_only=True, tag="unpause"):
    """Thaw all processes."""


class Restart(msgspec.Struct, frozen=True, kw_only=True, tag="restart"):
    """As :class:`Stop`, and start again; answered when the container runs."""

    number: int = 0
    timeout_s: float | None = None


class Update(msgspec.Struct, frozen=True, kw_only=True, tag="update"):
    """Change limits, restart policy or labels, live and in the record."""

    changes: ContainerUpdate


class Rename(msgspec.Struct, frozen=True, kw_only=True, tag="rename"):
    """Give the container another name."""

    name: str


class SyncNetwork(msgspec.Struct, frozen=True, kw_only=True, tag="sync-network"):
    """Make the live network what the records say now."""


class ListProcesses(msgspec.Struct, frozen=True, kw_only=True, tag="processes"):
    """Answered with ``V``: the host pids of all processes, ``list[int]``."""


class ReadStats(msgspec.Struct, frozen=True, kw_only=True, tag="stats"):
    """Answered with ``V``: :class:`proa.oci.isolation.Stats`."""


class Ping(msgspec.Struct, frozen=True, kw_only=True, tag="ping"):
    """Answered at once: the supervisor lives."""


ControlRequest = (
    Signal | Stop | Wait | Attach | Exec | Resize | Pause | Unpause | Restart | Update | Rename
    | SyncNetwork | ListProcesses | ReadStats | ReadProcesses | StatFile | Transfer
    | Ping
)  # fmt: skip

_ENCODER = msgspec.msgpack.Encoder()
_KINDS: dict[str, type[errors.ProaError]] = {
    kind.kind: kind
    for kind in (
        errors.NotFound, errors.Conflict, errors.Invalid, errors.Forbidden, errors.Unauthorized,
        errors.Unavailable, errors.Unsupported, errors.Exhausted, errors.TimedOut, errors.Corrupt,
        errors.CommandNotFound, errors.CommandNotExecutable, errors.Internal,
    )
}  # fmt: skip

encode = _ENCODER.encode
decode_run = msgspec.msgpack.Decoder(RunRequest).decode
decode_start = msgspec.msgpack.Decoder(StartRequest).decode
decode_started = msgspec.msgpack.Decoder(Started).decode
decode_failure = msgspec.msgpack.Decoder(Failure).decode
decode_control = msgspec.msgpack.Decoder(ControlRequest).decode


def send(peer: socket.socket, kind: bytes, payload: bytes = b"", fds: tuple[int, ...] = ()) -> None:
    """Send one frame, with descriptors on its first byte.

    Raises:
        OSError: the peer is gone.
    """
    data = kind + len(payload).to_bytes(4, "big") + payload
    if not fds:
        peer.sendall(data)
        return
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))]
    sent = peer.sendmsg([data], rights)
    if sent < len(data):
        peer.sendall(data[sent:])


def receive(peer: socket.socket) -> tuple[bytes, bytes, list[int]]:
    """Receive one frame: kind, payload and the descriptors that came along (close-on-exec).

    Returns ``(b"", b"", [])`` at the end of the stream.

    Raises:
        Corrupt: the frame is longer than :data:`MAX_FRAME_BYTES` or the stream ends inside it.
        OSError: the connection broke.
    """
    head, fds = _receive_head(peer)
    if not head:
        return b"", b"", fds
    try:
        length = int.from_bytes(head[1:5], "big")
        if length > MAX_FRAME_BYTES:
            raise errors.Corrupt(f"a frame of {length} bytes on an engine socket is refused")
        payload = _receive_exactly(peer, length)
    except BaseException:
        for fd in fds:
            os.close(fd)
        raise
    return head[:1], payload, fds


def _receive_head(peer: socket.socket) -> tuple[bytes, list[int]]:
    space = socket.CMSG_SPACE(MAX_FDS * 4)
    head, rights, _, _ = peer.recvmsg(5, space, socket.MSG_CMSG_CLOEXEC)
    fds = array.array("i")
    for level, kind, data in rights:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(data[: len(data) - len(data) % 4])
    received = list(fds)
    if head and len(head) < 5:
        try:
            head += _receive_exactly(peer, 5 - len(head))
        except BaseException:
            for fd in received:
                os.close(fd)
            raise
    return head, received


def _receive_exactly(peer: socket.socket, length: int) -> bytes:
    data = peer.recv(length, socket.MSG_WAITALL) if length else b""
    while len(data) < length:
        more = peer.recv(length - len(data))
        if not more:
            raise errors.Corrupt("an engine socket ended inside a frame")
        data += more
    return data


def failure_of(error: BaseException) -> Failure:
    """Describe an error for the other end; an unforeseen one is an internal error with its type."""
    if isinstance(error, errors.ProaError):
        return Failure(kind=error.kind, message=error.message, hint=error.hint)
    return Failure(kind="internal", message=f"{type(error).__name__}: {error}")


def error_of(failure: Failure) -> errors.ProaError:
    """Rebuild the error that the other end described."""
    return _KINDS.get(failure.kind, errors.Internal)(failure.message, failure.hint)
