"""A worker of the zygote: parked until a connection comes, then a command or a supervisor.

Life: forked by the zygote with everything imported; opens the database; blocks in accept(2). Taken
by a request it tells the zygote, acknowledges (``A``) and acts. What shall happen after the answer
was sent (tearing a container down, going on as the supervisor of a detached one) is queued with
:meth:`Worker.defer`, so that nobody waits for it.
"""

from __future__ import annotations

import fcntl
import gc
import os
import signal
import socket
import struct
import sys
from collections.abc import Callable

from proa.engine import context as contexts
from proa.engine.containers import run
from proa.engine.ipc import host, wire
from proa.engine.layout import Layout
from proa.engine.supervisor.streams import Attachment
from proa.errors import Forbidden, ProaError
from proa.linux import process

RunCommand = Callable[[list[str]], int]

_SIGIO_SIGNALS = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT})


class Worker:
    """One taken or parked worker; at most one a process."""

    def __init__(self, layout: Layout, run_command: RunCommand, zygote: int) -> None:
        self.layout = layout
        self.peer: socket.socket | None = None
        self._run_command_line = run_command
        self._zygote = zygote
        self._deferred: list[Callable[[], object]] = []

    def run(self, listener: socket.socket, taken_w: int) -> int:
        """Park, serve one request, do what was deferred; return the process' exit code.

        Args:
            listener: the zygote's socket.
            taken_w: pipe that tells the zygote (this process' pid, four bytes) of the taking.
        """
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        # The zygote's death takes parked workers along; one that is taken lives on.
        process.set_pdeathsig(signal.SIGTERM)
        if os.getppid() != self._zygote:
            return 0
        context = contexts.get(self.layout)
        context.warm()
        try:
            peer, _ = listener.accept()
        except OSError:
            return 0
        process.set_pdeathsig(0)
        host.current = self
        self.peer = peer
        os.write(taken_w, os.getpid().to_bytes(4, "little"))
        os.close(taken_w)
        listener.close()
        try:
            kind, payload, fds = wire.receive(peer)
        except (OSError, ProaError):
            return 0
        if not kind:
            return 0
        try:
            _check_peer(peer)
            wire.send(peer, b"A")
        except OSError:
            return 0
        context.check()
        self._serve(context, kind, payload, fds)
        for action in self._deferred:
            action()
        return 0

    def defer(self, action: Callable[[], object]) -> None:
        """Run ``action`` once the answer is out."""
        self._deferred.append(action)

    def answer(self, kind: bytes, payload: bytes) -> None:
        """Answer the client, if it is still there."""
        if self.peer is not None:
            try:
                wire.send(self.peer, kind, payload)
            except OSError:
                pass

    def hang_up(self) -> None:
        """Close the connection and every descriptor of the client."""
        if self.peer is not None:
            self.peer.close()
            self.peer = None
        null = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        os.close(null)

    def _serve(
        self, context: contexts.Context, kind: bytes, payload: bytes, fds: list[int]
    ) -> None:
        if kind == b"C":
            code = self._run_command(payload, fds)
            self.answer(b"X", b"%d" % code)
        else:
            try:
                code = self._run_library_request(context, kind, payload, fds)
            except BaseException as error:  # noqa: BLE001 - the other process gets it
                self.answer(b"E", wire.encode(wire.failure_of(error)))
            else:
                self.answer(b"X", b"%d" % code)
        self.hang_up()

    def _run_library_request(
        self, context: contexts.Context, kind: bytes, payload: bytes, fds: list[int]
    ) -> int:
        if kind == b"R":
            wanted = wire.decode_run(payload)
            outcome = run.run_here(
                self, context, wanted.config, name=wanted.name, pull=wanted.pull,
                detach=wanted.detach, attachment=Attachment.from_fds(wanted.fds, fds),
                detach_keys=wanted.detach_keys,
                on_started=self._tell_started,
            )  # fmt: skip
            return outcome.exit_code
        start = wire.decode_start(payload)
        return run.start_here(
            self, context, start.id, detach=start.detach,
            attachment=Attachment.from_fds(start.fds, fds),
            detach_keys=start.detach_keys, on_started=self._tell_started,
        )  # fmt: skip

    def _tell_started(self, started: wire.Started) -> None:
        self.answer(b"I", wire.encode(started))

    def _run_command(self, payload: bytes, fds: list[int]) -> int:
        argv = _adopt_client(payload, fds)
        if self.peer is not None:
            _interrupt_on_input(self.peer)
        gc.enable()
        try:
            code = self._run_command_line(argv)
            sys.stdout.flush()
        except KeyboardInterrupt:
            code = 130
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 1
        except BrokenPipeError:
            code = 128 + signal.SIGPIPE
        finally:
            signal.signal(signal.SIGIO, signal.SIG_IGN)
        return code


def _check_peer(peer: socket.socket) -> None:
    """The directory is 0700 already; a descriptor passed on must not widen that."""
    credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    uid = struct.unpack("iII", credentials)[1]
    if uid not in (0, os.geteuid()):
        raise Forbidden(f"user {uid} may not use the engine of user {os.geteuid()}")


def _adopt_client(payload: bytes, fds: list[int]) -> list[str]:
    """Take on the client's descriptors, directory and environment; return its argument vector."""
    argc, envc, *words = payload.split(b"\0")
    count, variables = int(argc), int(envc)
    argv = [os.fsdecode(word) for word in words[:count]]
    os.environ.clear()
    for entry in words[count : count + variables]:
        name, _, value = entry.partition(b"=")
        if name:
            os.environb[name] = value
    for number, fd in enumerate(fds[:3]):
        os.dup2(fd, number)
    os.fchdir(fds[3])
    for fd in fds:
        os.close(fd)
    # They live as long as the process.
    sys.stdin = open(0, encoding="utf-8", errors="surrogateescape", closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding="utf-8", errors="surrogateescape", closefd=False)  # noqa: SIM115
    sys.stderr = open(  # noqa: SIM115
        2, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False
    )
    return argv


def _interrupt_on_input(peer: socket.socket) -> None:
    """Let a signal of the client, or its end, interrupt the command like a signal of its own.

    The kernel sends SIGIO when the socket becomes readable (fcntl(2), F_SETOWN and O_ASYNC); no
    thread and no polling. A supervisor's loop takes the socket over with ``host.release_input``.
    """
    signal.signal(signal.SIGIO, lambda _number, _frame: _on_client_input(peer))
    fcntl.fcntl(peer.fileno(), fcntl.F_SETOWN, os.getpid())
    flags = fcntl.fcntl(peer.fileno(), fcntl.F_GETFL)
    fcntl.fcntl(peer.fileno(), fcntl.F_SETFL, flags | os.O_ASYNC)


def _on_client_input(peer: socket.socket) -> None:
    try:
        head = peer.recv(64, socket.MSG_DONTWAIT | socket.MSG_PEEK)
    except BlockingIOError:
        return
    except OSError:
        head = b""
    if not head:
        raise SystemExit(128 + signal.SIGHUP)
    kind, payload, _ = wire.receive(peer)
    if kind == b"K" and payload.isdigit():
        number = int(payload)
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        if number in _SIGIO_SIGNALS:
            raise SystemExit(128 + number)
