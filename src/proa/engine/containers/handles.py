"""Descriptors of running things, for programs with a loop of their own (the server).

``engine.containers.exec`` and ``attach`` stay until the end; what is here returns at once and
leaves it to the caller to move bytes and to notice the end, without a thread that waits.
"""

from __future__ import annotations

import os
import socket
import termios

import msgspec

from proa.engine.config import ExecConfig
from proa.engine.containers.exec import prepare_process
from proa.engine.containers.lifecycle import ask_if_alive, get, not_running, reach_running
from proa.engine.containers.streams import Streams, present
from proa.engine.context import Context
from proa.engine.ipc import control, wire
from proa.engine.supervisor.stdio import ContainerStdio
from proa.errors import Conflict, Unavailable
from proa.oci.isolation import Stdio
from proa.oci.spec import Box, Process


class ExecHandle:
    """A command that was started in a container; closing the handle does not end it.

    Attributes:
        stdin_fd: write end of its standard input; -1: it has none, or that was ended.
        stdout_fd: read end, or the terminal's master side.
        stderr_fd: read end; -1 with a terminal.
        pid: as the host sees it.
    """

    def __init__(
        self, context: Context, ref: str, config: ExecConfig, size: tuple[int, int] | None = None
    ) -> None:
        """Start the command.

        Args:
            context: the engine.
            ref: the container.
            config: what is executed.
            size: rows and columns that its terminal has from the beginning.

        Raises:
            NotFound: no such container, user or group.
            Conflict: it is not running, or paused.
            CommandNotFound, CommandNotExecutable: the command cannot run.
        """
        self.stdin_fd = self.stdout_fd = self.stderr_fd = -1
        self.pid = 0
        self._tty = config.tty
        process, self._peer = prepare_process(context, ref, config)
        if size is not None and config.tty:
            box = Box(height=size[0], width=size[1])
            process = msgspec.structs.replace(process, console_size=box)
        try:
            if config.tty:
                self.stdout_fd = self._start(process, ())
                self.stdin_fd = os.dup(self.stdout_fd) if config.open_stdin else -1
            else:
                self._start_with_pipes(process, config)
        except BaseException:
            self.close()
            raise

    def fileno(self) -> int:
        """Return a descriptor that is readable once the command has ended."""
        return self._peer.fileno()

    def wait(self) -> int:
        """Wait for its end and return the exit code.

        Raises:
            Unavailable: the container's supervisor died.
        """
        kind, payload, _ = wire.receive(self._peer)
        if kind != b"X":
            raise Unavailable("the container's supervisor ended before the command did")
        return int(payload)

    def resize(self, rows: int, columns: int) -> None:
        """Set the size of its terminal, in characters.

        Raises:
            Conflict: it has none.
        """
        if not self._tty or self.stdout_fd < 0:
            raise Conflict("the command has no terminal")
        termios.tcsetwinsize(self.stdout_fd, (rows, columns))

    def close_stdin(self) -> None:
        """End its standard input. Idempotent."""
        if self.stdin_fd >= 0:
            os.close(self.stdin_fd)
            self.stdin_fd = -1

    def close_streams(self) -> None:
        """Close its streams; :meth:`wait` still works. Idempotent."""
        self.close_stdin()
        for fd in (self.stdout_fd, self.stderr_fd):
            if fd >= 0:
                os.close(fd)
        self.stdout_fd = self.stderr_fd = -1

    def close(self) -> None:
        """Close everything. Idempotent."""
        self.close_streams()
        self._peer.close()

    def _start_with_pipes(self, process: Process, config: ExecConfig) -> None:
        if config.detach:
            self._start_with_nothing(process)
            return
        ours, theirs = ContainerStdio.make_pipes(open_stdin=config.open_stdin)
        self.stdin_fd, self.stdout_fd, self.stderr_fd = ours.stdin, ours.stdout, ours.stderr
        try:
            self._start(process, (theirs.stdin, theirs.stdout, theirs.stderr))
        finally:
            _close(theirs)

    def _start_with_nothing(self, process: Process) -> None:
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        try:
            self._start(process, (null, null, null))
        finally:
            os.close(null)

    def _start(self, process: Process, fds: tuple[int, ...]) -> int:
        """Ask the supervisor; return the terminal's master side, -1 if there is none."""
        try:
            wire.send(self._peer, b"Q", wire.encode(wire.Exec(process=process)), fds)
            kind, payload, received = wire.receive(self._peer)
        except OSError:
            kind, payload, received = b"", b"", []
        if kind == b"I":
            self.pid = wire.decode_started(payload).pid
            return received[0] if received else -1
        for fd in received:
            os.close(fd)
        if kind == b"E":
            raise wire.error_of(wire.decode_failure(payload))
        raise Conflict("the container ended before the command was started")


class AttachHandle:
    """A client's descriptors, joined with a running container; closing the handle detaches them."""

    def __init__(self, context: Context, ref: str, streams: Streams) -> None:
        """Join; output from now on goes to the descriptors, which stay the caller's.

        Raises:
            NotFound: no such container.
            Conflict: it is not running, or paused.
        """
        record = get(context, ref)
        if record.state.status == "paused":
            raise Conflict(f"container {record.id[:12]} is paused", "unpause it first")
        if record.state.status not in ("running", "restarting"):
            raise not_running(record)
        self._peer: socket.socket = reach_running(context, record)
        roles = (streams.stdin_fd, streams.stdout_fd, streams.stderr_fd)
        request = wire.Attach(fds=present(streams), detach_keys=streams.detach_keys)
        try:
            control.ask(self._peer, request, tuple(fd for fd in roles if fd >= 0))
        except BaseException:
            self._peer.close()
            raise

    def fileno(self) -> int:
        """Return a descriptor that is readable once the container ended, or the keys detached."""
        return self._peer.fileno()

    def close(self) -> None:
        """Detach. Idempotent."""
        self._peer.close()


def resize(context: Context, ref: str, rows: int, columns: int) -> None:
    """Set the size of a running container's terminal.

    Raises:
        NotFound: no such container.
        Conflict: it is not running.
    """
    record = get(context, ref)
    if not ask_if_alive(context, record, wire.Resize(rows=rows, columns=columns)):
        raise not_running(record)


def _close(stdio: Stdio) -> None:
    for fd in (stdio.stdin, stdio.stdout, stdio.stderr):
        if fd >= 0:
            os.close(fd)
