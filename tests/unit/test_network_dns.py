"""Messages of the resolver, without sockets."""

from __future__ import annotations

import dnslib
import pytest

from proa.network.dns import wire


def question(name: str = "one", kind: str = "A", **options: object) -> wire.Question:
    record = dnslib.DNSRecord.question(name, kind)
    if options.get("room"):
        record.add_ar(dnslib.EDNS0(udp_len=options["room"]))
    return wire.parse_question(record.pack())


def test_a_question_is_read_without_its_case_and_dot() -> None:
    asked = question("Web.Example.")
    assert (asked.name, asked.kind, asked.room_bytes) == ("web.example", wire.A, 512)
    assert question(room=4096).room_bytes == wire.LARGEST_UDP_BYTES
    assert question(room=100).room_bytes == 512


@pytest.mark.parametrize("data", [b"", bytes(11), bytes(12), b"\xff" * 40])
def test_garbage_is_no_question(data: bytes) -> None:
    with pytest.raises(wire.MalformedError):
        wire.parse_question(data)


def test_garbage_is_refused_by_its_id_and_answers_never() -> None:
    assert wire.refuse_malformed(b"\x12\x34" + bytes(10))[:2] == b"\x12\x34"
    assert wire.refuse_malformed(b"\x12\x34" + bytes(10))[3] & 15 == wire.FORMERR
    assert wire.refuse_malformed(b"\x12\x34\x80" + bytes(9)) == b""
    assert wire.refuse_malformed(b"short") == b""


def test_only_addresses_of_the_asked_family_are_answered() -> None:
    addresses = ["10.0.0.1", "fd00::1", "10.0.0.2"]
    four = dnslib.DNSRecord.parse(wire.answer_addresses(question(), addresses))
    assert sorted(str(item.rdata) for item in four.rr) == ["10.0.0.1", "10.0.0.2"]
    assert {item.ttl for item in four.rr} == {0}
    six = dnslib.DNSRecord.parse(wire.answer_addresses(question(kind="AAAA"), addresses))
    assert [str(item.rdata) for item in six.rr] == ["fd00::1"]
    other = dnslib.DNSRecord.parse(wire.answer_addresses(question(kind="TXT"), addresses))
    assert (other.header.rcode, other.rr) == (wire.NOERROR, [])


@pytest.mark.parametrize(("edns", "room"), [(False, 512), (True, 1232), (True, 60), (False, 20)])
def test_what_does_not_fit_is_cut_to_what_does(edns: bool, room: int) -> None:
    many = [f"10.0.0.{number}" for number in range(1, 101)]
    query = dnslib.DNSRecord.question("many")
    if edns:
        query.add_ar(dnslib.EDNS0(udp_len=1232))
    answer = wire.answer_addresses(wire.parse_question(query.pack()), many)
    raw = wire.truncate(answer, room)
    cut = dnslib.DNSRecord.parse(raw)
    fixed = 12 + len(b"\4many\0") + 4 + (11 if edns else 0)
    record = 2 + 10 + 4
    assert cut.header.tc == 1
    assert len(cut.rr) == max(room - fixed, 0) // record
    assert {str(item.rdata) for item in cut.rr} <= set(many)
    assert [item.rtype for item in cut.ar] == ([41] if edns else [])
    assert str(cut.q.qname) == "many."
    assert wire.truncate(answer, 65535) == answer


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("4.3.2.1.in-addr.arpa", "1.2.3.4"),
        ("3.2.1.in-addr.arpa", ""),
        ("x.3.2.1.in-addr.arpa", ""),
        ("1." + "0." * 30 + "f.ip6.arpa", "f000::1"),
        ("1.0.ip6.arpa", ""),
        ("one.example", ""),
    ],
)
def test_reverse_names(name: str, address: str) -> None:
    assert wire.reverse_address(name) == address


def test_only_an_answer_to_the_very_question_counts() -> None:
    query = dnslib.DNSRecord.question("one.example")
    good = query.reply().pack()
    assert wire.is_answer_to(query.pack(), good)
    assert not wire.is_answer_to(query.pack(), b"\0\0" + good[2:])
    assert not wire.is_answer_to(query.pack(), query.pack())
    other = dnslib.DNSRecord.question("two.example")
    other.header.id = query.header.id
    assert not wire.is_answer_to(query.pack(), other.reply().pack())
    assert not wire.is_answer_to(query.pack(), good[:13])
    assert wire.is_answer_to(query.pack(), query.reply().truncate().pack())
