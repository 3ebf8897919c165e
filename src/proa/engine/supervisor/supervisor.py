"""The supervisor: one process that owns one container's life.

It creates the isolation, moves stdio, answers on the control socket, keeps time, records the end
and cleans up. While it lives it holds the lock on the container's directory and is the only writer
of the container's live state.

Order at the start, and what a SIGKILL between two steps leaves (the next command's recovery finds a
free lock):

1. lock ``containers/<id>``                   nothing
2. isolation: cgroup, namespaces, mounts      a cgroup; the init dies with its supervisor
3. control socket                             a socket nobody listens on
4. state *running* in the database            a record that says so

Order at the end: 5. the end in the database (a record that is to vanish is deleted), 6. the answer
to all who wait, 7. cgroup, control socket, files. Steps after 6 are nobody's waiting time.
"""

from __future__ import annotations

import os
import signal
import socket
import time

import msgspec

from proa.engine.compose.spec import compose_sandbox
from proa.engine.context import Context
from proa.engine.ipc import wire
from proa.engine.logs.driver import LogWriter
from proa.engine.logs.drivers import open_log_writer
from proa.engine.model import ContainerRecord, ContainerState, EventRecord, ProcessIdentity, Status
from proa.engine.supervisor.control import Connection, ControlSocket
from proa.engine.supervisor.loop import READ, Loop, Timer
from proa.engine.supervisor.restart import RestartClock
from proa.engine.supervisor.streams import Attachment, Input, Output, Sink, pipe
from proa.engine.supervisor.terminal import ClientTerminal
from proa.errors import CommandNotExecutable, CommandNotFound, Conflict, ProaError
from proa.fs import tree
from proa.image.model import Image
from proa.linux import procfs
from proa.oci.isolation import ExitStatus, Sandbox, Stdio
from proa.units import parse_signal

DEFAULT_STOP_TIMEOUT_S = 10.0


