"""The user's terminal during a foreground run with ``-t``.

The container has its own terminal with its own line discipline; the user's is put into raw mode so
that every key goes through, and given back as it was, also when the client was killed meanwhile:
the supervisor holds the descriptor.
"""

from __future__ import annotations

import fcntl
import os
import struct
import termios

from msgspec.structs import replace

from proa.oci.isolation import SandboxSpec
from proa.oci.spec import Box, Process

_WINDOW = struct.Struct("HHHH")


class ClientTerminal:
    """A terminal in raw mode; :meth:`restore` ends that."""

    def __init__(self, fd: int) -> None:
        """Put the terminal of ``fd`` into raw mode, as cfmakeraw(3) does.

        Raises:
            termios.error: it is no terminal.
        """
        self._fd = os.dup(fd)
        os.set_inheritable(self._fd, False)
        try:
            self._saved = termios.tcgetattr(self._fd)
            raw = termios.tcgetattr(self._fd)
            raw[0] &= ~(
                termios.IGNBRK | termios.BRKINT | termios.PARMRK | termios.ISTRIP
                | termios.INLCR | termios.IGNCR | termios.ICRNL | termios.IXON
            )  # fmt: skip
            raw[1] &= ~termios.OPOST
            raw[2] = (raw[2] & ~(termios.CSIZE | termios.PARENB)) | termios.CS8
            raw[3] &= ~(
                termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN
            )
            raw[6][termios.VMIN], raw[6][termios.VTIME] = 1, 0
            termios.tcsetattr(self._fd, termios.TCSADRAIN, raw)
        except termios.error:
            os.close(self._fd)
            raise

    @classmethod
    def find(cls, fd: int) -> ClientTerminal | None:
        """Return the terminal of ``fd`` in raw mode; None if it is none (also for -1)."""
        if fd < 0:
            return None
        try:
            return cls(fd)
        except termios.error:
            return None

    def size(self) -> tuple[int, int]:
        """Return rows and columns."""
        rows, columns, _, _ = _WINDOW.unpack(
            fcntl.ioctl(self._fd, termios.TIOCGWINSZ, bytes(_WINDOW.size))
        )
        return rows, columns

    def restore(self) -> None:
        """Give the terminal back as it was found. Idempotent."""
        if self._fd >= 0:
            try:
                termios.tcsetattr(self._fd, termios.TCSADRAIN, self._saved)
            except termios.error:
                pass
            os.close(self._fd)
            self._fd = -1


def fit_process(process: Process, fd: int) -> Process:
    """Give a process' terminal the size of that of ``fd`` before the command can ask for it."""
    try:
        size = os.get_terminal_size(fd)
    except OSError:
        return process  # no terminal, or no client
    return replace(process, console_size=Box(height=size.lines, width=size.columns))


def fit_terminal(sandbox: SandboxSpec, fd: int) -> SandboxSpec:
    """:func:`fit_process` for the init of a sandbox."""
    assert sandbox.spec.process is not None
    process = fit_process(sandbox.spec.process, fd)
    return replace(sandbox, spec=replace(sandbox.spec, process=process))
