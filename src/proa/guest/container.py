"""One container in the guest, run by process isolation as on any host."""

from __future__ import annotations

from proa.errors import Conflict, ProaError, from_os_error
from proa.guest.files import TransferProcess
from proa.guest.processes import Ends, GuestProcess
from proa.guest.root import ROOT
from proa.oci.files import Transfer
from proa.oci.isolation import DirectoryRoot, ProcessHandle, Sandbox, SandboxSpec, Stdio
from proa.runtime.process import ProcessIsolation
from proa.vm.agent import messages
from proa.vm.agent.mux import Mux

INIT = 1
"""Number of the container's first process on the channel."""

_NO_STDIO = Stdio(-1, -1, -1)
_SIGKILL = 9


class GuestContainer:
    """The container and its processes by their numbers on the channel."""

    def __init__(self, mux: Mux) -> None:
        self._mux = mux
        self._sandbox: Sandbox | None = None
        self._processes: dict[int, GuestProcess] = {}

    @property
    def sandbox(self) -> Sandbox:
        """The sandbox.

        Raises:
            Conflict: there is none yet.
        """
        if self._sandbox is None:
            raise Conflict("the guest has no container")
        return self._sandbox

    def create(self, request: messages.Create) -> list[str]:
        """Create the container; returns its warnings.

        Raises:
            ProaError: as :meth:`proa.oci.isolation.Isolation.create`.
        """
        if self._sandbox is not None:
            raise Conflict("the guest has a container already")
        spec = SandboxSpec(
            id=request.id, spec=request.spec, root=DirectoryRoot(path=ROOT), bundle="/run"
        )
        process = request.spec.process
        ends = self._make_ends(request, terminal=process is not None and process.terminal)
        try:
            sandbox = ProcessIsolation().create(
                spec, ends.stdio if ends is not None else _NO_STDIO, start=request.start
            )
        except BaseException:
            if ends is not None:
                ends.close()
            raise
        self._sandbox = sandbox
        self._follow(INIT, sandbox.init, ends)
        return list(sandbox.warnings)

    def exec(self, request: messages.Exec) -> int:
        """Start one more process; returns its pid in the guest.

        Raises:
            ProaError: as :meth:`proa.oci.isolation.Sandbox.exec`.
        """
        if request.number in self._processes or request.number <= INIT:
            raise Conflict(f"process number {request.number} is taken")
        ends = self._make_ends(request, terminal=request.process.terminal)
        try:
            handle = self.sandbox.exec(
                request.process, ends.stdio if ends is not None else _NO_STDIO
            )
        except BaseException:
            if ends is not None:
                ends.close()
            raise
        self._follow(request.number, handle, ends)
        return handle.pid

    def transfer(self, request: Transfer) -> None:
        """Start moving files.

        Raises:
            ProaError: there is no container, or no room for a process.
        """
        if request.number in self._processes or request.number <= INIT:
            raise Conflict(f"process number {request.number} is taken")
        incoming = request.kind == "unpack"
        try:
            ends = Ends((incoming, not incoming, True), merged=False)
            try:
                handle = TransferProcess(self.sandbox.init.pid, request, ends.stdio)
            except BaseException:
                ends.close()
                raise
        except OSError as error:
            raise from_os_error(error, "cannot move files in the guest") from error
        self._follow(request.number, handle, ends)

    def find(self, number: int) -> ProcessHandle | None:
        """Return a process that runs."""
        process = self._processes.get(number)
        return process.handle if process is not None else None

    def kill(self, number: int) -> None:
        """Signal all processes."""
        self.sandbox.kill(number, everything=True)

    def delete(self) -> None:
        """Kill what runs; the root can be unmounted then. Idempotent."""
        if self._sandbox is not None:
            self._sandbox.delete()

    def _make_ends(
        self, request: messages.Create | messages.Exec, *, terminal: bool
    ) -> Ends | None:
        if terminal:
            return None
        try:
            return Ends(request.streams, merged=request.merged)
        except OSError as error:
            raise from_os_error(error, "cannot make pipes in the guest") from error

    def _follow(self, number: int, handle: ProcessHandle, ends: Ends | None) -> None:
        if ends is not None:
            ends.close_theirs()

        def forget() -> None:
            self._processes.pop(number, None)
            if number != INIT:
                handle.close()

        self._processes[number] = GuestProcess(self._mux, number, handle, ends, forget)


def send_signal(container: GuestContainer, request: messages.Signal) -> None:
    """Signal a process; one that has ended, or whose number is none, is not an error."""
    handle = container.find(request.number)
    if handle is None:
        return
    try:
        handle.signal(request.signal)
    except ProaError:
        # The host checks numbers before it sends them.
        return
