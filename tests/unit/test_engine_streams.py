"""The supervisor's stdio: nothing lost, nothing blocked, the client's descriptors unharmed."""

from __future__ import annotations

import fcntl
import os
import pty
import socket
import tempfile

import pytest

from proa.engine.supervisor.jobcontrol import is_terminal_in_background
from proa.engine.supervisor.loop import Loop
from proa.engine.supervisor.streams import (
    BACKLOG_BYTES,
    Attachment,
    Input,
    Output,
    Sink,
)


class Record:
    def __init__(self):
        self.data = {"stdout": b"", "stderr": b""}

    def write(self, stream, data, time_ns):
        assert time_ns > 0
        self.data[stream] += data


@pytest.fixture
def loop():
    loop = Loop()
    yield loop
    loop.close()


def run_until(loop, condition):
    """Serve the loop until ``condition`` holds; fails after ten seconds."""
    failed = []

    def check():
        if condition():
            loop.stop()
        else:
            loop.call_later(0.001, check)

    def give_up():
        failed.append(True)
        loop.stop()

    deadline = loop.call_later(10, give_up)
    check()
    loop.run()
    deadline.cancel()
    assert not failed, "the condition never became true"


def test_output_reaches_the_record_and_every_reader(loop):
    record = Record()
    reader, writer = os.pipe()
    out1, in1 = os.pipe()
    out2, in2 = os.pipe()
    output = Output(loop, reader, "stdout", record)
    output.attach(Sink(loop, in1, output.review))
    output.attach(Sink(loop, in2, output.review))
    os.write(writer, b"one\ntwo\n")
    os.close(writer)
    run_until(loop, lambda: not output.open)
    output.close()
    assert record.data["stdout"] == b"one\ntwo\n"
    assert os.read(out1, 100) == os.read(out2, 100) == b"one\ntwo\n"
    os.close(out1)
    os.close(out2)


def test_a_slow_reader_holds_the_container_back_and_loses_nothing(loop):
    record = Record()
    reader, writer = os.pipe()
    slow_out, slow_in = os.pipe()
    output = Output(loop, reader, "stdout", record)
    sink = Sink(loop, slow_in, output.review)
    output.attach(sink)
    os.set_blocking(writer, False)
    sent = 0
    blob = os.urandom(65536)

    def fill():
        nonlocal sent
        try:
            while True:
                sent += os.write(writer, blob)
        except BlockingIOError:
            pass
        return sink.backlog > BACKLOG_BYTES

    run_until(loop, fill)
    held = sink.backlog
    for _ in range(50):
        loop.call_later(0, loop.stop)
        loop.run()
    assert sink.backlog == held, "the container was read on although the reader is stuck"
    os.close(writer)
    received = 0

    def drain():
        nonlocal received
        os.set_blocking(slow_out, False)
        try:
            received += len(os.read(slow_out, 1 << 20))
        except BlockingIOError:
            pass
        return received == sent

    run_until(loop, drain)
    output.close()
    os.close(slow_out)
    assert len(record.data["stdout"]) == sent


def test_the_clients_own_description_stays_blocking(loop):
    out, into = os.pipe()
    shared = os.dup(into)
    sink = Sink(loop, into, lambda: None)
    sink.write(b"x")
    assert not fcntl.fcntl(shared, fcntl.F_GETFL) & os.O_NONBLOCK
    sink.close()
    os.close(shared)
    os.close(out)


def test_a_regular_file_is_appended_where_the_client_is(loop):
    with tempfile.TemporaryFile() as file:
        file.write(b"before ")
        file.flush()
        sink = Sink(loop, os.dup(file.fileno()), lambda: None)
        sink.write(b"after")
        sink.close()
        file.seek(0)
        assert file.read() == b"before after"


def test_a_broken_reader_is_dropped_and_the_container_goes_on(loop):
    record = Record()
    reader, writer = os.pipe()
    out, into = os.pipe()
    output = Output(loop, reader, "stdout", record)
    output.attach(Sink(loop, into, output.review))
    os.close(out)
    os.write(writer, b"first")
    run_until(loop, lambda: record.data["stdout"] == b"first")
    os.write(writer, b" second")
    os.close(writer)
    run_until(loop, lambda: not output.open)
    assert record.data["stdout"] == b"first second"
    output.close()


