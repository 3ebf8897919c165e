"""A client of a machine's console: between its descriptors and the supervisor's socket."""

from __future__ import annotations

import os
import select
import socket

from proa.engine.supervisor.detachkeys import DetachScanner, parse_detach_keys
from proa.engine.supervisor.terminal import ClientTerminal

DETACH_KEYS = "ctrl-]"
"""Guests need ctrl-p; this is what serial consoles are left with elsewhere (telnet, virsh)."""

_CHUNK = 65536


def relay(console: socket.socket, stdin_fd: int, stdout_fd: int, detach_keys: str = "") -> bool:
    """Show the console until the machine ends, the keys are typed, or the input ends.

    Args:
        console: connected, its request answered; closed by the caller.
        stdin_fd: what is typed; below 0: nothing. A terminal is put into raw mode meanwhile.
        stdout_fd: where it is shown.
        detach_keys: in Docker's words; empty: ``ctrl-]``.

    Returns:
        True when the user left, False when the machine's console has ended.

    Raises:
        Invalid: the keys are none.
        OSError: the output is closed.
    """
    scanner = DetachScanner(parse_detach_keys(detach_keys or DETACH_KEYS))
    terminal = ClientTerminal.find(stdin_fd)
    poll = select.poll()
    poll.register(console, select.POLLIN)
    if stdin_fd >= 0:
        poll.register(stdin_fd, select.POLLIN)
    try:
        while True:
            for fd, _ in poll.poll():
                if fd == stdin_fd:
                    data = os.read(stdin_fd, _CHUNK)
                    typed, left = scanner.feed(data)
                    if typed:
                        console.sendall(typed)
                    if left:
                        return True
                    if not data:
                        # A script's input is used up: its output may still be wanted.
                        poll.unregister(stdin_fd)
                else:
                    shown = console.recv(_CHUNK)
                    if not shown:
                        return False
                    _write(stdout_fd, shown)
    except (ConnectionResetError, BrokenPipeError):
        return False
    finally:
        if terminal is not None:
            terminal.restore()


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
