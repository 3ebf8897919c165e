"""The server's side of a websocket (RFC 6455), as far as ``attach/ws`` needs it.

The container's output goes out in binary messages without stream frames: a websocket client cannot
tell stdout from stderr, with Docker neither. Fragments and control frames of the client are
understood, extensions are not offered.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import Any, Final

from proa.server.errors import bad_request
from proa.server.streams.pump import Pump

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_MOST_BYTES: Final = 1024 * 1024
_CONTINUATION: Final = 0
_BINARY: Final = 2
_CLOSE: Final = 8
_PING: Final = 9
_PONG: Final = 10
_HEAD: Final = (
    "HTTP/1.1 101 Switching Protocols\r\n"
    "Upgrade: websocket\r\n"
    "Connection: Upgrade\r\n"
    "Sec-WebSocket-Accept: {accept}\r\n"
    "\r\n"
)


def accept_handshake(headers: Mapping[str, str]) -> bytes:
    """Return the head that accepts a websocket.

    Raises:
        HttpError: 400, the request asks for none.
    """
    key = headers.get("sec-websocket-key", "")
    if "websocket" not in headers.get("upgrade", "").lower() or not key:
        raise bad_request("this endpoint is a websocket")
    if headers.get("sec-websocket-version") != "13":
        raise bad_request("only version 13 of websockets is spoken")
    digest = hashlib.sha1(key.encode("latin-1") + _GUID, usedforsecurity=False).digest()
    return _HEAD.format(accept=base64.b64encode(digest).decode()).encode()


def encode_message(data: bytes, opcode: int = _BINARY) -> bytes:
    """Return one frame of the server."""
    length = len(data)
    if length < 126:
        head = bytes((0x80 | opcode, length))
    elif length < 65536:
        head = bytes((0x80 | opcode, 126)) + length.to_bytes(2, "big")
    else:
        head = bytes((0x80 | opcode, 127)) + length.to_bytes(8, "big")
    return head + data


class WebSocketPump(Pump):
    """A pump whose client speaks websocket."""

    def __init__(self, sock: Any, outputs: dict[int, int], *, early: bytes = b"", **rest: Any):
        super().__init__(sock, outputs, encode=lambda _stream, data: encode_message(data), **rest)
        self._received = bytearray()
        if early:
            self.queue_input(self.accept_input(early))

    def accept_input(self, data: bytes) -> bytes:
        """Take frames apart; answer pings, and the end."""
        self._received += data
        content = bytearray()
        while True:
            found = _split_frame(self._received)
            if found is None:
                break
            opcode, payload, size = found
            del self._received[:size]
            if opcode == _CLOSE:
                self.queue_output(encode_message(payload[:2], _CLOSE))
                self.end_input()
                break
            if opcode == _PING:
                self.queue_output(encode_message(payload, _PONG))
            elif opcode != _PONG:
                content += payload
        if len(self._received) > _MOST_BYTES:
            self.end_input()
        return bytes(content)

    def finish(self) -> None:
        """Say that this was all."""
        self.queue_output(encode_message((1000).to_bytes(2, "big"), _CLOSE))


def _split_frame(data: bytearray) -> tuple[int, bytes, int] | None:
    """Return opcode, payload and size of the first frame; None when it is not whole yet."""
    if len(data) < 2:
        return None
    opcode, masked, length, at = data[0] & 0x0F, data[1] & 0x80, data[1] & 0x7F, 2
    if length >= 126:
        width = 2 if length == 126 else 8
        if len(data) < at + width:
            return None
        length, at = int.from_bytes(data[at : at + width], "big"), at + width
    if length > _MOST_BYTES:
        return (_CLOSE, (1009).to_bytes(2, "big"), len(data))
    if not masked:
        # A client's frames are always masked (RFC 6455, 5.1).
        return (_CLOSE, (1002).to_bytes(2, "big"), len(data))
    if len(data) < at + 4 + length:
        return None
    mask, at = bytes(data[at : at + 4]), at + 4
    payload = bytes(data[at : at + length])
    key = int.from_bytes((mask * (length // 4 + 1))[:length], "big")
    plain = (int.from_bytes(payload, "big") ^ key).to_bytes(length, "big") if length else b""
    return opcode, plain, at + length
