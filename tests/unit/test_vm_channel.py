"""The channel between engine and guest: frames, streams, messages, and the client on a socket."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from proa.errors import (
    CommandNotFound,
    Conflict,
    Corrupt,
    Internal,
    NotFound,
    TimedOut,
    Unavailable,
)
from proa.oci.isolation import ExitStatus, Stats, Stdio
from proa.vm.agent import messages, protocol
from proa.vm.agent.client import AgentClient
from proa.vm.agent.mux import Mux
from proa.vm.agent.processes import Streams, VmProcess
from proa.vm.agent.protocol import Frame, FrameParser, pack
from proa.vm.agent.streams import WINDOW_BYTES, Reader, Writer

WAIT_S = 10.0


class TestFrames:
    @pytest.mark.parametrize("step", [1, 3, 1000])
    def test_pieces_of_any_size_give_the_frames(self, step: int) -> None:
        frames = [
            Frame(protocol.DATA, 5, b"x" * 100),
            Frame(protocol.END, 5, b""),
            Frame(protocol.REPLY, 2**32 - 1, b"y"),
        ]
        data = b"".join(pack(*frame) for frame in frames)
        parser = FrameParser(protocol.FROM_GUEST)
        found: list[Frame] = []
        for at in range(0, len(data), step):
            found += parser.feed(data[at : at + step])
        assert found == frames

    @pytest.mark.parametrize("length", [2**31, 2**32 - 1, protocol.MAX_DATA_BYTES + 1])
    def test_a_length_beyond_the_kinds_is_refused_before_its_payload(self, length: int) -> None:
        header = protocol.HEADER.pack(length, 1, protocol.DATA)
        with pytest.raises(Corrupt, match=str(length)):
            list(FrameParser(protocol.FROM_GUEST).feed(header))

    @pytest.mark.parametrize("kind", [0, 12, 255, protocol.REQUEST, protocol.ANSWER])
    def test_a_guest_may_not_send_every_kind(self, kind: int) -> None:
        with pytest.raises(Corrupt):
            list(FrameParser(protocol.FROM_GUEST).feed(pack(kind, 1)))

    def test_frames_before_a_bad_one_are_given(self) -> None:
        parser = FrameParser(protocol.FROM_GUEST)
        found = parser.feed(pack(protocol.END, 1) + pack(99, 1))
        assert next(found) == Frame(protocol.END, 1, b"")
        with pytest.raises(Corrupt):
            next(found)


class TestMessages:
    def test_requests_survive_the_way(self) -> None:
        request = messages.Signal(number=3, signal=15)
        assert messages.decode_request(messages.encode(request)) == request

    def test_errors_keep_their_kind(self) -> None:
        sent = messages.encode(messages.failure_of(CommandNotFound("no such command", "look")))
        error = messages.error_of(sent)
        assert (type(error), error.message, error.hint) == (
            CommandNotFound, "no such command", "look",
        )  # fmt: skip

    def test_what_a_guest_says_cannot_drive_a_terminal(self) -> None:
        sent = messages.encode(messages.Failure(kind="evil", message="a\x1b[2Jb" + "x" * 10**5))
        error = messages.error_of(sent)
        assert type(error) is Internal
        assert error.message.startswith("a [2Jb")
        assert len(error.message) <= 4096

    @pytest.mark.parametrize(
        "value", [{"code": 256}, {"code": -1}, {"code": 0, "signal": 65}, {"code": "0"}, [1]]
    )
    def test_impossible_ends_are_refused(self, value: object) -> None:
        with pytest.raises(Corrupt):
            messages.decode_exit(messages.encode(value))


class Pair:
    """Two ends of a channel in one thread."""

    def __init__(self) -> None:
        self.sockets = socket.socketpair()
        everything = {**protocol.FROM_GUEST, **protocol.FROM_HOST}
        self.one, self.other = (
            Mux(end.fileno(), everything, lambda frame: None) for end in self.sockets
        )

    def run_until(self, done: Callable[[], bool]) -> None:
        for _ in range(100_000):
            if done():
                return
            self.one.run(0)
            self.other.run(0)
        raise AssertionError("nothing more happens")

    def settle(self) -> None:
        for _ in range(50):
            self.one.run(0)
            self.other.run(0)

    def close(self) -> None:
        for mux, end in zip((self.one, self.other), self.sockets, strict=True):
            mux.close()
            end.close()


@pytest.fixture
def pair() -> Iterator[Pair]:
    made = Pair()
    yield made
    made.close()


def pipe() -> tuple[int, int]:
    reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    return reading, writing


class TestStreams:
    def test_bytes_arrive_and_so_does_the_end(self, pair: Pair) -> None:
        source, feed = pipe()
        drain, sink = pipe()
        writer = Writer(pair.other, 4, sink)
        Reader(pair.one, 4, source)
        os.write(feed, b"hello")
        os.close(feed)
        pair.run_until(lambda: not writer.open)
        assert os.read(drain, 100) == b"hello"
        assert os.read(drain, 100) == b""
        os.close(drain)

    def test_a_reader_that_nobody_empties_stops_at_its_window(self, pair: Pair) -> None:
        source, feed = pipe()
        drain, sink = pipe()
        reader = Reader(pair.one, 4, source)
        writer = Writer(pair.other, 4, sink)
        sent = 0
        for _ in range(100):
            try:
                sent += os.write(feed, b"x" * 65536)
            except BlockingIOError:
                pair.settle()
        pipes = 2 * 65536
        assert WINDOW_BYTES <= sent <= WINDOW_BYTES + pipes + 65536
        os.close(feed)
        got = 0
        while writer.open or reader.open:
            pair.settle()
            try:
                got += len(os.read(drain, 1 << 20))
            except BlockingIOError:
                continue
        got += len(os.read(drain, 1 << 20))
        assert got == sent
        os.close(drain)

    def test_a_file_is_sent_too(self, pair: Pair, tmp_path: object) -> None:
        content = os.urandom(3 * WINDOW_BYTES)
        path = f"{tmp_path}/file"
        with open(path, "wb") as stream:
            stream.write(content)
        copy = os.open(f"{tmp_path}/copy", os.O_WRONLY | os.O_CREAT)
        writer = Writer(pair.other, 4, copy)
        Reader(pair.one, 4, os.open(path, os.O_RDONLY))
        pair.run_until(lambda: not writer.open)
        with open(f"{tmp_path}/copy", "rb") as stream:
            assert stream.read() == content

    def test_a_sink_that_hangs_up_closes_the_source(self, pair: Pair) -> None:
        source, feed = pipe()
        drain, sink = pipe()
        reader = Reader(pair.one, 4, source)
        Writer(pair.other, 4, sink)
        os.close(drain)
        os.write(feed, b"x")
        pair.run_until(lambda: not reader.open)
        with pytest.raises(BrokenPipeError):
            os.write(feed, b"y")
        os.close(feed)

    def test_an_ended_process_waits_for_no_reader(self, pair: Pair) -> None:
        source, feed = pipe()
        drain, sink = pipe()
        reader = Reader(pair.one, 4, source)
        writer = Writer(pair.other, 4, sink)
        sent = 0
        for _ in range(100):
            try:
                sent += os.write(feed, b"x" * 65536)
            except BlockingIOError:
                pair.settle()
        reader.finish()
        pair.settle()
        assert not reader.open
        writer.finish()
        pair.settle()
        assert not writer.open
        assert len(os.read(drain, 1 << 20)) == sent
        for fd in (feed, drain):
            os.close(fd)

    def test_more_data_than_credit_ends_the_channel(self, pair: Pair) -> None:
        drain, sink = pipe()
        Writer(pair.other, 4, sink)
        for _ in range(20):
            pair.one.send(protocol.DATA, 4, b"x" * protocol.MAX_DATA_BYTES)
        with pytest.raises(Corrupt, match="more data"):
            pair.settle()
        os.close(drain)

    def test_more_credit_than_was_used_ends_the_channel(self, pair: Pair) -> None:
        source, feed = pipe()
        Reader(pair.other, 4, source)
        pair.one.send(protocol.CREDIT, 4, protocol.CREDIT_VALUE.pack(1))
        with pytest.raises(Corrupt, match="credit"):
            pair.settle()
        os.close(feed)

    def test_finishing_sends_what_is_there_though_others_hold_the_pipe(self, pair: Pair) -> None:
        source, feed = pipe()
        drain, sink = pipe()
        writer = Writer(pair.other, 4, sink)
        reader = Reader(pair.one, 4, source)
        os.write(feed, b"last words")
        reader.finish()
        pair.run_until(lambda: not writer.open)
        assert os.read(drain, 100) == b"last words"
        os.close(feed)
        os.close(drain)


class Guest:
    """A test's own agent at the other end of a client."""

    def __init__(self) -> None:
        ours, self.peer = socket.socketpair()
        self.client = AgentClient(ours, "container test")
        self._parser = FrameParser(protocol.FROM_HOST)
        self._frames: list[Frame] = []
        self.peer.settimeout(WAIT_S)

    def send(self, kind: int, stream: int, payload: bytes = b"") -> None:
        self.peer.sendall(pack(kind, stream, payload))

    def receive(self) -> Frame:
        while not self._frames:
            self._frames += self._parser.feed(self.peer.recv(65536))
        return self._frames.pop(0)

    def answer(self, value: object) -> threading.Thread:
        """Answer the next request in the background."""

        def work() -> None:
            frame = self.receive()
            self.send(protocol.REPLY, frame.stream, messages.encode(value))

        thread = threading.Thread(target=work)
        thread.start()
        return thread

    def close(self) -> None:
        self.peer.close()
        self.client.close()


