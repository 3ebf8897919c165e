"""A process that ``run`` or ``exec`` waits for: its signals, and its terminal."""

from __future__ import annotations

import os
import select
import signal

from proa.oci.isolation import ExitStatus, ProcessHandle

_CHUNK_BYTES = 65536

_KEPT = frozenset(
    (signal.SIGCHLD, signal.SIGKILL, signal.SIGSTOP, signal.SIGURG, signal.SIGPIPE, signal.SIGWINCH)
)
"""Signals that are not the process': of this one's children and pipes, and those nobody gets."""


def attend(handle: ProcessHandle) -> ExitStatus:
    """Wait for a process; forward signals, and the terminal when it has one."""
    for number in signal.valid_signals() - _KEPT:
        signal.signal(number, lambda received, _frame: handle.signal(received))
    if handle.console >= 0:
        _relay(handle)
    return handle.wait()


def _relay(handle: ProcessHandle) -> None:
    """Copy between this process' terminal and the container's until the latter is closed."""
    from proa.engine.supervisor.terminal import ClientTerminal

    master = handle.console
    terminal = ClientTerminal.find(0)
    if terminal is not None:
        _follow_size(handle, terminal)
    poll = select.poll()
    poll.register(0, select.POLLIN)
    poll.register(master, select.POLLIN)
    try:
        while True:
            for fd, _events in poll.poll():
                data = _read(fd)
                if not data and fd == master:
                    return
                if not data:
                    poll.unregister(0)
                    continue
                _write(1 if fd == master else master, data)
    finally:
        if terminal is not None:
            terminal.restore()


def _follow_size(handle: ProcessHandle, terminal: object) -> None:
    from proa.engine.supervisor.terminal import ClientTerminal

    assert isinstance(terminal, ClientTerminal)

    def resize(_number: int = 0, _frame: object = None) -> None:
        handle.resize(*terminal.size())

    resize()
    signal.signal(signal.SIGWINCH, resize)


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, _CHUNK_BYTES)
    except OSError:
        return b""  # EIO: the other side of the pty is closed


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
