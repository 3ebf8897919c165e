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
from collections.abc import Sequence
from typing import TYPE_CHECKING

from proa.engine import berths, volumes
from proa.engine.compose.resources import compose_resources
from proa.engine.compose.spec import compose_sandbox
from proa.engine.config import ContainerUpdate
from proa.engine.context import Context
from proa.engine.ipc import host
from proa.engine.logs.driver import LogWriter
from proa.engine.logs.drivers import open_log_writer
from proa.engine.logs.none import NullWriter
from proa.engine.model import ContainerRecord, Health
from proa.engine.supervisor.clients import Clients
from proa.engine.supervisor.journal import Journal, exit_code_of
from proa.engine.supervisor.loop import READ, Loop, Timer
from proa.engine.supervisor.network import ContainerNetwork
from proa.engine.supervisor.restart import RestartClock
from proa.engine.supervisor.stdio import NO_STDIO, ContainerStdio
from proa.engine.supervisor.streams import Attachment
from proa.engine.supervisor.terminal import ClientTerminal, fit_terminal
from proa.errors import Conflict, Exhausted, ProaError
from proa.image.model import Image
from proa.oci.isolation import ExitStatus, Sandbox
from proa.units import parse_signal

if TYPE_CHECKING:
    from proa.engine.supervisor.health import HealthMonitor

DEFAULT_STOP_TIMEOUT_S = 10.0

FULL_DISK_PAUSE_S = 1.0

BRIEF_S = 0.001
"""How long a container that leaves nothing may run before anybody is told."""


