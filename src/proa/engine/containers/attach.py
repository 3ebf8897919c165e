"""Joining a running container's streams (``proa attach``).

The supervisor writes straight to the caller's descriptors; the caller only waits, and hands signals
on.
"""

from __future__ import annotations

import signal
import socket

from proa.engine.containers.lifecycle import get, not_running, reach_running
from proa.engine.containers.streams import Streams, present
from proa.engine.context import Context
from proa.engine.ipc import control, host, wire
from proa.engine.supervisor.control import Connection
from proa.engine.supervisor.loop import READ, Loop
from proa.engine.supervisor.terminal import ClientTerminal
from proa.errors import Conflict, Unavailable


def attach(
    context: Context, reference: str, *, streams: Streams, sig_proxy: bool = True
) -> int | None:
    """Attach until the container ends; returns its exit code, None when the user detached.

    Args:
        reference: a running container.
        streams: the caller's descriptors.
        sig_proxy: hand the caller's signals on.

    Raises:
        Conflict: the container is not running, or paused.
        KeyboardInterrupt, SystemExit: a signal that is not handed on ends the caller's side.
    """
    record = get(context, reference)
    if record.state.status == "paused":
        raise Conflict(f"container {record.id[:12]} is paused", "unpause it first")
    if record.state.status != "running":
        raise not_running(record)
    with reach_running(context, record) as peer:
        request = wire.Attach(
            fds=present(streams), detach_keys=streams.detach_keys, job=host.client_pid()
        )
        roles = (streams.stdin_fd, streams.stdout_fd, streams.stderr_fd)
        terminal = ClientTerminal.find(streams.stdin_fd) if record.config.tty else None
        try:
            control.ask(peer, request, tuple(fd for fd in roles if fd >= 0))
            return _Attached(peer, terminal, sig_proxy=sig_proxy).wait()
        finally:
            if terminal is not None:
                terminal.restore()


class _Attached:
    """The caller's side of an attachment."""

    def __init__(
        self, peer: socket.socket, terminal: ClientTerminal | None, *, sig_proxy: bool
    ) -> None:
        self._peer = peer
        self._terminal = terminal
        self._sig_proxy = sig_proxy
        self._loop = Loop()
        self._code: int | None = None

    def wait(self) -> int | None:
        """Serve signals until the supervisor tells the end."""
        worker = host.current
        if worker is not None and worker.peer is not None:
            host.release_input(worker.peer)
            Connection(
                self._loop,
                worker.peer.dup(),
                lambda connection, _: connection.close(),
                self._on_signal,
                lambda _: self._loop.stop(),
            )
        self._on_signal(signal.SIGWINCH)
        self._loop.add(self._peer.fileno(), READ, self._on_answer)
        self._loop.run()
        self._loop.close()
        return self._code

    def _on_signal(self, number: int) -> None:
        if number == signal.SIGWINCH:
            if self._terminal is not None:
                rows, columns = self._terminal.size()
                self._send(wire.Resize(rows=rows, columns=columns))
        elif self._sig_proxy:
            wire.send(self._peer, b"K", b"%d" % number)
        elif number == signal.SIGINT:
            raise KeyboardInterrupt
        elif number in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
            # It is for this client, not for the container: the attachment ends.
            self._code = 128 + number
            self._loop.stop()

    def _send(self, request: wire.ControlRequest) -> None:
        wire.send(self._peer, b"Q", wire.encode(request))

    def _on_answer(self, _events: int) -> None:
        kind, payload, _ = wire.receive(self._peer)
        if kind == b"O":
            return
        self._loop.stop()
        if kind == b"X":
            self._code = int(payload)
        elif kind != b"D":
            raise Unavailable("the container's supervisor ended")
