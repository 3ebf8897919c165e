"""The contract between the engine and an isolation, and the plain data that crosses it.

``runtime`` (process isolation) and ``vm`` (VM isolation) implement :class:`Isolation`;
``tests/conformance/isolation`` runs over both. A :class:`Sandbox` belongs to the one process that
created it (the supervisor): its file descriptors and its child process live there.

Lifecycle (OCI runtime spec 1.2, "Runtime and Lifecycle"): ``create`` leaves the sandbox *created*,
``start`` makes it *running*, the end of its init process makes it *stopped*, ``delete`` removes
what
``create`` made. ``pause`` and ``resume`` go between *running* and *paused*. No other state exists.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import msgspec

from proa.oci.spec import LinuxResources, Process, Spec


class OverlayRoot(msgspec.Struct, frozen=True, kw_only=True):
    """A root made of shared read-only layers and one writable directory.

    All paths but ``base`` are relative to ``base`` so that the whole tree is shown to the
    container's user namespace through a single ID-mapped mount.

    Attributes:
        base: absolute host directory that holds everything below (the engine's state root).
        lowers: read-only layers, uppermost first, as overlayfs wants them (short link names:
            127 of them fit the page that mount(2) takes).
        upper: the container's writable directory.
        work: overlayfs' work directory, on the filesystem of ``upper``.
        merged: a directory that the overlay is mounted on inside the container's mount namespace,
            hiding what it has; nothing is ever mounted there on the host.
        volatile: skip syncing ``upper`` (right for containers that are removed at their end).
    """

    base: str
    lowers: tuple[str, ...]
    upper: str
    work: str
    merged: str
    volatile: bool = False


class DirectoryRoot(msgspec.Struct, frozen=True, kw_only=True):
    """A root that is one ready directory on the host (an OCI bundle's ``rootfs``)."""

    path: str


class SandboxSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Everything an isolation needs to know about one container.

    Attributes:
        id: container id, ``[a-zA-Z0-9_.-]+``; names cgroups and messages.
        spec: the OCI runtime spec. ``spec.root.readonly`` is honoured; ``spec.root.path`` is not
            read, ``root`` stands for it. Identity mappings are in ``spec.linux.uid_mappings``;
            mount sources are absolute host paths.
        root: where the root filesystem comes from.
        bundle: host directory private to this container (hooks get it as ``bundle``).
        emulators: lines for a binfmt_misc registry of the container's own user namespace; empty:
            it has none, and the host's holds. Their interpreters are host paths.
    """

    id: str
    spec: Spec
    root: OverlayRoot | DirectoryRoot
    bundle: str
    emulators: tuple[str, ...] = ()


class Stdio(msgspec.Struct, frozen=True):
    """Descriptors that become 0, 1, 2 of the process; the caller keeps and closes its own copies.

    With ``process.terminal`` they are ignored: the isolation allocates a pty in the container's
    devpts and shows the master as ``console`` of the handle.
    """

    stdin: int
    stdout: int
    stderr: int


class ExitStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How a process ended.

    Attributes:
        code: exit code as a shell says it: 0 to 255, 128 + n for signal n.
        signal: the signal that ended it, 0 if it exited.
        oom_killed: the memory controller killed a process of the container.
    """

    code: int
    signal: int = 0
    oom_killed: bool = False


class Stats(msgspec.Struct, frozen=True, kw_only=True):
    """A reading of the container's controllers; -1 where a controller is not there.

    Units are in the names; ``limits`` of -1 mean unlimited. The network's counters are given by
    isolations whose interfaces the host does not see.
    """

    cpu_usage_ns: int = -1
    cpu_user_ns: int = -1
    cpu_system_ns: int = -1
    cpu_periods: int = -1
    cpu_throttled_periods: int = -1
    cpu_throttled_ns: int = -1
    memory_usage_bytes: int = -1
    memory_peak_bytes: int = -1
    memory_limit_bytes: int = -1
    memory_inactive_file_bytes: int = -1
    memory_detail: Mapping[str, int] = {}
    oom_kills: int = -1
    pids_current: int = -1
    pids_limit: int = -1
    io_read_bytes: int = -1
    io_write_bytes: int = -1
    io_read_ops: int = -1
    io_write_ops: int = -1
    network_received_bytes: int = -1
    network_sent_bytes: int = -1


class ProcessHandle(Protocol):
    """A process inside a sandbox: its init, or one started by ``exec``."""

    @property
    def pid(self) -> int:
        """Pid as the host sees it."""

    @property
    def pidfd(self) -> int:
        """Pollable descriptor, readable once the process has ended; owned by the handle."""

    @property
    def console(self) -> int:
        """Master side of the pty, or -1; owned by the handle."""

    def signal(self, number: int) -> None:
        """Send a signal through the pidfd; an ended process is not an error."""

    def resize(self, rows: int, columns: int) -> None:
        """Set the terminal's size (TIOCSWINSZ).

        Raises:
            Conflict: the process has no terminal.
        """

    def wait(self) -> ExitStatus:
        """Reap the process; blocks until it has ended. Idempotent."""

    def close(self) -> None:
        """Close the handle's descriptors. Idempotent."""


class Sandbox(Protocol):
    """One container's live isolation, owned by the process that created it."""

    @property
    def init(self) -> ProcessHandle:
        """The container's first process (parked before its execve until ``start``)."""

    @property
    def warnings(self) -> Sequence[str]:
        """What was asked for and this host cannot do, one sentence each."""

    def start(self) -> None:
        """Let the init process execute the user's command.

        Raises:
            CommandNotFound: the command is not in the container's root (exit code 127).
            CommandNotExecutable: it is there and cannot be executed (exit code 126).
            Conflict: the sandbox is not *created*.
        """

    def exec(self, process: Process, stdio: Stdio) -> ProcessHandle:
        """Start one more process in the running sandbox; errors as ``start``."""

    def kill(self, number: int, *, everything: bool = False) -> None:
        """Signal init, or every process of the sandbox."""

    def pause(self) -> None:
        """Freeze all processes; returns once they are frozen."""

    def resume(self) -> None:
        """Thaw all processes."""

    def update(self, resources: LinuxResources) -> None:
        """Change limits of the live sandbox; unset fields keep their value."""

    def stats(self) -> Stats:
        """Read the controllers."""

    def processes(self) -> list[int]:
        """Host pids of all processes in the sandbox."""

    def delete(self) -> None:
        """Kill what still runs and remove all that ``create`` made on the host. Idempotent."""


class Isolation(Protocol):
    """A way to run containers. Instances are stateless: state is in the sandboxes."""

    def create(
        self,
        sandbox: SandboxSpec,
        stdio: Stdio,
        *,
        start: bool = False,
        on_network: Callable[[int], None] | None = None,
    ) -> Sandbox:
        """Build the sandbox and park its init process before execve.

        Args:
            sandbox: what to build.
            stdio: the init process' descriptors.
            start: do not park: create and ``start`` in one go (the fast path).
            on_network: called with a descriptor of the sandbox's new network namespace, which it
                takes over, before anything of the container runs, perhaps while its mounts are
                being made; it raises the loopback interface too. What it raises as exception ends
                the creation. Not called when the sandbox shares or joins another's network.

        Raises:
            Invalid: the spec asks for what no host could do.
            Unsupported: this host or isolation cannot do it.
            ProaError: any kind; nothing is left behind.
        """