class Supervisor:
    """Runs one container in this process; see the module for the order of things."""

    stdio: ContainerStdio
    """The streams of the current run."""

    def __init__(self, context: Context, record: ContainerRecord, image: Image, lock: int) -> None:
        """Take the container over.

        Args:
            context: the engine.
            record: as stored; its status allows a start.
            image: unpacked.
            lock: locked descriptor of the container's directory, closed at the end.
        """
        self._context = context
        self._config = record.config
        self._image = image
        self._lock = lock
        self._journal = Journal(context, record)
        self._loop = Loop()
        self._clients = Clients(self._loop, self, record.id)
        self._network = ContainerNetwork(context, record, image, self._loop)
        self._log: LogWriter = NullWriter()
        self.stdio = self._new_stdio()
        self._sandbox: Sandbox | None = None
        self._restart = RestartClock(record.config.restart)
        self._kill_timer: Timer | None = None
        self._stopped_by_user = False
        self._restart_wanted = False
        self._relaunch_timer: Timer | None = None
        self._announce_timer: Timer | None = None
        self._health: HealthMonitor | None = None
        self._end: ExitStatus | None = None
        self._detached = False
        self._sig_proxy = True
        self.client_code = 0

    # -- the owner's side --------------------------------------------------------------------------

    def launch(
        self, attachment: Attachment, detach_keys: str = "", *, leads: bool = True
    ) -> tuple[str, ...]:
        """Start the container's process and record that it runs.

        Args:
            attachment: a client's descriptors, taken over.
            detach_keys: the keys that let it go, in Docker's words.
            leads: the container is in that client's foreground; otherwise the client only looks on
                from the first byte.

        Returns:
            Warnings: what was asked for and this machine cannot do.

        Raises:
            CommandNotFound, CommandNotExecutable: the user's command cannot run; recorded.
            ProaError: the container cannot be built; recorded, nothing of it is left running.
        """
        try:
            self._sig_proxy = attachment.sig_proxy
            self._open_log()
            warnings = self._start_process(attachment.stdin)
            sinks = self.stdio.attach(
                attachment,
                leader=leads,
                detach_keys=detach_keys,
                on_detach=self.let_client_go if leads else lambda: self.stdio.detach(sinks),
            )
            brief = leads and self._may_be_brief(attachment)
            attachment = Attachment()
            if brief:
                self._announce_timer = self._loop.call_later(BRIEF_S, self._announce)
            else:
                self._announce()
        except BaseException as error:
            attachment.close()
            self.stdio.close()
            self._journal.not_started(error)
            self.tear_down()
            raise
        return warnings

    def serve_client(self, peer: socket.socket, terminal: ClientTerminal | None = None) -> None:
        """Listen to the foreground client's signals too, and follow its terminal's size."""
        self._clients.adopt(peer, terminal, sig_proxy=self._sig_proxy)

    def run(self) -> int | None:
        """Serve until the container has ended for good; record that and return its exit code.

        Returns None when the foreground client was let go, with :attr:`client_code` as its own exit
        code: call it again to go on without it.
        """
        self._detached = False
        self._loop.run()
        self._clients.release()
        if self._detached:
            return None
        return self._end.code if self._end is not None else 0

    def tear_down(self) -> None:
        """Remove what the run needed. The container's record already says how it ended."""
        self._clients.close()
        if self._sandbox is not None:
            self._sandbox.delete()
            self._sandbox = None
        self._network.close()
        self._log.close()
        if self._config.auto_remove:
            volumes.remove_anonymous(self._context, self._journal.record)
            self._give_directory_back()
        self._loop.close()
        if self._lock >= 0:
            os.close(self._lock)

    def _give_directory_back(self) -> None:
        layout = self._context.layout
        berth = berths.vacate(layout, layout.container(self._journal.record.id), self._lock)
        if berth is None:
            return
        self._lock = -1
        if host.current is not None:
            host.current.give_berth(berth)
        else:
            berths.discard(berth)

    # -- the clients' side (clients.Supervised) ----------------------------------------------------

    def get_running(self) -> Sandbox:
        """Return the sandbox.

        Raises:
            Conflict: the container is not running.
        """
        if self._end is not None or self._sandbox is None:
            raise Conflict(f"container {self._short_id} is not running")
        return self._sandbox

    def signal(self, number: int) -> None:
        """Signal the container's init, if there is one."""
        if self._sandbox is not None and self._end is None:
            self._sandbox.init.signal(number)

    def stop(self, number: int, timeout_s: float | None) -> None:
        """Begin to stop the container for good: a signal, then SIGKILL after the timeout."""
        self._stopped_by_user = True
        self._restart_wanted = False
        if self._end is not None:
            # Between two runs of a restart policy: there is nothing left to stop.
            self._finish(self._end)
            return
        self._ask_to_end(number, timeout_s)

    def restart(self, number: int, timeout_s: float | None) -> None:
        """Begin to stop the container as :meth:`stop` does, and to start it again."""
        if self._stopped_by_user:
            raise Conflict(f"container {self._short_id} is being stopped")
        self._restart_wanted = True
        if self._end is None:
            self._ask_to_end(number, timeout_s)
        elif self._relaunch_timer is not None:
            self._relaunch_timer.cancel()
            self._relaunch()

    def update(self, changes: ContainerUpdate) -> None:
        """Change what ``update`` can: first in the kernel, then in the record.

        Raises:
            Invalid: the new limits contradict each other.
            Conflict: a host port is in use; nothing has changed.
            ProaError: the kernel refused one; the record is unchanged.
        """
        from proa.engine.compose.changes import changes_network, updated

        config = updated(self._config, changes)
        if (changes.mount_add or changes.mount_rm) and self._end is None:
            from proa.engine.supervisor import remount

            remount.apply(self.get_running(), self._context.layout.volumes, self._config, changes)
        if changes_network(self._config, config):
            try:
                self._network.synchronize(config)
            except BaseException:
                self._network.synchronize(self._config)
                raise
        if config.resources != self._config.resources and self._end is None:
            self.get_running().update(compose_resources(config.resources))
        self._journal.reconfigured(config)
        self._restart.change(config.restart)
        self._config = config

    def rename(self, name: str) -> None:
        """Give the container another name."""
        self._journal.renamed(name)

    def synchronize_network(self) -> None:
        """Make the live network what the records say now.

        Raises:
            Conflict: an address or a host port is in use.
        """
        self._network.synchronize(self._config)

    def _ask_to_end(self, number: int, timeout_s: float | None) -> None:
        image_signal = self._image.config.config.stop_signal
        number = number or parse_signal(self._config.stop_signal or image_signal or "SIGTERM")
        self._journal.event("kill", signal=str(number))
        self.signal(number)
        self._thaw()
        if timeout_s is None:
            configured = self._config.stop_timeout_s
            timeout_s = DEFAULT_STOP_TIMEOUT_S if configured is None else float(configured)
        if timeout_s >= 0 and self._kill_timer is None:
            self._kill_timer = self._loop.call_later(timeout_s, self._end_by_force)

    def _end_by_force(self) -> None:
        self._journal.event("kill", signal=str(int(signal.SIGKILL)))
        self.signal(signal.SIGKILL)

    def _thaw(self) -> None:
        """Let a frozen container get the signal that shall end it."""
        if self._journal.status == "paused" and self._sandbox is not None:
            self._sandbox.resume()

    def pause(self) -> None:
        """Freeze the container.

        Raises:
            Conflict: it is paused, or not running.
        """
        sandbox = self.get_running()
        if self._journal.status == "paused":
            raise Conflict(f"container {self._short_id} is already paused")
        sandbox.pause()
        self._journal.moved_to("paused", "pause")

    def unpause(self) -> None:
        """Thaw the container.

        Raises:
            Conflict: it is not paused.
        """
        sandbox = self.get_running()
        if self._journal.status != "paused":
            raise Conflict(f"container {self._short_id} is not paused")
        sandbox.resume()
        self._journal.moved_to("running", "unpause")

    def note_exec(self) -> None:
        """Check that a process may be added.

        Raises:
            Conflict: the container is paused.
        """
        if self._journal.status == "paused":
            raise Conflict(f"container {self._short_id} is paused", "unpause it before exec")

    def note_exec_started(self, command: Sequence[str]) -> str:
        """Tell of a process that was added; return the id under which its end is told."""
        exec_id = os.urandom(32).hex()
        words = " ".join(command)
        self._journal.tell(
            [(f"exec_create: {words}", {"execID": exec_id}),
             (f"exec_start: {words}", {"execID": exec_id})]
        )  # fmt: skip
        return exec_id

    def note_exec_ended(self, exec_id: str, code: int) -> None:
        """Tell of the end of a process that was added."""
        self._journal.tell([("exec_die", {"execID": exec_id, "exitCode": str(code)})])

    def note_kill(self, number: int) -> None:
        """Record that a user sent a signal."""
        self._journal.event("kill", signal=str(number))
        if number == signal.SIGKILL:
            self._thaw()

    # -- start -------------------------------------------------------------------------------------

    @property
    def _short_id(self) -> str:
        return self._journal.record.id[:12]

    def _open_log(self) -> None:
        self._log = open_log_writer(
            self._config.log,
            self._context.layout.log(self._journal.record.id),
            labels=self._config.labels,
            env=self._config.env,
        )
        self.stdio = self._new_stdio()

    def _new_stdio(self) -> ContainerStdio:
        return ContainerStdio(self._loop, self._log, self._finish_when_settled)

    def _start_process(self, stdin: int = -1) -> tuple[str, ...]:
        spec, warnings = compose_sandbox(self._context, self._journal.record, self._image)
        isolation = self._context.isolation(self._config)
        on_network = self._network.prepare()
        if self._config.tty:
            spec = fit_terminal(spec, stdin)
            sandbox = isolation.create(spec, NO_STDIO, start=True, on_network=on_network)
            self.stdio.connect_terminal(sandbox.init.console, open_stdin=self._config.open_stdin)
        else:
            ours, theirs = ContainerStdio.make_pipes(open_stdin=self._config.open_stdin)
            try:
                sandbox = isolation.create(spec, theirs, start=True, on_network=on_network)
            except BaseException:
                for fd in (ours.stdin, ours.stdout, ours.stderr):
                    if fd >= 0:
                        os.close(fd)
                raise
            finally:
                for fd in (theirs.stdin, theirs.stdout, theirs.stderr):
                    os.close(fd)
            self.stdio.connect_pipes(ours, once=self._config.stdin_once)
        self._sandbox = sandbox
        self._loop.add(sandbox.init.pidfd, READ, self._on_exit)
        self._network.serve()
        return (*warnings, *sandbox.warnings)

    def _may_be_brief(self, attachment: Attachment) -> bool:
        """Whether nobody can miss the announcement of a container that ends at once.

        Its record says that it runs, its own client waits for nothing but the end, and it leaves
        no record: a socket and a state for a millisecond would only cost time.
        """
        return (
            self._config.auto_remove
            and max(attachment.stdin, attachment.stdout, attachment.stderr) >= 0
            and self._config.health is None
            and self._image.config.config.healthcheck is None
        )

    def _announce(self) -> None:
        """Answer to clients from now on, and record that the container runs."""
        self._announce_timer = None
        self._log.open()
        self._clients.listen(self._context.layout.control(self._journal.record.id))
        self._record_start()

    def _record_start(self) -> None:
        sandbox = self.get_running()
        config, image_check = self._config.health, self._image.config.config.healthcheck
        if config is not None or image_check is not None:
            from proa.engine.supervisor.health import monitor

            self._health = monitor(self._context, self._journal.record, self._image, self)
        state: Health = "none" if self._health is None else "starting"
        self._journal.started(sandbox.init.pid, self._restart.count, state)
        if self._health is not None:
            self._health.start(self._loop, self._journal)

    # -- end ---------------------------------------------------------------------------------------

    def _on_exit(self, _events: int) -> None:
        sandbox = self.get_running()
        self._loop.remove(sandbox.init.pidfd)
        end = sandbox.init.wait()
        if self._announce_timer is not None:
            self._announce_timer.cancel()
            self._announce_timer = None
        if self._health is not None:
            self._health.close()
            self._health = None
        if self._kill_timer is not None:
            self._kill_timer.cancel()
            self._kill_timer = None
        self.stdio.drain()
        self._log.flush(time.time_ns())
        self._end = end
        self._finish_when_settled()

    def _finish_when_settled(self) -> None:
        """Go on once attached readers have everything; who hangs up is not waited for."""
        if self._end is None or not self.stdio.settled or self._relaunch_timer is not None:
            return
        if self._restart_wanted:
            self._journal.ended(
                self._end, self._restart.count, stopped_by_user=False, restarting=True
            )
            self._journal.event("stop")
            self.stdio.close()
            self._relaunch()
            return
        delay_s = None if self._stopped_by_user else self._restart.delay_after(self._end.code)
        if delay_s is None:
            self._finish(self._end)
            return
        self._journal.ended(self._end, self._restart.count, stopped_by_user=False, restarting=True)
        self.stdio.close()
        self._relaunch_timer = self._loop.call_later(delay_s, self._relaunch)

    def _relaunch(self) -> None:
        self._relaunch_timer = None
        if self._stopped_by_user:
            return
        if self._sandbox is not None:
            self._sandbox.delete()
            self._sandbox = None
        self._network.stop()
        self.stdio = self._new_stdio()
        self._end = None
        try:
            self._start_process()
            self._record_start()
            if self._restart_wanted:
                self._restart_wanted = False
                self._journal.event("restart")
                self._clients.tell_restarted()
        except ProaError as error:
            self._end = ExitStatus(code=exit_code_of(error))
            self._journal.not_started(error)
            self._clients.tell_restarted(error)
            self._clients.tell_end(self._end.code)
            self._loop.stop()

    def _finish(self, end: ExitStatus) -> None:
        try:
            self._network.release()
            self._journal.ended(
                end,
                self._restart.count,
                stopped_by_user=self._stopped_by_user,
                restarting=False,
            )
        except Exhausted:
            # Whoever waits is told; the record follows as soon as the disk has room for it.
            self._clients.tell_end(end.code)
            self._loop.call_later(FULL_DISK_PAUSE_S, lambda: self._finish(end))
            return
        self._clients.tell_end(end.code)
        self.stdio.close()
        self._loop.stop()

    def let_client_go(self, code: int = 0) -> None:
        """The foreground client is done, by its detach keys or a signal; the container is not."""
        self._detached = True
        self.client_code = code
        self.stdio.abandon()
        self._loop.stop()
