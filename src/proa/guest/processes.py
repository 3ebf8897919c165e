"""The container's processes in the guest: streams over the channel, ends told when all is sent."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from proa.oci.isolation import ProcessHandle, Stdio
from proa.vm.agent import messages, protocol
from proa.vm.agent.messages import STDERR, STDIN, STDOUT, stream_of
from proa.vm.agent.mux import READ, Mux
from proa.vm.agent.streams import Reader, Writer

_TERMINAL_GRACE_S = 0.1
"""So long a terminal that somebody still holds may bring what was written before the end."""


class Ends:
    """Descriptors for a process about to start, and ours; closed unless taken."""

    def __init__(self, streams: tuple[bool, bool, bool], *, merged: bool) -> None:
        """Make pipes for the streams that are carried.

        Raises:
            OSError: no descriptors left.
        """
        self._theirs: list[int] = []
        self.stdin = self.stdout = self.stderr = -1
        null = self._keep(os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC))
        first = second = third = null
        if streams[STDIN]:
            first, self.stdin = self._pipe()
            os.set_blocking(self.stdin, False)
        if streams[STDOUT]:
            self.stdout, second = self._pipe(outward=True)
        if merged:
            third = second
        elif streams[STDERR]:
            self.stderr, third = self._pipe(outward=True)
        self.stdio = Stdio(first, second, third)

    def close_theirs(self) -> None:
        """The process has its own now. Idempotent."""
        for fd in self._theirs:
            os.close(fd)
        self._theirs.clear()

    def close(self) -> None:
        """Nothing was started."""
        self.close_theirs()
        for fd in (self.stdin, self.stdout, self.stderr):
            if fd >= 0:
                os.close(fd)

    def _pipe(self, *, outward: bool = False) -> tuple[int, int]:
        reading, writing = os.pipe2(os.O_CLOEXEC)
        self._keep(writing if outward else reading)
        if outward:
            os.set_blocking(reading, False)
        return reading, writing

    def _keep(self, fd: int) -> int:
        self._theirs.append(fd)
        return fd


class GuestProcess:
    """A process that runs, from its start to the frame that says how it ended.

    Args:
        mux: the channel.
        number: the process' on the channel.
        handle: taken over.
        ends: our ends of its pipes, None with a terminal.
        on_end: called when the end was told.
    """

    def __init__(
        self,
        mux: Mux,
        number: int,
        handle: ProcessHandle,
        ends: Ends | None,
        on_end: Callable[[], None],
    ) -> None:
        self._mux = mux
        self._number = number
        self.handle = handle
        self._on_end = on_end
        self._ended = False
        self._told = False
        self._readers: list[Reader] = []
        self._deadline = 0.0
        self._writer: Writer | None = None
        self._terminal = ends is None
        if ends is None:
            self._connect(os.dup(handle.console), os.dup(handle.console), -1)
        else:
            self._connect(ends.stdin, ends.stdout, ends.stderr)
        mux.add(handle.pidfd, READ, self._on_exit)

    def _connect(self, stdin: int, stdout: int, stderr: int) -> None:
        if stdin >= 0:
            os.set_blocking(stdin, False)
            self._writer = Writer(self._mux, stream_of(self._number, STDIN), stdin)
        for which, fd in ((STDOUT, stdout), (STDERR, stderr)):
            if fd >= 0:
                os.set_blocking(fd, False)
                stream = stream_of(self._number, which)
                self._readers.append(Reader(self._mux, stream, fd, self._tell))

    def _on_exit(self, _events: int) -> None:
        self._mux.remove(self.handle.pidfd)
        self.handle.wait()
        self._ended = True
        if self._writer is not None:
            self._writer.close()
        if self._terminal:
            self._deadline = time.monotonic() + _TERMINAL_GRACE_S
            self._mux.post(self._watch_terminal)
        else:
            for reader in self._readers:
                reader.finish()
        self._tell()

    def _watch_terminal(self) -> None:
        """A terminal ends by itself when its last process closes it; others do not hold it up."""
        if not any(reader.open for reader in self._readers):
            return
        if time.monotonic() < self._deadline:
            self._mux.call_later(self._deadline, self._watch_terminal)
            return
        for reader in self._readers:
            reader.finish()

    def _tell(self) -> None:
        if not self._ended or self._told or any(reader.open for reader in self._readers):
            return
        self._told = True
        self._mux.send(protocol.EXIT, self._number, messages.encode(self.handle.wait()))
        self._on_end()
