"""Processes in a guest as their owner on the host holds them."""

from __future__ import annotations

import fcntl
import os
import struct
import termios
import time
from typing import TYPE_CHECKING

from proa.errors import Conflict, Invalid
from proa.oci.isolation import ExitStatus, Stdio
from proa.vm.agent import messages
from proa.vm.agent.messages import STDERR, STDIN, STDOUT, stream_of
from proa.vm.agent.streams import Reader, Writer, open_apart

if TYPE_CHECKING:
    from collections.abc import Callable

    from proa.vm.agent.client import AgentClient
    from proa.vm.agent.mux import Mux

_SIGKILL = 9
_SIGNALS = 64
_KILLED = ExitStatus(code=128 + _SIGKILL, signal=_SIGKILL)
_WINDOW = struct.Struct("<4H")
_SIZE_INTERVAL_S = 0.2
"""Whoever holds a terminal may set its size without telling; it is looked at so often."""

_PATIENCE_S = 2.0
"""So long the end of a process waits for whoever reads its last output from no pipe."""

_NULL_DEVICE = os.makedev(1, 3)


class Streams:
    """The caller's descriptors for a process, or a terminal; duplicates that this object owns.

    Attributes:
        carried: which of stdin, stdout and stderr the channel carries.
        merged: stdout and stderr are one.
        console: master of the terminal, -1 without one; owned by the process' handle.
    """

    def __init__(self, stdio: Stdio, *, terminal: bool, rows: int = 0, columns: int = 0) -> None:
        """Take duplicates, or make a terminal.

        Raises:
            OSError: no descriptors or terminals left.
        """
        self.console = self._slave = -1
        self._fds: list[int] = [-1, -1, -1]
        self.merged = False
        self.carried = (False, False, False)
        if terminal:
            self._open_terminal(rows, columns)
            return
        given = (stdio.stdin, stdio.stdout, stdio.stderr)
        self.merged = _same(stdio.stdout, stdio.stderr)
        wanted = [not _is_null(fd) for fd in given]
        if self.merged:
            wanted[STDERR] = False
        self.carried = (wanted[0], wanted[1], wanted[2])
        try:
            for which, fd in enumerate(given):
                if wanted[which]:
                    flags = os.O_RDONLY if which == STDIN else os.O_WRONLY
                    self._fds[which] = open_apart(fd, flags)
        except BaseException:
            self.close()
            raise

    def connect(self, mux: Mux, number: int, on_end: Callable[[], None]) -> list[Writer]:
        """Serve the streams from now on; returns the writers, which call ``on_end``."""
        stdin, stdout, stderr = self._fds
        self._fds = [-1, -1, -1]
        if self._slave >= 0:
            stdin, stdout = os.dup(self._slave), os.dup(self._slave)
            os.close(self._slave)
            self._slave = -1
        writers = [
            Writer(mux, stream_of(number, which), fd, on_end)
            for which, fd in ((STDOUT, stdout), (STDERR, stderr))
            if fd >= 0
        ]
        if stdin >= 0:
            Reader(mux, stream_of(number, STDIN), stdin)
        return writers

    def close(self) -> None:
        """Nothing was started. Idempotent."""
        for fd in (*self._fds, self._slave):
            if fd >= 0:
                os.close(fd)
        self._fds, self._slave = [-1, -1, -1], -1

    def _open_terminal(self, rows: int, columns: int) -> None:
        self.console, self._slave = os.openpty()
        for fd in (self.console, self._slave):
            os.set_inheritable(fd, False)
        os.set_blocking(self._slave, False)
        # The container's terminal in the guest has the line discipline; this one only carries.
        attributes = termios.tcgetattr(self._slave)
        attributes[0] = attributes[1] = attributes[3] = 0
        attributes[6][termios.VMIN], attributes[6][termios.VTIME] = 1, 0
        termios.tcsetattr(self._slave, termios.TCSANOW, attributes)
        _set_size(self.console, rows, columns)


