"""Raw bytes follow the head of a taken-over connection only once that has been read."""

from __future__ import annotations

import socket
import threading
import time

from proa.server.http.handover import await_read, unread_bytes


def test_waits_until_the_peer_has_read_the_head():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(b"head")
        assert unread_bytes(ours) > 0
        reader = threading.Timer(0.05, theirs.recv, (100,))
        reader.start()
        began = time.monotonic()
        assert await_read(ours, 10.0)
        assert time.monotonic() - began >= 0.04
        assert unread_bytes(ours) == 0
        reader.join()


def test_a_peer_that_does_not_read_is_not_waited_for_long():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(b"head")
        assert not await_read(ours, 0.01)
        theirs.close()
        assert await_read(ours, 0.01) in (True, False)


def test_nothing_sent_is_read_at_once():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert await_read(ours, 0.0)
