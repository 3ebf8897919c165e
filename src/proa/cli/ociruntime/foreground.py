"""A process that ``run`` or ``exec`` waits for: its signals, and its terminal."""

from __future__ import annotations

import os
import select
import signal
import socket
from typing import TYPE_CHECKING

from proa.engine.ipc import host
from proa.oci.isolation import ExitStatus, ProcessHandle

if TYPE_CHECKING:
    from proa.engine.supervisor.terminal import ClientTerminal

_CHUNK_BYTES = 65536
_CLIENT_GONE = 129

_KEPT = frozenset(
    (signal.SIGCHLD, signal.SIGKILL, signal.SIGSTOP, signal.SIGURG, signal.SIGPIPE, signal.SIGWINCH)
)
"""Signals that are not the process': of this one's children and pipes, and those nobody gets."""


class Signals:
    """Signals for a process that is about to start: none is lost, and none ends this process."""

    def __init__(self) -> None:
        """Take them from now on: this process' own, or those of the client of a worker."""
        self._handle: ProcessHandle | None = None
        self._early: list[int] = []
        worker = host.current
        self.peer = worker.peer if worker is not None else None
        if self.peer is not None:
            host.release_input(self.peer)
            return
        for number in signal.valid_signals() - _KEPT:
            signal.signal(number, self._on_signal)

    def hand_to(self, handle: ProcessHandle) -> None:
        """Give the process those that came, and all that will."""
        self._handle = handle
        while self._early:
            handle.signal(self._early.pop(0))

    def _on_signal(self, number: int, _frame: object) -> None:
        if self._handle is None:
            self._early.append(number)
        else:
            self._handle.signal(number)


def attend(handle: ProcessHandle, signals: Signals) -> ExitStatus:
    """Wait for a process; hand on signals, and the terminal when it has one.

    Raises:
        SystemExit: the client that a worker does this for is gone; the process lives on.
    """
    signals.hand_to(handle)
    terminal = _take_terminal(handle)
    try:
        _serve(handle, signals.peer, terminal)
    finally:
        if terminal is not None:
            terminal.restore()
            signal.signal(signal.SIGWINCH, signal.SIG_DFL)
    return handle.wait()


def _take_terminal(handle: ProcessHandle) -> ClientTerminal | None:
    if handle.console < 0:
        return None
    from proa.engine.supervisor.terminal import ClientTerminal

    terminal = ClientTerminal.find(0)
    if terminal is not None:
        handle.resize(*terminal.size())
        signal.signal(signal.SIGWINCH, lambda _number, _frame: handle.resize(*terminal.size()))
    return terminal


def _serve(
    handle: ProcessHandle, peer: socket.socket | None, terminal: ClientTerminal | None
) -> None:
    """Until the terminal is closed, or the process without one has ended."""
    master = handle.console
    poll = select.poll()
    poll.register(master if master >= 0 else handle.pidfd, select.POLLIN)
    if master >= 0:
        poll.register(0, select.POLLIN)
    if peer is not None:
        poll.register(peer, select.POLLIN)
    while True:
        for fd, _events in poll.poll():
            if peer is not None and fd == peer.fileno():
                _hand_on(handle, peer, terminal)
            elif master < 0:
                return
            elif data := _read(fd):
                _write(1 if fd == master else master, data)
            elif fd == master:
                return
            else:
                poll.unregister(0)


def _hand_on(handle: ProcessHandle, peer: socket.socket, terminal: ClientTerminal | None) -> None:
    from proa.engine.ipc import wire

    try:
        kind, payload, _ = wire.receive(peer)
    except OSError:
        kind, payload = b"", b""
    if not kind:
        raise SystemExit(_CLIENT_GONE)
    number = int(payload) if kind == b"K" and payload.isdigit() else 0
    if number == signal.SIGWINCH and terminal is not None:
        handle.resize(*terminal.size())
    elif number and number not in _KEPT:
        handle.signal(number)


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, _CHUNK_BYTES)
    except OSError:
        return b""  # EIO: the other side of the pty is closed


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
