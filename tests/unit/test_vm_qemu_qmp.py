"""The monitor's client against a peer that speaks well, badly, or not at all."""

import json
import os
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from proa.errors import Corrupt, TimedOut, Unavailable
from proa.vm.qemu.qmp import LINE_MAX, Qmp, QmpError

GREETING: dict[str, object] = {"QMP": {"version": {}, "capabilities": []}}


class Peer:
    """QEMU's end: lines to send at once, and answers by command."""

    def __init__(self, *lines: object, answers: dict[str, list[object]] | None = None) -> None:
        self.ours, self.theirs = socket.socketpair()
        for line in lines:
            self.send(line)
        self._answers = answers
        self.requests: list[dict[str, object]] = []
        self._thread = threading.Thread(target=self._serve if answers is not None else int)
        self._thread.start()

    def close(self) -> None:
        self.ours.close()
        self._thread.join()
        self.theirs.close()

    def send(self, line: object) -> None:
        data = line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n"
        self.theirs.sendall(data)

    def _serve(self) -> None:
        with self.theirs.makefile("rb") as lines:
            for line in lines:
                request = json.loads(line)
                self.requests.append(request)
                for answer in (self._answers or {}).get(request["execute"], [{"return": {}}]):
                    if isinstance(answer, dict) and ("return" in answer or "error" in answer):
                        answer = {**answer, "id": request["id"]}
                    self.send(answer)


Connect = Callable[..., Peer]


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Makes peers and closes them."""
    peers: list[Peer] = []

    def make(*lines: object, answers: dict[str, list[object]] | None = None) -> Peer:
        peers.append(Peer(*lines, answers=answers))
        return peers[-1]

    yield make
    for peer in peers:
        peer.close()


def test_greeting_capabilities_and_an_answer_among_events(connect: Connect) -> None:
    event = {"event": "RESUME", "timestamp": {}}
    peer = connect(GREETING, answers={"query-status": [event, {"return": {"status": "running"}}]})
    qmp = Qmp(peer.ours)
    assert qmp.execute("query-status") == {"status": "running"}
    assert [request["execute"] for request in peer.requests] == ["qmp_capabilities", "query-status"]
    assert [event["event"] for event in qmp.receive_events()] == ["RESUME"]
    assert qmp.receive_events() == []


def test_a_refusal_names_command_and_reason(connect: Connect) -> None:
    refusal = {"error": {"class": "GenericError", "desc": "no such device"}}
    qmp = Qmp(connect(GREETING, answers={"cont": [refusal]}).ours)
    with pytest.raises(QmpError, match="cont: no such device") as caught:
        qmp.execute("cont")
    assert caught.value.class_name == "GenericError"


def test_a_late_answer_is_not_taken_for_the_next(connect: Connect) -> None:
    peer = connect(GREETING, answers={"stop": [], "query-status": [{"return": 2}]})
    qmp = Qmp(peer.ours)
    with pytest.raises(TimedOut):
        qmp.execute("stop", timeout_s=0.05)
    peer.send({"return": 1, "id": 2})
    assert qmp.execute("query-status") == 2


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (b"hello\n", Corrupt),
        (b"[1]\n", Corrupt),
        (b'{"hello":1}\n', Corrupt),
        (b"x" * (LINE_MAX + 70000), Corrupt),
    ],
)
def test_what_is_not_the_protocol_is_corrupt(
    connect: Connect, line: bytes, error: type[Exception]
) -> None:
    peer = connect()
    sender = threading.Thread(target=lambda: _send_until_closed(peer, line))
    sender.start()
    with pytest.raises(error):
        Qmp(peer.ours, timeout_s=5).execute("stop")
    peer.ours.close()
    sender.join()


def _send_until_closed(peer: Peer, line: bytes) -> None:
    try:
        peer.theirs.sendall(line)
    except OSError:
        pass


def test_a_silent_peer_times_out_and_a_gone_one_is_told(connect: Connect) -> None:
    with pytest.raises(TimedOut):
        Qmp(connect().ours, timeout_s=0.05).execute("stop")
    peer = connect(GREETING)
    peer.theirs.close()
    with pytest.raises(Unavailable):
        Qmp(peer.ours).execute("stop")


def test_waiting_for_an_event_keeps_the_others(connect: Connect) -> None:
    peer = connect(GREETING, {"event": "A"}, {"event": "B"}, answers={})
    qmp = Qmp(peer.ours)
    assert qmp.wait_event(lambda event: event["event"] == "B", 5)["event"] == "B"
    assert [event["event"] for event in qmp.events] == ["A"]


def test_descriptors_travel_with_a_command(connect: Connect) -> None:
    peer = connect()
    qmp = Qmp(peer.ours)
    got: list[int] = []

    def serve() -> None:
        peer.send(GREETING)
        peer.theirs.recv(4096)
        peer.send({"return": {}, "id": 1})
        _, fds, _, _ = socket.recv_fds(peer.theirs, 4096, 4)
        got.extend(fds)
        peer.send({"return": {}, "id": 2})

    thread = threading.Thread(target=serve)
    thread.start()
    qmp.execute("getfd", {"fdname": "x"}, fds=(0,))
    thread.join()
    assert len(got) == 1
    os.close(got[0])
