"""Talking to a container's supervisor."""

from __future__ import annotations

import socket

from proa.engine.ipc import wire
from proa.engine.layout import Layout, SocketPath
from proa.errors import Internal, Unavailable, from_os_error


class HungUp(Unavailable):
    """The supervisor ended before it answered; nothing is known of what was asked for."""


def connect(layout: Layout, container_id: str) -> socket.socket | None:
    """Return a connection to the container's supervisor, None when there is no live one.

    Raises:
        ProaError: the socket is there and cannot be used.
    """
    peer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with SocketPath(layout.control(container_id)) as path:
            peer.connect(path)
    except (FileNotFoundError, ConnectionRefusedError, ConnectionResetError):
        peer.close()
        return None
    except OSError as error:
        peer.close()
        message = f"cannot reach the supervisor of container {container_id[:12]}"
        raise from_os_error(error, message) from error
    return peer


def ask(peer: socket.socket, request: wire.ControlRequest, fds: tuple[int, ...] = ()) -> int | None:
    """Send one request and wait for its answer: the exit code if that is what was asked for.

    Raises:
        HungUp: the supervisor ended meanwhile.
        ProaError: what the supervisor answered.
    """
    kind, payload = _exchange(peer, request, fds)
    match kind:
        case b"O":
            return None
        case b"X":
            return int(payload)
    raise Internal(f"a supervisor answered {kind!r}")


def ask_value(peer: socket.socket, request: wire.ControlRequest) -> bytes:
    """Send one request and return the value (msgpack) that it is answered with.

    Raises:
        HungUp: the supervisor ended meanwhile.
        ProaError: what the supervisor answered.
    """
    kind, payload = _exchange(peer, request, ())
    if kind != b"V":
        raise Internal(f"a supervisor answered {kind!r}")
    return payload


def _exchange(
    peer: socket.socket, request: wire.ControlRequest, fds: tuple[int, ...]
) -> tuple[bytes, bytes]:
    try:
        wire.send(peer, b"Q", wire.encode(request), fds)
        kind, payload, _ = wire.receive(peer)
    except OSError:
        kind, payload = b"", b""
    if kind == b"E":
        raise wire.error_of(wire.decode_failure(payload))
    if not kind:
        raise HungUp("the container's supervisor ended while it was asked")
    return kind, payload