class Supervisor:
    """Runs one container in this process; see the module for the order of things."""

    def __init__(self, context: Context, record: ContainerRecord, image: Image, lock: int) -> None:
        """Take the container over.

        Args:
            context: the engine.
            record: as stored; its status allows a start.
            image: unpacked.
            lock: locked descriptor of the container's directory, closed at the end.
        """
        self._context = context
        self._record = record
        self._image = image
        self._lock = lock
        self._directory = context.layout.container(record.id)
        self._loop = Loop()
        self._sandbox: Sandbox | None = None
        self._control: ControlSocket | None = None
        self._outputs: list[Output] = []
        self._input: Input | None = None
        self._log: LogWriter | None = None
        self._connections: set[Connection] = set()
        self._waiting: list[Connection] = []
        self._attached: dict[Connection, list[Sink]] = {}
        self._kill_timer: Timer | None = None
        self._restart = RestartClock(record.config.restart)
        self._stopped_by_user = False
        self._end: ExitStatus | None = None
        self._client: Connection | None = None
        self._terminal: ClientTerminal | None = None

    def launch(self, attachment: Attachment) -> tuple[str, ...]:
        """Start the container's process and record that it runs.

        Args:
            attachment: the foreground client's descriptors, taken over.

        Returns:
            Warnings: what was asked for and this machine cannot do.

        Raises:
            CommandNotFound, CommandNotExecutable: the user's command cannot run; recorded.
            ProaError: the container cannot be built; recorded, nothing of it is left running.
        """
        try:
            self._log = open_log_writer(
                self._record.config.log,
                self._context.layout.log(self._record.id),
                labels=self._record.config.labels,
                env=self._record.config.env,
            )
            warnings = self._start_process(attachment)
            self._control = ControlSocket(
                self._loop, self._context.layout.control(self._record.id), self._on_connect
            )
            self._record_running()
        except BaseException as error:
            attachment.close()
            self._abandon(error)
            raise
        return warnings

    def serve_client(self, peer: socket.socket, terminal: ClientTerminal | None = None) -> None:
        """Treat the connection of the foreground client like an attached one from now on.

        Args:
            peer: its connection; given back by :meth:`run`.
            terminal: the user's terminal, followed in its size.
        """
        self._terminal = terminal
        if terminal is not None:
            self._on_client_signal(signal.SIGWINCH)
        self._client = Connection(
            self._loop, peer, self._on_request, self._on_client_signal, self._on_client_gone
        )

    def run(self) -> int:
        """Serve until the container has ended for good; record that and return its exit code."""
        self._loop.run()
        if self._client is not None and self._client.open:
            self._client.release()
        return self._end.code if self._end is not None else 0

    def tear_down(self) -> None:
        """Remove what the run needed. The container's record already says how it ended."""
        for connection in list(self._connections):
            connection.close()
        if self._sandbox is not None:
            self._sandbox.delete()
            self._sandbox = None
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._log is not None:
            self._log.close()
        if self._record.config.auto_remove:
            tree.remove_tree(self._directory)
        self._loop.close()
        os.close(self._lock)

    # -- start -------------------------------------------------------------------------------------

    def _start_process(self, attachment: Attachment) -> tuple[str, ...]:
        config = self._record.config
        sandbox_spec, warnings = compose_sandbox(self._context, self._record, self._image)
        isolation = self._context.isolation(config.isolation)
        if config.tty:
            self._sandbox = isolation.create(sandbox_spec, Stdio(-1, -1, -1), start=True)
            self._connect_terminal(self._sandbox.init.console)
            self._attach_first(attachment)
            self._loop.add(self._sandbox.init.pidfd, READ, self._on_exit)
            return warnings
        ours, theirs = self._make_pipes(open_stdin=config.open_stdin)
        try:
            self._sandbox = isolation.create(sandbox_spec, theirs, start=True)
        except BaseException:
            for fd in (ours.stdin, ours.stdout, ours.stderr):
                if fd >= 0:
                    os.close(fd)
            raise
        finally:
            for fd in (theirs.stdin, theirs.stdout, theirs.stderr):
                os.close(fd)
        self._connect_stdio(ours)
        self._attach_first(attachment)
        self._loop.add(self._sandbox.init.pidfd, READ, self._on_exit)
        return warnings

    @staticmethod
    def _make_pipes(*, open_stdin: bool) -> tuple[Stdio, Stdio]:
        if open_stdin:
            their_in, our_in = pipe()
        else:
            their_in, our_in = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC), -1
        our_out, their_out = pipe()
        our_err, their_err = pipe()
        return Stdio(our_in, our_out, our_err), Stdio(their_in, their_out, their_err)

    def _connect_stdio(self, ours: Stdio) -> None:
        assert self._log is not None
        self._outputs = [
            Output(self._loop, ours.stdout, "stdout", self._log),
            Output(self._loop, ours.stderr, "stderr", self._log),
        ]
        if ours.stdin >= 0:
            self._input = Input(self._loop, ours.stdin, once=True)

    def _connect_terminal(self, console: int) -> None:
        """A terminal is one stream: both directions are the pty's master side."""
        assert self._log is not None
        self._outputs = [Output(self._loop, os.dup(console), "stdout", self._log)]
        if self._record.config.open_stdin:
            self._input = Input(self._loop, os.dup(console), once=False)

    def _attach_first(self, attachment: Attachment) -> None:
        """Attach the client that started the container; its pipeline is the container's."""
        for sink, output in self._make_sinks(attachment):
            output.attach(sink, leader=True)

    def _make_sinks(self, attachment: Attachment) -> list[tuple[Sink, Output]]:
        """Take an attachment over: stdin at once, a sink for each output that is there.

        A terminal has no stderr of its own: that descriptor is closed.
        """
        sinks = []
        descriptors = (attachment.stdout, attachment.stderr)
        for at, fd in enumerate(descriptors):
            if fd < 0:
                continue
            if at < len(self._outputs):
                sinks.append((Sink(self._loop, fd, self._review), self._outputs[at]))
            else:
                os.close(fd)
        if attachment.stdin >= 0:
            if self._input is not None:
                self._input.attach(attachment.stdin)
            else:
                os.close(attachment.stdin)
        return sinks

    def _record_running(self) -> None:
        assert self._sandbox is not None
        boot_id = procfs.read_boot_id()
        pid = self._sandbox.init.pid
        try:
            init = ProcessIdentity(pid, procfs.read_start_ticks(pid), boot_id)
        except OSError:
            init = ProcessIdentity(pid, 0, boot_id)
        self._set_state(
            ContainerState(
                status="running",
                init=init,
                supervisor=ProcessIdentity(
                    os.getpid(), procfs.read_start_ticks(os.getpid()), boot_id
                ),
                started_at_ns=time.time_ns(),
                restart_count=self._restart.count,
            ),
            "start",
        )

    def _abandon(self, error: BaseException) -> None:
        """Leave a container that could not start as Docker does: created, with the reason."""
        for output in self._outputs:
            output.close()
        if self._input is not None:
            self._input.close()
        if self._record.config.auto_remove:
            self._forget()
        else:
            code = exit_code_of(error)
            state = self._record.state
            status: Status = "created" if state.started_at_ns == 0 else "exited"
            try:
                self._set_state(
                    msgspec.structs.replace(
                        state, status=status, exit_code=code, error=str(error), restart_count=0
                    )
                )
            except ProaError:
                pass
        self.tear_down()

    # -- end ---------------------------------------------------------------------------------------

    def _on_exit(self, _events: int) -> None:
        assert self._sandbox is not None
        self._loop.remove(self._sandbox.init.pidfd)
        end = self._sandbox.init.wait()
        if self._kill_timer is not None:
            self._kill_timer.cancel()
            self._kill_timer = None
        for output in self._outputs:
            output.drain()
        if self._input is not None:
            self._input.close()
        if self._log is not None:
            self._log.flush(time.time_ns())
        self._end = end
        self._finish_when_settled()

    def _finish_when_settled(self) -> None:
        """Go on once attached readers have everything; who hangs up is not waited for."""
        if self._end is None or not all(output.settled for output in self._outputs):
            return
        end = self._end
        delay_s = None
        if not self._stopped_by_user:
            delay_s = self._restart.delay_after(end.code)
        if delay_s is None:
            self._record_end(end)
            return
        self._set_state(self._ended_state("restarting", end), "die", exitCode=str(end.code))
        self._loop.call_later(delay_s, self._relaunch)

    def _relaunch(self) -> None:
        if self._stopped_by_user or self._sandbox is None:
            return
        for output in self._outputs:
            output.close()
        self._sandbox.delete()
        self._sandbox = None
        self._end = None
        try:
            self._start_process(Attachment())
            self._record_running()
        except ProaError as error:
            self._end = ExitStatus(code=exit_code_of(error))
            self._set_state(
                msgspec.structs.replace(self._ended_state("exited", self._end), error=str(error))
            )
            self._tell_end(self._end.code)

    def _record_end(self, end: ExitStatus) -> None:
        if end.oom_killed:
            self._append_event("oom")
        if self._record.config.auto_remove:
            self._forget("die", exitCode=str(end.code))
        else:
            self._set_state(self._ended_state("exited", end), "die", exitCode=str(end.code))
        self._tell_end(end.code)

    def _ended_state(self, status: Status, end: ExitStatus) -> ContainerState:
        return msgspec.structs.replace(
            self._record.state,
            status=status,
            init=ProcessIdentity(),
            exit_code=end.code,
            oom_killed=end.oom_killed,
            finished_at_ns=time.time_ns(),
            restart_count=self._restart.count,
            stopped_by_user=self._stopped_by_user,
        )

    def _tell_end(self, code: int) -> None:
        for connection in (*self._waiting, *self._attached):
            connection.answer(b"X", b"%d" % code)
        self._waiting.clear()
        for output in self._outputs:
            output.close()
        self._loop.stop()

    # -- records -----------------------------------------------------------------------------------

    def _set_state(self, state: ContainerState, action: str = "", **attributes: str) -> None:
        events = [self._event(action, attributes)] if action else []
        self._context.state.containers.update_state(
            self._record.id, state, events, durable=not self._record.config.auto_remove
        )
        self._record = msgspec.structs.replace(self._record, state=state)

    def _forget(self, action: str = "", **attributes: str) -> None:
        events = [self._event(action, attributes)] if action else []
        events.append(self._event("destroy", {}))
        self._context.state.containers.delete(self._record.id, events, durable=False)

    def _append_event(self, action: str) -> None:
        self._context.state.events.append(self._event(action, {}), durable=False)

    def _event(self, action: str, attributes: dict[str, str]) -> EventRecord:
        return EventRecord(
            sequence=0,
            time_ns=time.time_ns(),
            type="container",
            action=action,
            actor_id=self._record.id,
            attributes={
                "image": self._record.config.image,
                "name": self._record.name,
                **attributes,
            },
        )

    # -- clients -----------------------------------------------------------------------------------

    def _on_connect(self, peer: socket.socket) -> None:
        self._connections.add(
            Connection(self._loop, peer, self._on_request, self._signal_init, self._on_gone)
        )

    def _on_gone(self, connection: Connection) -> None:
        self._connections.discard(connection)
        if connection in self._waiting:
            self._waiting.remove(connection)
        for sink in self._attached.pop(connection, ()):
            for output in self._outputs:
                output.detach(sink)

    def _on_client_signal(self, number: int) -> None:
        if number != signal.SIGWINCH:
            self._signal_init(number)
        elif self._terminal is not None and self._sandbox is not None and self._end is None:
            rows, columns = self._terminal.size()
            self._sandbox.init.resize(rows, columns)

    def _on_client_gone(self, _connection: Connection) -> None:
        """The foreground client was killed: its terminal and pipes are no longer ours to hold."""
        for output in self._outputs:
            output.abandon_readers()
        if self._input is not None:
            self._input.detach()

    def _on_request(self, connection: Connection, request: wire.ControlRequest) -> None:
        match request:
            case wire.Ping():
                connection.answer(b"O")
            case wire.Wait():
                self._waiting.append(connection)
            case wire.Signal(number=number):
                self._require_running()
                self._signal_init(number)
                self._append_event("kill")
                connection.answer(b"O")
            case wire.Stop():
                self._stop(connection, request)
            case wire.Attach():
                self._attach(connection, request)

    def _require_running(self) -> None:
        if self._end is not None or self._sandbox is None:
            raise Conflict(f"container {self._record.id[:12]} is not running")

    def _signal_init(self, number: int) -> None:
        if self._sandbox is not None and self._end is None:
            self._sandbox.init.signal(number)

    def _stop(self, connection: Connection, request: wire.Stop) -> None:
        self._stopped_by_user = True
        self._waiting.append(connection)
        if self._end is not None:
            # Between two runs of a restart policy: there is nothing left to stop.
            self._record_end(self._end)
            return
        number = request.number or parse_signal(
            self._record.config.stop_signal or self._image.config.config.stop_signal or "SIGTERM"
        )
        timeout_s = request.timeout_s
        if timeout_s is None:
            configured = self._record.config.stop_timeout_s
            timeout_s = DEFAULT_STOP_TIMEOUT_S if configured is None else float(configured)
        self._signal_init(number)
        if timeout_s >= 0 and self._kill_timer is None:
            self._kill_timer = self._loop.call_later(
                timeout_s, lambda: self._signal_init(signal.SIGKILL)
            )

    def _attach(self, connection: Connection, request: wire.Attach) -> None:
        self._require_running()
        attachment = Attachment.from_fds(request.fds, connection.take_fds(request.fds))
        sinks = self._make_sinks(attachment)
        for sink, output in sinks:
            output.attach(sink)
        self._attached[connection] = [sink for sink, _ in sinks]
        connection.answer(b"O")

    def _review(self) -> None:
        for output in self._outputs:
            output.review()
        self._finish_when_settled()


def exit_code_of(error: BaseException) -> int:
    """Docker's exit code for a container that could not start."""
    if isinstance(error, CommandNotFound):
        return 127
    if isinstance(error, CommandNotExecutable):
        return 126
    return 125
