"""A worker of the zygote: parked until a connection comes, then a command or a supervisor.

Life: forked by the zygote with everything imported; opens the database; blocks in accept(2). Taken
by a request it tells the zygote, acknowledges (``A``) and acts. What shall happen after the answer
was sent (tearing a container down, going on as the supervisor of a detached one) is queued with
:meth:`Worker.defer`, so that nobody waits for it. A worker whose container has come and gone parks
again: its memory is its own already, where a fresh fork would copy a page at each first write.
"""

from __future__ import annotations

import fcntl
import gc
import os
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

from proa import log
from proa.engine import berths
from proa.engine import context as contexts
from proa.engine.berths import Berth
from proa.engine.containers import run
from proa.engine.containers.wake import wake_here
from proa.engine.ipc import host, wire
from proa.engine.layout import Layout
from proa.engine.supervisor.streams import Attachment
from proa.errors import Forbidden, ProaError
from proa.linux import process
from proa.runtime.process import ProcessIsolation, drop_spare

RunCommand = Callable[[list[str]], int]

_SIGIO_SIGNALS = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT})


TAKEN = b"T"
RETURNED = b"R"
"""What a worker tells the zygote, followed by its pid in four bytes."""

DISMISSAL = signal.SIGRTMAX
"""What ends a parked worker. One that was just taken ignores it: the zygote may not know yet."""

_FAILED_WAKE_PAUSE_S = 1.0

_CALM_MS = 1
_RUNS_A_COLLECTION = 16
"""Cycles are few and small; looking for them after each run would cost more than it frees."""

MAX_RUNS = 200
"""A worker that ran so many containers makes room: what leaks, leaks little."""


class ZygoteEnds(NamedTuple):
    """The zygote and its ends of what workers share with it, as numbers in its descriptor table."""

    pid: int
    listener: int
    notify: int


class Worker:
    """One taken or parked worker; at most one a process."""

    def __init__(self, layout: Layout, run_command: RunCommand, zygote: ZygoteEnds) -> None:
        self.layout = layout
        self.peer: socket.socket | None = None
        self._run_command_line = run_command
        self._zygote = zygote
        self._deferred: list[Callable[[], object]] = []
        self._settled = False
        self._was_command = False
        self._runs = 0
        self._berth: Berth | None = None
        self._environment = dict(os.environb)

    def run(self) -> int:
        """Park and serve until this process has become something else; return its exit code."""
        try:
            return self._run()
        finally:
            self._drop_made()

    def _run(self) -> int:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        context = contexts.get(self.layout)
        listener, notify = self._zygote.listener, self._zygote.notify
        for _ in range(MAX_RUNS):
            request = self._await_request(context, listener, notify)
            if request is None:
                return 0
            self._settled = False
            self._serve(context, *request)
            if not self._settled:
                self._drop_made()
            for action in self._deferred:
                action()
            if not self._settled:
                return 0
            self._reset()
            ends = self._reach_zygote()
            if ends is None:
                return 0
            listener, notify = ends
            os.write(notify, RETURNED + os.getpid().to_bytes(4, "little"))
        return 0

    def settle(self) -> None:
        """This worker's container has come and gone: after the answer it may park again."""
        self._settled = True

    def take_berth(self) -> Berth | None:
        """Return the directory that was made ahead for a container, if there is one."""
        berth, self._berth = self._berth, None
        return berth

    def give_berth(self, berth: Berth) -> None:
        """Keep a directory for the next container."""
        if self._berth is not None:
            berths.discard(self._berth)
        self._berth = berth

    def _make_ahead(self) -> None:
        """Make what the next container needs of what can be made now."""
        if self._berth is None:
            self._berth = berths.prepare(self.layout)
        try:
            ProcessIsolation().keep_spare()
        except ProaError:
            pass  # who wants a container will be told

    def _drop_made(self) -> None:
        """Give up what was made ahead: this process will start no other container."""
        if self._berth is not None:
            berths.discard(self._berth)
            self._berth = None
        drop_spare()

    def _await_request(
        self, context: contexts.Context, listener: int, notify: int
    ) -> tuple[bytes, bytes, list[int]] | None:
        """Park, be taken, read and acknowledge; both descriptors are closed.

        A supervisor must not keep the listener: nobody would accept on it once the zygote is gone.
        Returns None when there is nothing to serve.
        """
        with socket.socket(fileno=listener) as sock:
            # The zygote's death takes parked workers along; one that is taken lives on.
            signal.signal(DISMISSAL, signal.SIG_DFL)
            process.set_pdeathsig(DISMISSAL)
            if os.getppid() != self._zygote.pid:
                return None
            context.warm()
            if not _is_wanted(sock):
                self._make_ahead()
            signal.signal(DISMISSAL, _leave)
            try:
                self.peer, _ = sock.accept()
            except SystemExit:
                return None
            signal.signal(DISMISSAL, signal.SIG_IGN)
            process.set_pdeathsig(0)
        host.current = self
        os.write(notify, TAKEN + os.getpid().to_bytes(4, "little"))
        os.close(notify)
        try:
            request = wire.receive(self.peer)
            if not request[0]:
                return None
            _check_peer(self.peer)
            wire.send(self.peer, b"A")
        except (OSError, ProaError):
            return None
        context.check()
        return request

    def _reset(self) -> None:
        """Become as good as new: nothing of one client may be seen by the next."""
        host.current = None
        self._deferred.clear()
        os.chdir("/")
        if self._was_command:
            self._was_command = False
            os.environ.clear()
            os.environb.update(self._environment)
        self._runs += 1
        if self._runs % _RUNS_A_COLLECTION == 0:
            gc.collect()
        gc.disable()

    def _reach_zygote(self) -> tuple[int, int] | None:
        """Get the shared descriptors anew, if the zygote still lives (pidfd_getfd(2))."""
        if os.getppid() != self._zygote.pid:
            return None
        try:
            pidfd = process.pidfd_open(self._zygote.pid)
        except OSError:
            return None
        try:
            listener = process.pidfd_getfd(pidfd, self._zygote.listener)
            return listener, process.pidfd_getfd(pidfd, self._zygote.notify)
        except OSError:
            return None
        finally:
            os.close(pidfd)

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
                self._settled = False
                if kind == b"H":
                    # A keeper asks again as soon as it is hung up on.
                    time.sleep(_FAILED_WAKE_PAUSE_S)
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
                detach=wanted.detach,
                attachment=Attachment.from_fds(wanted.fds, fds, job=wanted.job),
                detach_keys=wanted.detach_keys,
                on_started=self._tell_started,
            )  # fmt: skip
            return outcome.exit_code
        if kind == b"H":
            self._drop_made()
            wake_here(self, context, payload.decode("ascii", "replace"))
            return 0
        start = wire.decode_start(payload)
        with log.lent(fds.pop() if start.log and fds else -1):
            return run.start_here(
                self, context, start.id, detach=start.detach,
                attachment=Attachment.from_fds(start.fds, fds, job=start.job),
                detach_keys=start.detach_keys, on_started=self._tell_started,
            )  # fmt: skip

    def _tell_started(self, started: wire.Started) -> None:
        self.answer(b"I", wire.encode(started))

    def _run_command(self, payload: bytes, fds: list[int]) -> int:
        argv = _adopt_client(payload, fds)
        self._was_command = True
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


def _is_wanted(listener: socket.socket) -> bool:
    """Whether somebody asks now or in a moment: in a burst, making things ahead would delay all."""
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    return bool(poll.poll(_CALM_MS))


def _leave(_number: int, _frame: object) -> None:
    raise SystemExit(0)


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
