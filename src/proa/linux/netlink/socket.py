"""Netlink sockets: requests, acknowledgements, dumps and notifications (netlink(7)).

One :class:`Netlink` is one socket of one protocol in one network namespace. Requests may be sent in
batches: one system call carries them all, the kernel works through them in order and acknowledges
each. Only ``OSError`` leaves, with the kernel's extended message as ``filename`` where it sent one.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from proa.linux.netlink.attributes import parse, text
from proa.linux.netns import open_socket

NETLINK_ROUTE = 0
NETLINK_NETFILTER = 12

NLM_F_REQUEST = 0x1
NLM_F_ACK = 0x4
NLM_F_DUMP = 0x300
NLM_F_REPLACE = 0x100
NLM_F_EXCL = 0x200
NLM_F_CREATE = 0x400
NLM_F_APPEND = 0x800
NLM_F_ACK_TLVS = 0x200

NLMSG_ERROR = 2
NLMSG_DONE = 3

_SOL_NETLINK = 270
_NETLINK_ADD_MEMBERSHIP = 1
_NETLINK_EXT_ACK = 11
_NETLINK_GET_STRICT_CHK = 12
_NLMSGERR_ATTR_MSG = 1

_HEADER = struct.Struct("<IHHII")
_ERROR = struct.Struct("<i")
_RECEIVE_BYTES = 1 << 17
_ANSWER_TIMEOUT_S = 30.0


class Message(NamedTuple):
    """One received message: its type and what follows the header."""

    kind: int
    payload: bytes


class Request(NamedTuple):
    """One message to send.

    Attributes:
        flags: NLM_F_* beyond REQUEST and ACK.
        acknowledged: ask for an answer; false for the markers of an nf_tables batch.
    """

    kind: int
    payload: bytes
    flags: int = 0
    acknowledged: bool = True


class Netlink:
    """A netlink socket; use as a context manager or :meth:`close` it."""

    def __init__(self, protocol: int = NETLINK_ROUTE, netns_fd: int = -1) -> None:
        """Open it.

        Args:
            protocol: NETLINK_ROUTE or NETLINK_NETFILTER.
            netns_fd: the network namespace to work on; -1: the caller's.

        Raises:
            OSError: the namespace cannot be joined, or the kernel lacks the protocol.
        """
        self._socket = open_socket(netns_fd, socket.AF_NETLINK, socket.SOCK_RAW, protocol)
        self._sequence = 0
        try:
            self._socket.bind((0, 0))
            self._socket.setsockopt(_SOL_NETLINK, _NETLINK_EXT_ACK, 1)
            if protocol == NETLINK_ROUTE:
                self._socket.setsockopt(_SOL_NETLINK, _NETLINK_GET_STRICT_CHK, 1)
        except BaseException:
            self._socket.close()
            raise

    @classmethod
    def adopt(cls, fd: int) -> Netlink:
        """Take over a netlink socket that another process opened."""
        adopted = cls.__new__(cls)
        adopted._socket = socket.socket(fileno=fd)
        adopted._sequence = 0
        return adopted

    def __enter__(self) -> Netlink:
        return self

    def __exit__(self, *exc: object) -> None:
        self._socket.close()

    def fileno(self) -> int:
        """The descriptor, for polling."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the socket. Idempotent."""
        self._socket.close()

    def request(self, kind: int, payload: bytes, flags: int = 0) -> None:
        """Send one request and wait for its acknowledgement.

        Raises:
            OSError: what the kernel answered.
        """
        self.send((Request(kind, payload, flags),))

    def send(self, requests: Sequence[Request]) -> None:
        """Send requests in one go and wait for all acknowledgements.

        Raises:
            OSError: the first answer that is an error; requests behind it were tried all the same,
                except in an nf_tables batch, which is all or nothing.
        """
        waiting = set()
        parts = []
        for item in requests:
            self._sequence += 1
            flags = item.flags | NLM_F_REQUEST
            if item.acknowledged:
                flags |= NLM_F_ACK
                waiting.add(self._sequence)
            parts.append(_HEADER.pack(16 + len(item.payload), item.kind, flags, self._sequence, 0))
            parts.append(item.payload + bytes(-len(item.payload) % 4))
        self._transmit(b"".join(parts))
        failure: OSError | None = None
        while waiting:
            for header, payload in self._receive():
                if header[1] != NLMSG_ERROR:
                    continue
                error = _error_of(header, payload)
                if error is not None and failure is None:
                    failure = error
                if error is not None and header[3] not in waiting:
                    # A batch that failed as a whole: its begin marker is answered, nothing else.
                    waiting.clear()
                waiting.discard(header[3])
            if failure is not None and not self._has_more():
                break
        if failure is not None:
            raise failure

    def dump(self, kind: int, payload: bytes) -> list[Message]:
        """Ask for all objects of a kind.

        Raises:
            OSError: what the kernel answered (EINTR: the list changed meanwhile, three times).
        """
        return self._ask(kind, payload, NLM_F_DUMP)

    def get(self, kind: int, payload: bytes) -> Message:
        """Ask for one object.

        Raises:
            OSError: ENODEV, ENOENT ... when it is not there.
        """
        return self._ask(kind, payload, 0)[0]

    def subscribe(self, group: int) -> None:
        """Receive the notifications of a multicast group.

        Raises:
            OSError: no such group.
        """
        self._socket.setsockopt(_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, group)

    def attach_filter(self, program: Iterable[tuple[int, int, int, int]]) -> None:
        """Let a classic BPF program decide which messages arrive (socket(7), SO_ATTACH_FILTER)."""
        attach_filter(self._socket, program)

    def notifications(self) -> list[Message]:
        """What has arrived; empty when there is nothing. Overflow shows as ENOBUFS.

        Raises:
            OSError: ENOBUFS when notifications were lost.
        """
        found: list[Message] = []
        while self._has_more():
            found += [Message(header[1], payload) for header, payload in self._receive()]
        return found

    def _ask(self, kind: int, payload: bytes, flags: int) -> list[Message]:
        self._sequence += 1
        header = _HEADER.pack(16 + len(payload), kind, flags | NLM_F_REQUEST, self._sequence, 0)
        self._transmit(header + payload + bytes(-len(payload) % 4))
        found: list[Message] = []
        while True:
            for answer, body in self._receive():
                if answer[3] != self._sequence:
                    continue
                if answer[1] == NLMSG_ERROR:
                    error = _error_of(answer, body)
                    if error is not None:
                        raise error
                    return found
                if answer[1] == NLMSG_DONE:
                    return found
                found.append(Message(answer[1], body))
                if not flags & NLM_F_DUMP:
                    return found

    def _transmit(self, data: bytes) -> None:
        if len(data) > _RECEIVE_BYTES:
            # A message must fit the send buffer whole (netlink(7)).
            try:
                self._socket.setsockopt(socket.SOL_SOCKET, 32, 2 * len(data))  # SO_SNDBUFFORCE
            except PermissionError:
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * len(data))
        self._socket.send(data)

    def _has_more(self) -> bool:
        return bool(select.select((self._socket,), (), (), 0)[0])

    def _receive(self) -> list[tuple[tuple[int, ...], bytes]]:
        if not select.select((self._socket,), (), (), _ANSWER_TIMEOUT_S)[0]:
            raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
        data, _, _, sender = self._socket.recvmsg(_RECEIVE_BYTES)
        # Any process may send to our port; only the kernel's port is 0.
        if sender[0] != 0:
            return []
        found = []
        at = 0
        while at + 16 <= len(data):
            header = _HEADER.unpack_from(data, at)
            if header[0] < 16:
                break
            found.append((header, data[at + 16 : at + header[0]]))
            at += header[0] + (-header[0] % 4)
        return found


def attach_filter(peer: socket.socket, program: Iterable[tuple[int, int, int, int]]) -> None:
    """Attach a classic BPF program, ``(code, jump if true, jump if false, constant)`` each.

    Raises:
        OSError: the kernel refuses it.
    """
    import ctypes

    code = b"".join(struct.pack("<HBBI", *instruction) for instruction in program)
    buffer = ctypes.create_string_buffer(code, len(code))
    header = struct.pack("<HxxxxxxQ", len(code) // 8, ctypes.addressof(buffer))
    peer.setsockopt(socket.SOL_SOCKET, 26, header)  # SO_ATTACH_FILTER


def _error_of(header: tuple[int, ...], payload: bytes) -> OSError | None:
    (code,) = _ERROR.unpack_from(payload)
    if code == 0:
        return None
    error = OSError(-code, os.strerror(-code))
    if header[2] & NLM_F_ACK_TLVS:
        # The attributes follow the request's header, and its body unless it was capped.
        at = 4 + 16 if header[2] & 0x100 else 4 + struct.unpack_from("<I", payload, 4)[0]
        reason = parse(payload[at + (-at % 4) :]).get(_NLMSGERR_ATTR_MSG)
        if reason:
            error.filename = text(reason)
    return error