def test_the_end_of_the_foreground_reader_breaks_the_containers_pipe(loop):
    reader, writer = os.pipe()
    out, into = os.pipe()
    output = Output(loop, reader, "stdout", Record())
    output.attach(Sink(loop, into, output.review), leader=True)
    os.close(out)
    os.write(writer, b"nobody reads this")
    run_until(loop, lambda: not output.open)
    with pytest.raises(BrokenPipeError):
        os.write(writer, b"more")
    os.close(writer)
    output.close()


def test_a_socket_reader_is_written_without_blocking_its_owner(loop):
    ours, theirs = socket.socketpair()
    kept = ours.dup()
    sink = Sink(loop, ours.detach(), lambda: None)
    sink.write(b"hello")
    assert theirs.recv(100) == b"hello"
    assert kept.gettimeout() is None
    assert not fcntl.fcntl(kept.fileno(), fcntl.F_GETFL) & os.O_NONBLOCK
    sink.close()
    kept.close()
    theirs.close()


@pytest.mark.parametrize("kind", ["pipe", "file", "socket"])
def test_stdin_is_fed_to_its_end(loop, kind):
    payload = os.urandom(300_000)
    container_out, container_in = os.pipe()
    feed = Input(loop, container_in, once=True)
    closers = []
    if kind == "file":
        file = tempfile.TemporaryFile()  # noqa: SIM115
        file.write(payload)
        file.seek(0)
        source = os.dup(file.fileno())
        closers.append(file.close)
    elif kind == "pipe":
        source, writer = os.pipe()
        closers.append(_feed_in_background(writer, payload))
    else:
        ours, theirs = socket.socketpair()
        source = ours.detach()
        closers.append(_feed_in_background(theirs.detach(), payload))
    feed.attach(source)
    received = bytearray()
    os.set_blocking(container_out, False)

    def ended():
        try:
            data = os.read(container_out, 1 << 20)
        except BlockingIOError:
            return False
        received.extend(data)
        return not data

    run_until(loop, ended)
    for close in closers:
        close()
    os.close(container_out)
    assert bytes(received) == payload


def _feed_in_background(fd, payload):
    import threading

    def feed():
        view = memoryview(payload)
        while view:
            view = view[os.write(fd, view) :]
        os.close(fd)

    thread = threading.Thread(target=feed)
    thread.start()
    return thread.join


def test_a_container_that_closed_its_stdin_ends_the_feeding(loop):
    container_out, container_in = os.pipe()
    source, writer = os.pipe()
    feed = Input(loop, container_in, once=True)
    feed.attach(source)
    os.close(container_out)
    os.write(writer, b"unread")
    loop.call_later(0.05, loop.stop)
    loop.run()
    with pytest.raises(BrokenPipeError):
        os.write(writer, b"more")
    os.close(writer)
    feed.close()


def test_a_terminals_output_ends_when_its_last_process_leaves(loop):
    record = Record()
    master, slave = pty.openpty()
    output = Output(loop, master, "stdout", record)
    os.write(slave, b"bye")
    os.close(slave)
    run_until(loop, lambda: not output.open)
    assert record.data["stdout"] == b"bye"
    output.close()


def test_an_attachment_takes_descriptors_by_role_and_closes_the_rest():
    reader, writer = os.pipe()
    surplus = os.dup(reader)
    attachment = Attachment.from_fds((False, True, False), [writer, surplus])
    assert attachment == Attachment(stdin=-1, stdout=writer, stderr=-1)
    with pytest.raises(OSError):
        os.fstat(surplus)
    attachment.close()
    with pytest.raises(OSError):
        os.fstat(writer)
    os.close(reader)


def test_a_pipe_is_never_a_terminal_in_the_background():
    reader, writer = os.pipe()
    assert not is_terminal_in_background(reader, os.getpid())
    os.close(reader)
    os.close(writer)