@pytest.fixture
def guest() -> Iterator[Guest]:
    made = Guest()
    yield made
    made.close()


def follow(guest: Guest, stdio: Stdio) -> VmProcess:
    process = VmProcess(guest.client, 1, os.getpid(), Streams(stdio, terminal=False))
    guest.client.post(messages.Start(), process)
    assert guest.receive().kind == protocol.REQUEST
    return process


class TestClient:
    def test_a_request_is_answered(self, guest: Guest) -> None:
        thread = guest.answer(Stats(pids_current=7))
        payload = guest.client.request(messages.ReadStats())
        thread.join()
        assert messages.decode_stats(payload).pids_current == 7

    def test_failures_are_raised(self, guest: Guest) -> None:
        pending = guest.client.post(messages.Start())
        frame = guest.receive()
        failure = messages.Failure(kind="conflict", message="started already")
        guest.send(protocol.FAILURE, frame.stream, messages.encode(failure))
        with pytest.raises(Conflict, match="started already"):
            guest.client.await_answer(pending, messages.Start())

    def test_silence_is_told(self, guest: Guest) -> None:
        with pytest.raises(TimedOut, match="container test"):
            guest.client.request(messages.Ping(), 0.05)

    def test_another_version_is_refused(self, guest: Guest) -> None:
        guest.send(protocol.HELLO, 0, messages.encode(messages.Hello(version=99)))
        with pytest.raises(Corrupt, match="version 99"):
            guest.client.await_hello(WAIT_S)

    def test_the_end_of_the_guest_ends_requests_and_processes(self, guest: Guest) -> None:
        null = os.open(os.devnull, os.O_RDWR)
        process = follow(guest, Stdio(null, null, null))
        pending = guest.client.post(messages.Ping())
        guest.receive()
        guest.peer.close()
        with pytest.raises(Unavailable, match="has ended"):
            guest.client.await_answer(pending, messages.Ping())
        assert process.wait() == ExitStatus(code=137, signal=9)
        with pytest.raises(Unavailable):
            guest.client.request(messages.Ping())
        process.close()
        os.close(null)

    def test_all_output_is_there_when_the_end_is_told(self, guest: Guest) -> None:
        null = os.open(os.devnull, os.O_RDWR)
        drain, sink = os.pipe()
        process = follow(guest, Stdio(null, sink, null))
        os.close(sink)
        size = 3 * 65536
        stream = messages.stream_of(1, messages.STDOUT)
        for _ in range(3):
            guest.send(protocol.DATA, stream, b"x" * 65536)
        guest.send(protocol.END, stream)
        guest.send(protocol.EXIT, 1, messages.encode(ExitStatus(code=3)))
        wait_readable(process.pidfd, WAIT_S)
        assert process.wait().code == 3
        got = 0
        while chunk := os.read(drain, 65536):
            got += len(chunk)
        assert got == size
        process.close()
        for fd in (drain, null):
            os.close(fd)

    def test_input_comes_after_the_request_that_asks_for_its_process(self, guest: Guest) -> None:
        null = os.open(os.devnull, os.O_RDWR)
        source, feed = os.pipe()
        os.write(feed, b"at once")
        os.close(feed)
        process = VmProcess(
            guest.client, 2, os.getpid(), Streams(Stdio(source, null, null), terminal=False)
        )
        os.close(source)
        thread = threading.Thread(target=lambda: guest.client.start(process, messages.Start()))
        thread.start()
        kinds = []
        for _ in range(4):
            frame = guest.receive()
            kinds.append(frame.kind)
            if frame.kind == protocol.REQUEST:
                guest.send(protocol.REPLY, frame.stream, messages.encode(None))
        thread.join()
        assert kinds == [protocol.REQUEST, protocol.REQUEST, protocol.DATA, protocol.END]
        guest.send(protocol.EXIT, 2, messages.encode(ExitStatus(code=0)))
        assert process.wait().code == 0
        process.close()
        os.close(null)

    def test_answers_that_nobody_awaits_are_ignored(self, guest: Guest) -> None:
        guest.send(protocol.REPLY, 77, b"\xc0")
        guest.send(protocol.EXIT, 55, messages.encode(ExitStatus(code=1)))
        guest.send(protocol.DATA, 999, b"x")
        thread = guest.answer(None)
        guest.client.request(messages.Ping())
        thread.join()

    def test_unknown_paths_have_their_kind(self, guest: Guest) -> None:
        error = messages.error_of(messages.encode(messages.failure_of(NotFound("nothing"))))
        assert type(error) is NotFound


def wait_readable(fd: int, timeout_s: float) -> None:
    import select

    if not select.select([fd], [], [], timeout_s)[0]:
        raise TimeoutError