class VmProcess:
    """Implements :class:`proa.oci.isolation.ProcessHandle` for a process in a guest.

    Args:
        client: the guest's.
        number: the process' on the channel.
        pid: of QEMU: what stands for the process on the host.
        streams: taken over.
        kill_machine: ends the guest when a killed init does not end; None for other processes.
    """

    def __init__(
        self,
        client: AgentClient,
        number: int,
        pid: int,
        streams: Streams,
        kill_machine: Callable[[], None] | None = None,
    ) -> None:
        self.number = number
        self._client = client
        self._pid = pid
        self._streams = streams
        self._console = streams.console
        self._kill_machine = kill_machine
        self._ended = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._status: ExitStatus | None = None
        self._pending_status: ExitStatus | None = None
        self._mux: Mux | None = None
        self._writers: list[Writer] = []
        self._size = (0, 0)

    # -- ProcessHandle -----------------------------------------------------------------------------

    @property
    def pid(self) -> int:
        """Pid of the QEMU that runs it."""
        return self._pid

    @property
    def pidfd(self) -> int:
        """Readable once the process has ended and its output is written; owned by this object."""
        return self._ended

    @property
    def console(self) -> int:
        """Master side of the pty, or -1; owned by this object."""
        return self._console

    def signal(self, number: int) -> None:
        """Send a signal; an ended process is not an error.

        Raises:
            Invalid: the number is no signal.
        """
        if not 0 <= number <= _SIGNALS:
            raise Invalid(f"cannot send signal {number}: there is no such signal")
        if self._status is not None or self._ended < 0:
            return
        self._client.post(messages.Signal(number=self.number, signal=number))
        if number == _SIGKILL and self._kill_machine is not None:
            self._kill_machine()

    def resize(self, rows: int, columns: int) -> None:
        """Set the terminal's size.

        Raises:
            Conflict: the process has no terminal.
        """
        if self._console < 0:
            raise Conflict(f"process {self._pid} has no terminal")
        _set_size(self._console, rows, columns)
        self._client.request(messages.Resize(number=self.number, rows=rows, columns=columns))

    def wait(self) -> ExitStatus:
        """Return how it ended; blocks until it has. Idempotent."""
        if self._status is None:
            import select

            poll = select.poll()
            poll.register(self._ended, select.POLLIN)
            poll.poll()
        assert self._status is not None
        return self._status

    def ended(self) -> bool:
        """Whether it has ended."""
        return self._status is not None

    def close(self) -> None:
        """Close the handle's descriptors. Idempotent."""
        for fd in (self._ended, self._console):
            if fd >= 0:
                os.close(fd)
        self._ended = self._console = -1

    # -- the channel's thread ----------------------------------------------------------------------

    def connect(self, mux: Mux) -> None:
        """Serve the streams."""
        self._mux = mux
        terminal = self._console >= 0
        self._writers = self._streams.connect(mux, self.number, self._settle)
        if terminal:
            self._size = _get_size(self._console)
            mux.call_later(time.monotonic() + _SIZE_INTERVAL_S, self._watch_size)

    def disconnect(self) -> None:
        """The process did not come to be, or its guest is gone: close its streams."""
        if self._mux is None:
            self._streams.close()
            return
        for which in (STDIN, STDOUT, STDERR):
            stream = self._mux.streams.get(stream_of(self.number, which))
            if isinstance(stream, Reader | Writer):
                stream.close()

    def on_exit(self, status: ExitStatus) -> None:
        """The guest says that it has ended; what it wrote is on its way to the caller."""
        if self._mux is not None:
            stdin = self._mux.streams.get(stream_of(self.number, STDIN))
            if isinstance(stdin, Reader):
                stdin.close()
        self._pending_status = status
        for writer in list(self._writers):
            writer.finish()
        self._settle()
        if self._status is None and self._mux is not None:
            self._mux.call_later(time.monotonic() + _PATIENCE_S, self._give_up)

    def on_lost(self) -> None:
        """The guest is gone, and all its processes with it."""
        self._pending_status = self._pending_status or _KILLED
        self.disconnect()
        self._writers = []
        self._settle()

    def _settle(self) -> None:
        """Tell the owner once both the end and all output are here."""
        if self._pending_status is None or self._status is not None:
            return
        if any(writer.open for writer in self._writers):
            return
        self._status = self._pending_status
        if self._ended >= 0:
            os.eventfd_write(self._ended, 1)

    def _give_up(self) -> None:
        """Nobody takes the last output: the end is not kept back for it."""
        if self._status is None:
            for writer in list(self._writers):
                writer.close()
            self._settle()

    def _watch_size(self) -> None:
        if self._status is not None or self._console < 0 or self._mux is None:
            return
        size = _get_size(self._console)
        if size != self._size:
            self._size = size
            rows, columns = size
            self._client.post(messages.Resize(number=self.number, rows=rows, columns=columns))
        self._mux.call_later(time.monotonic() + _SIZE_INTERVAL_S, self._watch_size)


def _same(first: int, second: int) -> bool:
    one, other = os.fstat(first), os.fstat(second)
    return (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)


def _is_null(fd: int) -> bool:
    return os.fstat(fd).st_rdev == _NULL_DEVICE


def _set_size(console: int, rows: int, columns: int) -> None:
    fcntl.ioctl(console, termios.TIOCSWINSZ, _WINDOW.pack(rows, columns, 0, 0))


def _get_size(console: int) -> tuple[int, int]:
    try:
        rows, columns, _, _ = _WINDOW.unpack(
            fcntl.ioctl(console, termios.TIOCGWINSZ, bytes(_WINDOW.size))
        )
    except OSError:
        return (0, 0)
    return rows, columns
