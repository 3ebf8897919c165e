"""A container in a virtual machine, as its supervisor holds it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from proa.errors import Conflict, ProaError, from_os_error
from proa.oci.files import FileStat, StatFile, Transfer
from proa.oci.isolation import SandboxSpec, Stats, Stdio
from proa.oci.processlist import ProcessList, ReadProcesses
from proa.oci.resources import LinuxResources
from proa.oci.spec import Process
from proa.vm import sizing
from proa.vm.agent import messages
from proa.vm.agent.processes import Streams, VmProcess
from proa.vm.guestspec import guest_resources

if TYPE_CHECKING:
    from collections.abc import Callable

    from proa.cgroups.cgroup import Cgroup
    from proa.vm.agent.client import AgentClient
    from proa.vm.qemu.process import Qemu

INIT = 1
_SIGKILL = 9
_KILL_PATIENCE_S = 2.0
"""A guest that does not end its killed init in this time is ended itself."""

_FINISH_TIMEOUT_S = 20.0


class VmSandbox:
    """Implements :class:`proa.oci.isolation.Sandbox` with a guest's agent.

    State: *created* while ``_parked``, *running* until init has ended, then *stopped*.

    Attributes:
        warnings: what was asked for and could not be had, one sentence each.
    """

    def __init__(
        self,
        spec: SandboxSpec,
        client: AgentClient,
        qemu: Qemu,
        cgroup: Cgroup | None,
        init: VmProcess,
        warnings: list[str],
        *,
        parked: bool,
        release: Callable[[], None],
    ) -> None:
        self._spec = spec
        self._client = client
        self._qemu = qemu
        self._cgroup = cgroup
        self._init = init
        self._parked = parked
        self._release = release
        self._deleted = False
        self._last_number = INIT
        self.warnings = warnings

    @property
    def init(self) -> VmProcess:
        """The container's first process."""
        return self._init

    def start(self) -> None:
        """Let a parked init execute its command.

        Raises:
            CommandNotFound, CommandNotExecutable: the command's fault.
            Conflict: the sandbox is not *created*.
        """
        if not self._parked:
            raise Conflict(f"container {self._spec.id} has been started already")
        self._parked = False
        self._client.request(messages.Start())

    def exec(self, process: Process, stdio: Stdio) -> VmProcess:
        """Start one more process inside.

        Raises:
            CommandNotFound, CommandNotExecutable: the command's fault.
            Conflict: init does not run.
            Unavailable, TimedOut: the guest is gone, or does not answer.
        """
        if self._parked or self._deleted or self._init.ended():
            raise Conflict(f"container {self._spec.id} is not running")
        self._last_number += 1
        streams = open_streams(process, stdio)
        handle = VmProcess(self._client, self._last_number, self._qemu.pid, streams)
        request = messages.Exec(
            number=handle.number,
            process=process,
            streams=streams.carried,
            merged=streams.merged,
        )
        try:
            self._client.start(handle, request)
        except BaseException:
            handle.close()
            raise
        return handle

    def read_processes(self) -> ProcessList:
        """The container's processes as its kernel shows them."""
        return messages.decode_processes(self._client.request(ReadProcesses()))

    def stat_file(self, request: StatFile) -> FileStat:
        """Look at a path of the container's root.

        Raises:
            NotFound: there is nothing.
        """
        return messages.decode_file_stat(self._client.request(request))

    def transfer(self, request: Transfer, stdio: Stdio) -> VmProcess:
        """Start moving files (:class:`proa.oci.files.FileAccess`)."""
        self._last_number += 1
        request = msgspec.structs.replace(request, number=self._last_number)
        streams = Streams(stdio, terminal=False)
        handle = VmProcess(self._client, self._last_number, self._qemu.pid, streams)
        try:
            self._client.start(handle, request)
        except BaseException:
            handle.close()
            raise
        return handle

    def kill(self, number: int, *, everything: bool = False) -> None:
        """Signal init, or every process of the sandbox."""
        if not everything:
            self._init.signal(number)
        elif not self._init.ended():
            self._client.request(messages.Kill(signal=number))

    def pause(self) -> None:
        """Freeze all processes; returns once they are frozen."""
        self._client.request(messages.Pause())

    def resume(self) -> None:
        """Thaw all processes."""
        self._client.request(messages.Resume())

    def update(self, resources: LinuxResources) -> None:
        """Change limits of the live sandbox; unset fields keep their value.

        Raises:
            Unsupported: more than the machine was made with; it has to be started anew.
        """
        sizing.check_update(resources, self._linux_resources())
        self._client.request(messages.Update(resources=guest_resources(resources)))
        if self._cgroup is not None:
            self._cgroup.update(sizing.host_resources(resources))

    def stats(self) -> Stats:
        """Read the controllers in the guest."""
        return messages.decode_stats(self._client.request(messages.ReadStats()))

    def processes(self) -> list[int]:
        """What stands for the container's processes on the host: its QEMU."""
        if self._deleted or self._init.ended():
            return []
        return [self._qemu.pid]

    def delete(self) -> None:
        """Kill what still runs and remove all that ``create`` made on the host. Idempotent."""
        if self._deleted:
            return
        self._deleted = True
        try:
            self._client.request(messages.Finish(), _FINISH_TIMEOUT_S)
        except ProaError:
            # It is gone or hangs; what it had not written is lost, as by a power cut.
            pass
        self._qemu.close()
        self._client.close()
        self._init.wait()
        self._init.close()
        self._release()
        if self._cgroup is not None:
            self._cgroup.delete()

    def _linux_resources(self) -> LinuxResources:
        linux = self._spec.spec.linux
        assert linux is not None
        return linux.resources


def open_streams(process: Process, stdio: Stdio) -> Streams:
    """Take duplicates of the caller's descriptors, or make a terminal.

    Raises:
        ProaError: no descriptors left.
    """
    size = process.console_size
    try:
        return Streams(
            stdio,
            terminal=process.terminal,
            rows=size.height if size is not None else 0,
            columns=size.width if size is not None else 0,
        )
    except OSError as error:
        raise from_os_error(error, "cannot open the streams of a process") from error


def make_killer(qemu: Qemu, init: list[VmProcess]) -> Callable[[], None]:
    """Return what ends a guest whose init was killed and does not end.

    Args:
        qemu: the guest's.
        init: filled with the process once it is there.
    """

    def watch() -> None:
        import threading

        def check() -> None:
            if init and not init[0].ended():
                qemu.kill()

        timer = threading.Timer(_KILL_PATIENCE_S, check)
        timer.daemon = True
        timer.start()

    return watch
