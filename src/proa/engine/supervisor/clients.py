"""What clients ask of a supervisor, over the control socket or the connection of their ``run``."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Sequence
from typing import Protocol, cast

from proa import log
from proa.engine.config import ContainerUpdate
from proa.engine.ipc import wire
from proa.engine.supervisor.control import Connection, ControlSocket
from proa.engine.supervisor.loop import READ, Loop
from proa.engine.supervisor.stdio import ContainerStdio
from proa.engine.supervisor.streams import Attachment, Sink
from proa.engine.supervisor.terminal import ClientTerminal
from proa.errors import Conflict, ProaError, Unsupported
from proa.oci.files import FileAccess, StatFile, Transfer
from proa.oci.isolation import ProcessHandle, Sandbox, Stdio
from proa.oci.processlist import ProcessAccess, ReadProcesses

_SIGNAL_BASE = 128
_ENDING = frozenset((signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM))


class Supervised(Protocol):
    """The container as its clients may act on it."""

    @property
    def stdio(self) -> ContainerStdio:
        """Its streams."""

    def get_running(self) -> Sandbox:
        """Return the sandbox.

        Raises:
            Conflict: the container is not running.
        """

    def signal(self, number: int) -> None:
        """Signal its init, if there is one."""

    def stop(self, number: int, timeout_s: float | None) -> None:
        """Begin to stop it for good; 0 and None mean the container's own."""

    def restart(self, number: int, timeout_s: float | None) -> None:
        """Begin to stop it and to start it again; ``tell_restarted`` follows."""

    def update(self, changes: ContainerUpdate) -> None:
        """Change limits, restart policy or labels, live and in the record."""

    def rename(self, name: str) -> None:
        """Give it another name."""

    def synchronize_network(self) -> None:
        """Make its live network what the records say now."""

    def pause(self) -> None:
        """Freeze it."""

    def unpause(self) -> None:
        """Thaw it."""

    def note_exec(self) -> None:
        """Check that a process may be added.

        Raises:
            Conflict: it is paused.
        """

    def note_exec_started(self, command: Sequence[str]) -> str:
        """One more process runs; returns the id under which its end is told."""

    def note_exec_ended(self, exec_id: str, code: int) -> None:
        """It has ended."""

    def note_kill(self, number: int) -> None:
        """A user sent a signal."""

    def let_client_go(self, code: int) -> None:
        """End the foreground client's command with an exit code, not the container."""


