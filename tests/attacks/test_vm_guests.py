"""A guest that has been taken over: what it sends, what it plants, what it can reach of its host.

The channel's own rules have unit tests (``test_vm_channel``); here a whole stream of nonsense meets
the engine's end, and a container's root meets the host's directories.
"""

from __future__ import annotations

import os
import random
import resource
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from proa.errors import Corrupt, ProaError
from proa.oci.isolation import ExitStatus
from proa.vm.agent import messages, protocol
from proa.vm.agent.client import AgentClient
from proa.vm.agent.protocol import FrameParser, pack
from tests.support import engines, guests
from tests.support.engines import Proa

FRAMES = 200_000
"""Of the catalogue's 10^7; PROA_TEST_FRAMES asks for more."""

MEMORY_BYTES = 64 << 20


def frames() -> int:
    return int(os.environ.get("PROA_TEST_FRAMES", FRAMES))


def nonsense(seed: int) -> Iterator[bytes]:
    """Frames whose kinds, lengths, streams and payloads are chance, some of them honest."""
    chance = random.Random(seed)
    while True:
        kind = chance.choice((*protocol.FROM_GUEST, 0, 2, 12, 255))
        length = chance.choice((0, 1, 4, 9, 100, 65536, 65537, 2**31, 2**32 - 1))
        stream = chance.choice((0, 1, 4, 5, 6, 7, 2**32 - 1, chance.getrandbits(32)))
        payload = chance.randbytes(min(length, 100))
        header = struct.pack("<IIB", chance.choice((length, len(payload))), stream, kind)
        yield header + payload


def test_a_parser_of_random_frames_keeps_next_to_nothing() -> None:
    source = nonsense(1)
    refused = 0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(frames() // 100):
        parser = FrameParser(protocol.FROM_GUEST)
        try:
            for _ in range(100):
                for frame in parser.feed(next(source)):
                    limit = protocol.FROM_GUEST[frame.kind]
                    assert len(frame.payload) <= limit
        except Corrupt:
            refused += 1
    assert refused
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert grown < MEMORY_BYTES


@pytest.mark.parametrize("seed", range(20))
def test_a_client_outlives_any_guest(seed: int) -> None:
    """Whatever comes, requests end with an error of ours and the thread with the channel."""
    ours, theirs = socket.socketpair()
    client = AgentClient(ours, "container x")
    source = nonsense(seed)
    try:
        with theirs:
            theirs.settimeout(10)
            try:
                for _ in range(frames() // 200):
                    theirs.sendall(next(source))
            except OSError:
                pass  # the client has hung up
        with pytest.raises(ProaError):
            client.request(messages.Ping(), 5)
    finally:
        client.close()


@pytest.mark.parametrize(
    "decode",
    [
        messages.decode_hello, messages.decode_exit, messages.decode_stats,
        messages.decode_warnings, messages.decode_processes, messages.decode_file_stat,
    ],
)  # fmt: skip
def test_messages_of_chance_are_refused_by_name(decode: object) -> None:
    chance = random.Random(7)
    assert callable(decode)
    for _ in range(2000):
        data = chance.randbytes(chance.choice((0, 1, 5, 50)))
        try:
            decode(data)
        except Corrupt:
            continue


def test_a_flood_of_answers_is_not_kept() -> None:
    ours, theirs = socket.socketpair()
    client = AgentClient(ours, "container x")
    try:
        with theirs:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            payload = messages.encode(b"x" * 60_000)
            for number in range(2000):
                theirs.sendall(pack(protocol.REPLY, number, payload))
                theirs.sendall(pack(protocol.EXIT, number, messages.encode(ExitStatus(code=0))))
            grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
            assert grown < MEMORY_BYTES
    finally:
        client.close()


@pytest.fixture(scope="module")
def engine() -> Iterator[Proa]:
    with engines.temporary_root() as proa:
        guests.prepare(proa)
        yield proa
        proa.remove_all()


@pytest.mark.requires(*guests.REQUIRES)
@pytest.mark.timeout(300)
def test_what_a_guest_plants_on_the_host_leads_nowhere(engine: Proa, tmp_path: Path) -> None:
    """Links in a shared directory are the reader's; devices are refused; nothing else is there."""
    canary = tmp_path / "canary"
    canary.write_text("untouched")
    shared = tmp_path / "shared"
    shared.mkdir()
    script = (
        f"ln -s {canary} /s/link; echo changed > /s/link; ln -s ../canary /s/up;"
        "echo changed > /s/up; ln -s /s/.. /s/out; ls /s/out/ > /s/listing;"
        "mknod /s/disk b 8 0; mknod /s/mem c 1 1; ls /dev/ttyS0 /dev/vda;"
        "cat /s/../../../../etc/shadow; ls -a /s"
    )
    done = engine(
        "run", "--rm", "--isolation", "vm", "--network", "none", "-v", f"{shared}:/s",
        guests.BUSYBOX, "sh", "-c", script,
    )  # fmt: skip
    assert canary.read_text() == "untouched"
    assert sorted(os.listdir(tmp_path)) == ["canary", "shared"]
    assert not {"disk", "mem"} & set(os.listdir(shared))
    assert done.stderr.count("Operation not permitted") >= 2
    assert "shared" not in (shared / "listing").read_text().split(), "the host's directory above"
    assert os.readlink(shared / "link") == str(canary)


@pytest.mark.requires(*guests.REQUIRES)
@pytest.mark.timeout(300)
def test_a_flood_of_output_waits_for_its_reader(engine: Proa) -> None:
    """There is no serial line to flood; what goes to the streams is held back by the reader."""
    words = ("run", "--rm", "--isolation", "vm", "--network", "none", "--log-driver", "none")
    with engine.spawn(*words, guests.BUSYBOX, "yes") as running:
        assert running.stdout is not None
        assert running.stdout.read(1 << 20) == b"y\n" * (1 << 19)
        for supervisor in engines.supervisors(engine):
            with open(f"/proc/{supervisor}/status") as stream:
                fields = dict(line.split(":", 1) for line in stream)
            assert int(fields["VmRSS"].split()[0]) < 64 * 1024
        running.kill()
    engine.remove_all()
