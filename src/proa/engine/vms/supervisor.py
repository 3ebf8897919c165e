"""The supervisor of one machine: it owns QEMU, drains the console, and answers on a socket.

Order at the start, and what a SIGKILL between two steps leaves:

1. lock ``vms/<id>``          nothing
2. QEMU                       it dies with its supervisor
3. socket                     a socket nobody listens on
4. state *running*            a record that says so; the free lock tells

At the end: QEMU is reaped, the end is recorded, whoever waits is answered, the socket goes.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from proa.engine.context import Context
from proa.engine.layout import SocketPath
from proa.engine.supervisor.loop import READ, Loop, Timer
from proa.engine.vmmodel import VmRecord, VmState
from proa.engine.vms.compose import compose_machine
from proa.engine.vms.console import ConsoleHub
from proa.engine.vms.groups import make_group
from proa.engine.vms.jobs import SnapshotJobs
from proa.engine.vms.protocol import Answer, Request, receive_line
from proa.errors import Conflict, ProaError, from_os_error
from proa.vm.accel import choose_accelerator
from proa.vm.kernel import find_kernel
from proa.vm.qemu.argv import build_command
from proa.vm.qemu.machine import Inherited
from proa.vm.qemu.process import Confinement, Qemu, spawn
from proa.vm.qemu.qmp import Qmp

if TYPE_CHECKING:
    from proa.cgroups.cgroup import Cgroup

_REQUEST_TIMEOUT_S = 2.0
_END_TIMEOUT_S = 1.0
"""How long QEMU may take to end after it closed its monitor."""
_BACKLOG = 16


class VmSupervisor:
    """Runs one machine in this process."""

    def __init__(self, context: Context, record: VmRecord, lock: int) -> None:
        """Take a machine over.

        Args:
            context: the engine.
            record: as stored; it does not run.
            lock: locked descriptor of the machine's directory.
        """
        self._context = context
        self._record = record
        self._state = record.state
        self._directory = context.layout.vm(record.id)
        self._path = context.layout.vm_control(record.id)
        self._lock = lock
        self._loop = Loop()
        self._qemu: Qemu | None = None
        self._qmp: Qmp | None = None
        self._cgroup: Cgroup | None = None
        self._listener: socket.socket | None = None
        self._console: ConsoleHub | None = None
        self._jobs: SnapshotJobs | None = None
        self._waiting: list[socket.socket] = []
        self._kill_timer: Timer | None = None
        self._how = ""

    def launch(self) -> str:
        """Start QEMU, open the socket, record that the machine runs; return a warning or nothing.

        Raises:
            ProaError: it cannot be started; nothing of it is left running.
        """
        config = self._record.config
        acceleration = choose_accelerator(
            self._context.layout.root, find_kernel(self._context.layout.root), config.accelerator
        )
        machine = compose_machine(self._record, self._directory, acceleration)
        ours, theirs = socket.socketpair()
        monitor, qmp = socket.socketpair()
        try:
            machine = msgspec.structs.replace(
                machine, console=Inherited(theirs.fileno()), qmp=Inherited(qmp.fileno())
            )
            self._cgroup = make_group(self._record.id, config.memory_bytes)
            self._qemu = spawn(build_command(machine), self._confinement(acceleration.accelerator))
            self._qmp = Qmp(monitor)
        except BaseException:
            ours.close()
            monitor.close()
            self.tear_down()
            raise
        finally:
            theirs.close()
            qmp.close()
        try:
            self._join_cgroup()
            self._check_qemu()
            self._console = ConsoleHub(self._loop, ours, f"{self._directory}/console.log")
            self._jobs = SnapshotJobs(self._qmp, len(config.disks))
            self._loop.add(self._qemu.pidfd, READ, lambda _: self._on_qemu_end())
            self._loop.add(self._qmp.fileno(), READ, lambda _: self._on_qmp())
            self._listen()
        except BaseException:
            self.tear_down()
            raise
        self._set_state(
            VmState(
                status="running",
                qemu_pid=self._qemu.pid,
                accelerator=acceleration.accelerator,
                reason=acceleration.reason,
                started_at_ns=time.time_ns(),
            )
        )
        return acceleration.warning

    def run(self) -> None:
        """Serve until QEMU has ended; record how."""
        self._loop.run()

    def tear_down(self) -> None:
        """Remove what the run needed, answer whoever waits. Idempotent."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
            try:
                os.unlink(self._path)
            except FileNotFoundError:
                pass
        if self._qemu is not None:
            self._qemu.close()
        if self._cgroup is not None:
            self._cgroup.delete()
            self._cgroup = None
        if self._console is not None:
            self._console.close()
        if self._qmp is not None:
            self._qmp.close()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1
        for client in self._waiting:
            _answer(client, Answer())
            client.close()
        self._waiting.clear()

    # -- start -------------------------------------------------------------------------------------

    def _confinement(self, accelerator: str) -> Confinement:
        return Confinement(
            uid=self._record.uid if os.geteuid() == 0 else 0,
            cgroup_fds=self._cgroup.join_fds() if self._cgroup is not None else (),
            network="host" if self._record.config.network == "user" else "none",
            kvm=accelerator == "kvm",
        )

    def _join_cgroup(self) -> None:
        """Version 2 has no descriptors to join by: QEMU is moved before its guest runs far."""
        if self._cgroup is not None and self._qemu is not None and not self._cgroup.join_fds():
            self._cgroup.add(self._qemu.pid)

    def _check_qemu(self) -> None:
        """Wait for the monitor: QEMU has then taken its arguments and opened its files.

        Raises:
            Unavailable: QEMU refused them; the message has its words.
        """
        assert self._qemu is not None  # it was just started
        assert self._qmp is not None
        try:
            self._qmp.execute("query-status")
        except ProaError:
            self._qemu.kill()
            self._qemu.wait()
            raise self._qemu.failure(f"start machine {self._record.name}") from None

    def _listen(self) -> None:
        try:
            os.makedirs(os.path.dirname(self._path), mode=0o700, exist_ok=True)
            try:
                os.unlink(self._path)
            except FileNotFoundError:
                pass
            self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
            with SocketPath(self._path) as path:
                self._listener.bind(path)
            self._listener.listen(_BACKLOG)
        except OSError as error:
            raise from_os_error(error, f"cannot listen on {self._path}") from error
        self._loop.add(self._listener.fileno(), READ, lambda _: self._on_client())

    # -- events ------------------------------------------------------------------------------------

    def _on_client(self) -> None:
        assert self._listener is not None  # its own callback
        client, _ = self._listener.accept()
        # The directory is the engine's own; a request is one short line that was sent at once.
        client.settimeout(_REQUEST_TIMEOUT_S)
        try:
            request = msgspec.json.decode(receive_line(client), type=Request)
        except (OSError, ProaError, msgspec.MsgspecError):
            client.close()
            return
        try:
            self._serve(client, request)
        except ProaError as error:
            answer = Answer(kind=error.kind, message=error.message, hint=error.hint)
            _answer(client, answer)
            client.close()
        # Events that came with an answer make the monitor's socket readable no more.
        self._on_qmp()

    def _serve(self, client: socket.socket, request: Request) -> None:
        assert self._console is not None  # there is a listener
        assert self._jobs is not None
        if request.op == "console":
            _answer(client, Answer())
            self._console.attach(client)
        elif request.op == "stop":
            self._waiting.append(client)
            self._stop(request.timeout_s)
        elif request.op == "snapshots":
            _answer(client, Answer(names=self._jobs.list()))
            client.close()
        else:
            self._jobs.start(request.op, request.name, lambda answer: _finish(client, answer))

    def _stop(self, timeout_s: float) -> None:
        assert self._qmp is not None
        if timeout_s > 0:
            self._how = self._how or "stopped"
            self._qmp.execute("system_powerdown", timeout_s=_REQUEST_TIMEOUT_S)
            if self._kill_timer is None:
                self._kill_timer = self._loop.call_later(timeout_s, self._kill)
        else:
            self._kill()

    def _kill(self) -> None:
        self._how = "killed"
        if self._qemu is not None:
            self._qemu.kill()

    def _on_qmp(self) -> None:
        assert self._qmp is not None
        try:
            # An answer read on behalf of an event may have had further events before it.
            while events := self._qmp.receive_events():
                for event in events:
                    self._on_event(event)
        except ProaError:
            # Its process is ending, or it speaks something else than the protocol: it is then not
            # what was started any more.
            self._loop.remove(self._qmp.fileno())
            self._loop.call_later(_END_TIMEOUT_S, self._put_down)

    def _on_event(self, event: Mapping[str, Any]) -> None:
        assert self._jobs is not None  # it was made before the monitor was listened to
        data = event.get("data")
        if not isinstance(data, dict):
            data = {}
        if event["event"] == "SHUTDOWN" and not self._how:
            self._how = "shutdown" if data.get("guest") is True else "failed"
        elif event["event"] == "JOB_STATUS_CHANGE":
            self._jobs.advance(data)

    def _put_down(self) -> None:
        if self._qemu is not None:
            self._qemu.kill()

    def _on_qemu_end(self) -> None:
        assert self._qemu is not None
        # What it said last may still be in the sockets.
        if self._qmp is not None and self._qmp.fileno() in self._loop.watched:
            self._on_qmp()
        if self._console is not None:
            self._console.drain()
        code, number = self._qemu.wait()
        how = self._how or "failed"
        clean = (code, number) == (0, 0) or how == "killed"
        error = "" if clean else self._qemu.failure("go on").message
        self._set_state(
            msgspec.structs.replace(
                self._state,
                status="exited",
                qemu_pid=0,
                finished_at_ns=time.time_ns(),
                how=how if clean else "failed",
                error=error,
            )
        )
        self._loop.stop()

    def _set_state(self, state: VmState) -> None:
        self._state = state
        self._context.state.virtual_machines.set_state(self._record.id, state)


def _finish(client: socket.socket, answer: Answer) -> None:
    _answer(client, answer)
    client.close()


def _answer(client: socket.socket, answer: Answer) -> None:
    try:
        client.sendall(msgspec.json.encode(answer) + b"\n")
    except OSError:
        pass


def take(context: Context, record: VmRecord) -> VmSupervisor:
    """Become the supervisor of a machine.

    Raises:
        Conflict: it has one.
    """
    from proa.fs.lock import try_acquire

    lock = try_acquire(context.layout.vm(record.id))
    if lock is None:
        raise Conflict(f"machine {record.name} is running")
    fd, lock.fd = lock.fd, -1
    return VmSupervisor(context, record, fd)