class Clients:
    """All connections of one supervisor."""

    def __init__(self, loop: Loop, supervised: Supervised, container_id: str) -> None:
        self._loop = loop
        self._supervised = supervised
        self._id = container_id
        self._socket: ControlSocket | None = None
        self._connections: set[Connection] = set()
        self._waiting: list[Connection] = []
        self._restarting: list[Connection] = []
        self._attached: dict[Connection, list[Sink]] = {}
        self._processes: dict[ProcessHandle, Connection] = {}
        self._foreground: Connection | None = None
        self._terminal: ClientTerminal | None = None
        self._sig_proxy = True

    def listen(self, path: str, listener: int = -1) -> None:
        """Open the control socket, or go on with a descriptor that listens already."""
        self._socket = ControlSocket(self._loop, path, self._on_connect, listener)

    @property
    def fd(self) -> int:
        """The listening descriptor, -1 if there is none."""
        return -1 if self._socket is None else self._socket.fd

    def forget(self) -> None:
        """Stop listening here; whoever else has the descriptor goes on."""
        if self._socket is not None:
            self._socket.forget()
            self._socket = None

    def adopt(
        self, peer: socket.socket, terminal: ClientTerminal | None, *, sig_proxy: bool
    ) -> None:
        """Treat the connection of the foreground client like an attached one from now on.

        Args:
            peer: the connection.
            terminal: the client's, whose size the container's follows.
            sig_proxy: its signals are the container's; otherwise those that end a process end its
                attachment.
        """
        self._terminal = terminal
        self._sig_proxy = sig_proxy
        if terminal is not None:
            self._on_foreground_signal(signal.SIGWINCH)
        self._foreground = Connection(
            self._loop,
            peer,
            self._on_request,
            self._on_foreground_signal,
            lambda _: self._supervised.stdio.abandon(),
        )

    def release(self) -> None:
        """Give the foreground client's connection back, blocking again."""
        if self._foreground is not None and self._foreground.open:
            self._foreground.release()
        self._foreground = None
        self._terminal = None

    def tell_end(self, code: int) -> None:
        """Answer all who wait for the container's end."""
        for connection in (*self._waiting, *self._attached):
            connection.answer(b"X", b"%d" % code)
        self._waiting.clear()
        self.tell_restarted(Conflict(f"container {self._id[:12]} was stopped meanwhile"))

    def tell_restarted(self, error: ProaError | None = None) -> None:
        """Answer all who asked for a restart: the container runs again, or why it does not."""
        for connection in self._restarting:
            if error is None:
                connection.answer(b"O")
            else:
                connection.fail(error)
        self._restarting.clear()

    def close(self) -> None:
        """Hang up on everybody and remove the socket. Idempotent."""
        for handle, connection in self._processes.items():
            # It was killed with the container's init (pid_namespaces(7)).
            connection.answer(b"X", b"137")
            handle.close()
        self._processes.clear()
        for connection in list(self._connections):
            connection.close()
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _on_connect(self, peer: socket.socket) -> None:
        connection = Connection(
            self._loop, peer, self._on_request, self._supervised.signal, self._on_gone
        )
        self._connections.add(connection)

    def _on_gone(self, connection: Connection) -> None:
        self._connections.discard(connection)
        for waiting in (self._waiting, self._restarting):
            if connection in waiting:
                waiting.remove(connection)
        self._supervised.stdio.detach(self._attached.pop(connection, []))

    def _on_foreground_signal(self, number: int) -> None:
        if number != signal.SIGWINCH and self._sig_proxy:
            self._supervised.signal(number)
        elif number in _ENDING:
            self._supervised.let_client_go(_SIGNAL_BASE + number)
        elif number == signal.SIGWINCH and self._terminal is not None:
            self._supervised.get_running().init.resize(*self._terminal.size())

    def _on_request(self, connection: Connection, request: wire.ControlRequest) -> None:
        match request:
            case wire.Wait():
                self._waiting.append(connection)
                return
            case wire.Stop(number=number, timeout_s=timeout_s):
                self._waiting.append(connection)
                self._supervised.stop(number, timeout_s)
                return
            case wire.Restart(number=number, timeout_s=timeout_s):
                self._restarting.append(connection)
                self._supervised.restart(number, timeout_s)
                return
            case wire.Attach():
                self._attach(connection, request)
                return
            case wire.ListProcesses():
                pids = self._supervised.get_running().processes()
                connection.answer(b"V", wire.encode(pids))
                return
            case wire.ReadStats():
                stats = self._supervised.get_running().stats()
                connection.answer(b"V", wire.encode(stats))
                return
            case wire.Exec():
                self._exec(connection, request)
                return
            case ReadProcesses():
                listed = _process_access(self._supervised.get_running()).read_processes()
                connection.answer(b"V", wire.encode(listed))
                return
            case StatFile():
                found = _file_access(self._supervised.get_running()).stat_file(request)
                connection.answer(b"V", wire.encode(found))
                return
            case Transfer():
                self._transfer(connection, request)
                return
            case wire.Signal(number=number):
                self._supervised.get_running()
                self._supervised.note_kill(number)
                self._supervised.signal(number)
            case wire.Resize(rows=rows, columns=columns):
                self._supervised.get_running().init.resize(rows, columns)
            case wire.Pause():
                self._supervised.pause()
            case wire.Unpause():
                self._supervised.unpause()
            case wire.Update(changes=changes):
                self._supervised.update(changes)
            case wire.Rename(name=name):
                self._supervised.rename(name)
            case wire.SyncNetwork():
                self._supervised.synchronize_network()
            case wire.Ping():
                pass
        connection.answer(b"O")

    def _attach(self, connection: Connection, request: wire.Attach) -> None:
        self._supervised.get_running()
        fds = connection.take_fds(request.fds)
        attachment = Attachment.from_fds(request.fds, fds, job=request.job)
        self._attached[connection] = self._supervised.stdio.attach(
            attachment,
            detach_keys=request.detach_keys,
            on_detach=lambda: _say_detached(connection),
        )
        connection.answer(b"O")

    def _exec(self, connection: Connection, request: wire.Exec) -> None:
        sandbox = self._supervised.get_running()
        self._supervised.note_exec()
        terminal = request.process.terminal
        fds = [] if terminal else connection.take_fds((True, True, True))
        target = connection.take_fds((True,))[0] if request.log else -1
        try:
            with log.lent(target):
                handle = sandbox.exec(request.process, Stdio(*(fds or (-1, -1, -1))))
        finally:
            for fd in fds:
                os.close(fd)
        started = wire.encode(wire.Started(id=self._id, pid=handle.pid))
        connection.answer(b"I", started, (handle.console,) if terminal else ())
        # Nobody waits for what is told of it.
        told = self._supervised.note_exec_started(request.process.args)
        self._follow(connection, handle, told)

    def _transfer(self, connection: Connection, request: Transfer) -> None:
        access = _file_access(self._supervised.get_running())
        fds = connection.take_fds((True, True, True))
        try:
            handle = access.transfer(request, Stdio(*fds))
        finally:
            for fd in fds:
                os.close(fd)
        self._follow(connection, handle)
        connection.answer(b"I", wire.encode(wire.Started(id=self._id)))

    def _follow(self, connection: Connection, handle: ProcessHandle, told: str = "") -> None:
        self._processes[handle] = connection
        self._loop.add(handle.pidfd, READ, self._make_exit_callback(connection, handle, told))

    def _make_exit_callback(
        self, connection: Connection, handle: ProcessHandle, told: str
    ) -> Callable[[int], None]:
        def on_exit(_events: int) -> None:
            self._loop.remove(handle.pidfd)
            self._processes.pop(handle, None)
            code = handle.wait().code
            handle.close()
            connection.answer(b"X", b"%d" % code)
            if told:
                self._supervised.note_exec_ended(told, code)

        return on_exit


def _process_access(sandbox: Sandbox) -> ProcessAccess:
    """A sandbox whose processes only it can show.

    Raises:
        Unsupported: the host shows them.
    """
    if not hasattr(sandbox, "read_processes"):
        raise Unsupported("this container's processes are the host's own")
    return cast("ProcessAccess", sandbox)


def _file_access(sandbox: Sandbox) -> FileAccess:
    """A sandbox whose files only it can reach.

    Raises:
        Unsupported: the engine reaches them by itself.
    """
    if not hasattr(sandbox, "transfer"):
        raise Unsupported("this container's files are not behind another kernel")
    return cast("FileAccess", sandbox)


def _say_detached(connection: Connection) -> None:
    connection.answer(b"D")
    connection.close()
