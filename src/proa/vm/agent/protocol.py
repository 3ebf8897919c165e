"""Frames on the channel between the engine and the agent in the guest.

A frame is a nine-byte header (payload length, stream, kind; little-endian) and its payload. Both
ends take the other for hostile: every length is checked against its kind's limit before a byte of
the payload is kept, a kind that the sender may not use ends the channel, and so does data beyond
the credit that was given (:mod:`proa.vm.agent.streams`).

=========  ===========  ============================================================================
HELLO      guest first  :class:`~proa.vm.agent.messages.Hello`, once; its version must be ours
REQUEST    host         a message of :mod:`~proa.vm.agent.messages`; the stream numbers it
REPLY      guest        the answer to that request, if it has one
FAILURE    guest        instead of a reply: :class:`~proa.vm.agent.messages.Failure`
EXIT       guest        a process has ended and its output is complete; the stream is its number
DATA       both         bytes of a process' stream
CREDIT     both         so many more bytes of that stream may be sent (four bytes)
END        both         no more data of that stream
CLOSED     both         nobody reads that stream any more
QUERY      guest        a DNS message of the container; the stream numbers it
ANSWER     host         the answer
=========  ===========  ============================================================================
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from proa.errors import Corrupt

VERSION = 1
PORT_NAME = "proa.agent"
"""The virtio-serial port."""

HEADER = struct.Struct("<IIB")
CREDIT_VALUE = struct.Struct("<I")

HELLO = 1
REQUEST = 2
REPLY = 3
FAILURE = 4
EXIT = 5
DATA = 6
CREDIT = 7
END = 8
CLOSED = 9
QUERY = 10
ANSWER = 11

MAX_DATA_BYTES = 64 * 1024
MAX_REQUEST_BYTES = 16 * 1024 * 1024
"""A runtime spec with a seccomp profile and the files that the engine gives a container."""

_MAX_REPLY_BYTES = 1024 * 1024
_MAX_SMALL_BYTES = 64 * 1024
_MAX_DNS_BYTES = 65535 + 1

FROM_GUEST: Mapping[int, int] = {
    HELLO: _MAX_SMALL_BYTES,
    REPLY: _MAX_REPLY_BYTES,
    FAILURE: _MAX_SMALL_BYTES,
    EXIT: _MAX_SMALL_BYTES,
    DATA: MAX_DATA_BYTES,
    CREDIT: CREDIT_VALUE.size,
    END: 0,
    CLOSED: 0,
    QUERY: _MAX_DNS_BYTES,
}
"""Kinds that a guest may send, and how long their payload may be."""

FROM_HOST: Mapping[int, int] = {
    REQUEST: MAX_REQUEST_BYTES,
    DATA: MAX_DATA_BYTES,
    CREDIT: CREDIT_VALUE.size,
    END: 0,
    CLOSED: 0,
    ANSWER: _MAX_DNS_BYTES,
}
"""Kinds that the host may send."""


class Frame(NamedTuple):
    """One message on the channel."""

    kind: int
    stream: int
    payload: bytes


def pack(kind: int, stream: int, payload: bytes = b"") -> bytes:
    """Return a frame's bytes."""
    return HEADER.pack(len(payload), stream, kind) + payload


class FrameParser:
    """Cuts what arrives into frames; holds at most one unfinished frame.

    Args:
        accepted: kinds that the other end may send and their longest payloads.
    """

    def __init__(self, accepted: Mapping[int, int]) -> None:
        self._accepted = accepted
        self._data = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Take bytes; yield every frame that is complete.

        Raises:
            Corrupt: a kind that the other end may not send, or a payload longer than its kind's.
        """
        self._data += data
        at = 0
        try:
            while len(self._data) - at >= HEADER.size:
                length, stream, kind = HEADER.unpack_from(self._data, at)
                limit = self._accepted.get(kind)
                if limit is None:
                    raise Corrupt(f"the channel to the guest carries an unknown frame ({kind})")
                if length > limit:
                    raise Corrupt(
                        f"the channel to the guest carries a frame of {length} bytes, kind {kind}"
                    )
                end = at + HEADER.size + length
                if len(self._data) < end:
                    break
                payload = bytes(self._data[at + HEADER.size : end])
                at = end
                yield Frame(kind, stream, payload)
        finally:
            del self._data[:at]
