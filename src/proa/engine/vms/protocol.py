"""What is said on a machine's socket: one request and one answer, each a line of JSON.

After the answer to ``console`` the connection carries the console's bytes, both ways.
"""

from __future__ import annotations

import socket
from typing import Literal

import msgspec

from proa.errors import Corrupt

LINE_MAX = 16384


SnapshotOp = Literal["snapshot-save", "snapshot-load", "snapshot-delete"]


class Request(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a client wants.

    Attributes:
        timeout_s: of ``stop``: how long the guest may take after its power button was pressed.
        name: of a snapshot.
    """

    op: Literal["console", "stop", "snapshots"] | SnapshotOp
    timeout_s: float = 0
    name: str = ""


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What came of it; ``kind`` and ``message`` are an error's."""

    kind: str = ""
    message: str = ""
    hint: str = ""
    names: tuple[str, ...] = ()


def receive_line(sock: socket.socket) -> bytes:
    """Read up to a newline, and not a byte more; empty at the end of the stream.

    Raises:
        Corrupt: the line is too long.
        OSError: the connection broke.
    """
    line = b""
    while not line.endswith(b"\n"):
        peeked = sock.recv(LINE_MAX, socket.MSG_PEEK)
        if not peeked:
            return b""
        end = peeked.find(b"\n") + 1
        line += sock.recv(end or len(peeked))
        if len(line) > LINE_MAX:
            raise Corrupt("a machine's socket sent a line that is too long")
    return line
