"""Frames on the engine's sockets: whole, bounded, with their descriptors."""

from __future__ import annotations

import os
import socket
import threading

import pytest

from proa import errors
from proa.engine.config import ContainerConfig
from proa.engine.ipc import wire


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    yield ours, theirs
    ours.close()
    theirs.close()


def test_a_frame_arrives_whole_with_its_descriptors(pair):
    ours, theirs = pair
    reader, writer = os.pipe()
    wire.send(ours, b"R", b"payload", (writer,))
    os.close(writer)
    kind, payload, fds = wire.receive(theirs)
    assert (kind, payload, len(fds)) == (b"R", b"payload", 1)
    assert not os.get_inheritable(fds[0])
    os.write(fds[0], b"through")
    os.close(fds[0])
    assert os.read(reader, 100) == b"through"
    os.close(reader)


def test_a_large_frame_is_assembled_from_pieces(pair):
    ours, theirs = pair
    payload = os.urandom(3 * 1024 * 1024)
    sender = threading.Thread(target=wire.send, args=(ours, b"C", payload))
    sender.start()
    assert wire.receive(theirs) == (b"C", payload, [])
    sender.join()


def test_frames_do_not_run_into_each_other(pair):
    ours, theirs = pair
    wire.send(ours, b"A")
    wire.send(ours, b"X", b"17")
    assert wire.receive(theirs) == (b"A", b"", [])
    assert wire.receive(theirs) == (b"X", b"17", [])


def test_the_end_of_the_stream_is_an_empty_frame(pair):
    ours, theirs = pair
    ours.close()
    assert wire.receive(theirs) == (b"", b"", [])


def test_an_oversized_frame_is_refused_before_it_is_read(pair):
    ours, theirs = pair
    ours.sendall(b"C" + (wire.MAX_FRAME_BYTES + 1).to_bytes(4, "big"))
    with pytest.raises(errors.Corrupt, match="refused"):
        wire.receive(theirs)


def test_a_frame_cut_short_is_corrupt_and_its_descriptors_are_closed(pair):
    ours, theirs = pair
    before = len(os.listdir("/proc/self/fd"))
    reader, writer = os.pipe()
    socket.send_fds(ours, [b"R\0\0\0\x10abc"], [reader])
    ours.shutdown(socket.SHUT_WR)
    with pytest.raises(errors.Corrupt, match="inside a frame"):
        wire.receive(theirs)
    os.close(reader)
    os.close(writer)
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    "error",
    [
        errors.NotFound("no such image: x", "load it"),
        errors.CommandNotFound("exec: no such file"),
        errors.Exhausted("disk full"),
    ],
)
def test_an_error_crosses_a_process_border(error):
    rebuilt = wire.error_of(wire.decode_failure(wire.encode(wire.failure_of(error))))
    assert type(rebuilt) is type(error)
    assert (rebuilt.message, rebuilt.hint) == (error.message, error.hint)


def test_an_unforeseen_error_names_its_type():
    rebuilt = wire.error_of(wire.failure_of(ZeroDivisionError("division by zero")))
    assert isinstance(rebuilt, errors.Internal)
    assert "ZeroDivisionError" in rebuilt.message


def test_a_run_request_survives_the_wire():
    request = wire.RunRequest(
        config=ContainerConfig(image="busybox", command=("true",)), fds=(False, True, True)
    )
    assert wire.decode_run(wire.encode(request)) == request


def test_control_requests_are_told_apart():
    for request in (wire.Ping(), wire.Wait(), wire.Signal(number=15), wire.Stop(timeout_s=3.5)):
        assert wire.decode_control(wire.encode(request)) == request
