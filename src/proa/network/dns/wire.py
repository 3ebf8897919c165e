"""DNS messages as the resolver needs them (RFC 1035, RFC 6891), on top of dnslib."""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Sequence
from typing import Any, NamedTuple

import dnslib

A, PTR, AAAA = 1, 12, 28
NOERROR, FORMERR, SERVFAIL, NXDOMAIN = 0, 1, 2, 3

LARGEST_UDP_BYTES = 1232
"""What passes everywhere without fragments (dnsflagday.net/2020)."""

_CLASSIC_UDP_BYTES = 512
_HEADER_BYTES = 12
_TRUNCATED = 0x02
_POINTER = 0xC0
_TYPE_AND_CLASS_BYTES = 4
_RECORD_FIXED_BYTES = 10
"""Type, class, time to live, length of the data."""
_EMPTY_OPT = b"\0\0\x29"
_EMPTY_OPT_BYTES = 11

_OPT = 41
_IN = 1
_LOCAL_TTL_S = 0
"""Names of containers are not to be kept: they change when containers come and go."""


class MalformedError(Exception):
    """The bytes are no question that can be answered."""


class Question(NamedTuple):
    """A query with one question.

    Attributes:
        name: lower case, without the last dot.
        room_bytes: the largest answer over UDP that the asker takes.
    """

    record: Any
    name: str
    kind: int
    room_bytes: int


def parse_question(data: bytes) -> Question:
    """Read a query.

    Raises:
        MalformedError: it is none.
    """
    try:
        record = dnslib.DNSRecord.parse(data)
        if record.header.qr or record.header.opcode or len(record.questions) != 1:
            raise MalformedError
        name = b".".join(record.q.qname.label).decode("ascii", "backslashreplace").lower()
    except MalformedError:
        raise
    except Exception as error:  # dnslib raises what its parser stumbles over
        raise MalformedError from error
    room = _CLASSIC_UDP_BYTES
    for extra in record.ar:
        if extra.rtype == _OPT:
            room = max(room, min(extra.rclass, LARGEST_UDP_BYTES))
    kind = record.q.qtype if record.q.qclass == _IN else 0
    return Question(record, name, kind, room)


def answer_addresses(question: Question, addresses: Sequence[str]) -> bytes:
    """Answer with addresses of the asked family, in random order; none means "no such type"."""
    wanted = 4 if question.kind == A else 6 if question.kind == AAAA else 0
    found = [item for item in addresses if ipaddress.ip_address(item).version == wanted]
    random.shuffle(found)
    reply = _reply(question)
    for item in found:
        data = dnslib.A(item) if wanted == 4 else dnslib.AAAA(item)
        reply.add_answer(
            dnslib.RR(question.record.q.qname, question.kind, rdata=data, ttl=_LOCAL_TTL_S)
        )
    return bytes(reply.pack())


def answer_name(question: Question, name: str) -> bytes:
    """Answer a reverse question."""
    reply = _reply(question)
    data = dnslib.PTR(name)
    reply.add_answer(dnslib.RR(question.record.q.qname, PTR, rdata=data, ttl=_LOCAL_TTL_S))
    return bytes(reply.pack())


def answer_failure(question: Question, code: int) -> bytes:
    """Answer with an error code."""
    reply = _reply(question, authoritative=False)
    reply.header.rcode = code
    return bytes(reply.pack())


def refuse_malformed(data: bytes) -> bytes:
    """Answer bytes that cannot be read: only their id is trusted."""
    if len(data) < _HEADER_BYTES or data[2] & 0x80:
        return b""
    return data[:2] + bytes((0x80 | data[2] & 0x79, 0x80 | FORMERR)) + bytes(8)


def truncate(answer: bytes, room_bytes: int) -> bytes:
    """Shorten an answer that is too large for UDP: as many records as fit, with the TC bit set.

    Who can asks again over TCP; old C libraries cannot (musl before 1.2.4) and use what is there.
    """
    if len(answer) <= room_bytes:
        return answer
    extra = answer[-_EMPTY_OPT_BYTES:]
    if extra[:3] != _EMPTY_OPT or int.from_bytes(answer[10:12], "big") != 1:
        extra = b""
    end = _end_of_name(answer, _HEADER_BYTES) + _TYPE_AND_CLASS_BYTES
    kept = 0
    for _ in range(int.from_bytes(answer[6:8], "big")):
        at = _end_of_name(answer, end) + _RECORD_FIXED_BYTES
        following = at + int.from_bytes(answer[at - 2 : at], "big")
        if following + len(extra) > room_bytes:
            break
        end = following
        kept += 1
    counts = b"".join(number.to_bytes(2, "big") for number in (1, kept, 0, 1 if extra else 0))
    flags = bytes((answer[2] | _TRUNCATED, answer[3]))
    return answer[:2] + flags + counts + answer[_HEADER_BYTES:end] + extra


def _end_of_name(message: bytes, at: int) -> int:
    """Where the name that begins at ``at`` ends; it may end in a pointer (RFC 1035, 4.1.4)."""
    while message[at]:
        if message[at] >= _POINTER:
            return at + 2
        at += 1 + message[at]
    return at + 1


def reverse_address(name: str) -> str:
    """Address of a name below in-addr.arpa or ip6.arpa; empty for other names."""
    if name.endswith(".in-addr.arpa"):
        labels = name.removesuffix(".in-addr.arpa").split(".")
        text = ".".join(reversed(labels)) if len(labels) == 4 else ""
    elif name.endswith(".ip6.arpa"):
        digits = "".join(reversed(name.removesuffix(".ip6.arpa").split(".")))
        groups = [digits[at : at + 4] for at in range(0, 32, 4)]
        text = ":".join(groups) if len(digits) == 32 else ""
    else:
        return ""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return ""


def is_answer_to(query: bytes, answer: bytes) -> bool:
    """Whether bytes from a server are an answer to our query: id, kind and question agree.

    Some servers leave the question out of a truncated answer: it only says "ask over TCP".
    """
    if len(answer) < _HEADER_BYTES or answer[:2] != query[:2] or not answer[2] & 0x80:
        return False
    try:
        sent, got = dnslib.DNSRecord.parse(query), dnslib.DNSRecord.parse(answer)
    except Exception:  # noqa: BLE001 - dnslib raises what its parser stumbles over
        return False
    if not got.questions:
        return bool(got.header.tc and not got.rr)
    return bool(
        len(got.questions) == 1 and got.q.qname == sent.q.qname and got.q.qtype == sent.q.qtype
    )


def addresses_in(answer: bytes) -> tuple[list[str], int]:
    """Addresses of an answer, and for how many seconds they may be kept."""
    record = dnslib.DNSRecord.parse(answer)
    found = [item for item in record.rr if item.rtype in (A, AAAA)]
    return [str(item.rdata) for item in found], min((item.ttl for item in found), default=0)


def _reply(question: Question, *, authoritative: bool = True) -> Any:
    reply = question.record.reply(ra=1, aa=int(authoritative))
    if question.room_bytes > _CLASSIC_UDP_BYTES:
        reply.add_ar(dnslib.EDNS0(udp_len=LARGEST_UDP_BYTES))
    return reply
