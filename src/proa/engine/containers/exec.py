"""One more process in a running container (``proa exec``).

The supervisor starts it; whoever asked moves its bytes. So an exec costs the supervisor no memory,
many run side by side, and the death of the asking process takes nothing along but its own streams.
"""

from __future__ import annotations

import os
import signal
import socket
import termios

from proa import log
from proa.engine.compose.process import compose_exec
from proa.engine.config import ExecConfig
from proa.engine.containers.lifecycle import get, not_running, reach_running
from proa.engine.containers.query import find_image
from proa.engine.containers.streams import Streams, duplicate
from proa.engine.context import Context
from proa.engine.ipc import host, wire
from proa.engine.logs.none import NullWriter
from proa.engine.supervisor.control import Connection
from proa.engine.supervisor.loop import READ, Loop
from proa.engine.supervisor.stdio import ContainerStdio
from proa.engine.supervisor.terminal import ClientTerminal, fit_process
from proa.errors import Conflict, NotFound, Unavailable
from proa.oci.isolation import Stdio
from proa.oci.spec import Process

_ALIVE = ("running", "paused")


def exec_in(
    context: Context, reference: str, config: ExecConfig, *, streams: Streams | None = None
) -> int:
    """Run a command in a running container and return its exit code; 0 at once when detached.

    Args:
        reference: the container.
        config: the command, as whom, with what.
        streams: the caller's descriptors.

    Raises:
        NotFound: no such container, user or group.
        Conflict: it is not running, or paused.
        CommandNotFound, CommandNotExecutable: the command cannot run.
    """
    process, peer = prepare_process(context, reference, config)
    with peer:
        if config.detach:
            return _run_detached(peer, process)
        streams = streams or Streams()
        if process.terminal:
            process = fit_process(process, streams.stdin_fd)
        code = _Session(peer, process, config, streams).run()
    if host.current is not None:
        host.current.settle()
    return code


def prepare_process(
    context: Context, reference: str, config: ExecConfig
) -> tuple[Process, socket.socket]:
    """Return what is to be executed, and a connection to the supervisor that can start it.

    Raises:
        NotFound: no such container, user or group.
        Conflict: it is not running.
    """
    record = get(context, reference)
    if record.state.status not in _ALIVE:
        raise not_running(record)
    image = find_image(context, record)
    if image is None:
        raise NotFound(f"the image of container {record.id[:12]} is gone")
    process = compose_exec(context.layout, record, image, config)
    return process, reach_running(context, record)


def _run_detached(peer: socket.socket, process: Process) -> int:
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    try:
        console = start_process(peer, process, (null, null, null))
    finally:
        os.close(null)
    if console >= 0:
        os.close(console)
    return 0


def start_process(peer: socket.socket, process: Process, fds: tuple[int, ...]) -> int:
    """Ask for the process; return its terminal's master side, -1 if it has none.

    Raises:
        Conflict: the container ended before it was started.
        ProaError: what the supervisor answered.
    """
    target = log.target()
    request = wire.Exec(process=process, log=target >= 0)
    sent = (*(() if process.terminal else fds), *((target,) if target >= 0 else ()))
    try:
        wire.send(peer, b"Q", wire.encode(request), sent)
        kind, payload, received = wire.receive(peer)
    except OSError:
        kind, payload, received = b"", b"", []
    if kind == b"I":
        return received[0] if received else -1
    for fd in received:
        os.close(fd)
    if kind == b"E":
        raise wire.error_of(wire.decode_failure(payload))
    raise Conflict("the container ended before the command was started")


class _Session:
    """A process in the foreground of its caller."""

    def __init__(
        self, peer: socket.socket, process: Process, config: ExecConfig, streams: Streams
    ) -> None:
        self._peer = peer
        self._process = process
        self._config = config
        self._streams = streams
        self._loop = Loop()
        self._stdio = ContainerStdio(self._loop, NullWriter(), self._finish_when_settled)
        self._code: int | None = None
        self._console = -1

    def run(self) -> int:
        """Start the process, serve its streams, return its exit code."""
        terminal = None
        try:
            if self._config.tty:
                self._console = start_process(self._peer, self._process, ())
                terminal = self._enter_terminal()
                self._stdio.connect_terminal(self._console, open_stdin=self._config.open_stdin)
            else:
                self._start_with_pipes()
            self._stdio.attach(
                duplicate(self._streams),
                leader=True,
                detach_keys=self._streams.detach_keys,
                on_detach=self._loop.stop,
            )
            self._loop.add(self._peer.fileno(), READ, self._on_answer)
            self._loop.run()
        finally:
            if terminal is not None:
                terminal.restore()
            self._stdio.close()
            if self._console >= 0:
                os.close(self._console)
            self._loop.close()
        return 0 if self._code is None else self._code

    def _start_with_pipes(self) -> None:
        ours, theirs = ContainerStdio.make_pipes(open_stdin=self._config.open_stdin)
        try:
            start_process(self._peer, self._process, (theirs.stdin, theirs.stdout, theirs.stderr))
        except BaseException:
            _close(ours)
            raise
        finally:
            _close(theirs)
        self._stdio.connect_pipes(ours, once=True)

    def _enter_terminal(self) -> ClientTerminal | None:
        """Put the caller's terminal into raw mode and follow its size."""
        terminal = ClientTerminal.find(self._streams.stdin_fd)
        if terminal is None:
            return None
        self._resize(terminal)
        worker = host.current
        if worker is not None and worker.peer is not None:
            host.release_input(worker.peer)
            Connection(
                self._loop,
                worker.peer.dup(),
                lambda connection, _: connection.close(),
                lambda number: self._on_signal(number, terminal),
                lambda _: self._loop.stop(),
            )
        return terminal

    def _on_signal(self, number: int, terminal: ClientTerminal) -> None:
        if number == signal.SIGWINCH:
            self._resize(terminal)

    def _resize(self, terminal: ClientTerminal) -> None:
        rows, columns = terminal.size()
        termios.tcsetwinsize(self._console, (rows, columns))

    def _on_answer(self, _events: int) -> None:
        self._loop.remove(self._peer.fileno())
        kind, payload, _ = wire.receive(self._peer)
        if kind != b"X":
            self._loop.stop()
            raise Unavailable("the container's supervisor ended before the command did")
        self._code = int(payload)
        self._stdio.drain()
        self._finish_when_settled()

    def _finish_when_settled(self) -> None:
        if self._code is not None and self._stdio.settled:
            self._loop.stop()


def _close(stdio: Stdio) -> None:
    for fd in (stdio.stdin, stdio.stdout, stdio.stderr):
        if fd >= 0:
            os.close(fd)
