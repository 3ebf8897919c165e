"""``create``: from a bundle to an init that waits at a fifo, whoever lives to start it.

Init keeps its parent-death signal until it is about to park, so a runtime that is killed half-way
leaves no process. From then on it is an orphan: its parent is the nearest subreaper above the
caller. Until its execve it shares this process' memory (native executor), which the kernel keeps;
so this process ends with ``os._exit`` and unmaps nothing before.
"""

from __future__ import annotations

import os
import time

import msgspec

from proa.errors import Invalid, from_os_error
from proa.fs.atomicfile import save_file
from proa.linux import procfs
from proa.oci.isolation import DirectoryRoot, SandboxSpec, Stdio
from proa.oci.spec import Hooks, Spec
from proa.runtime import recover
from proa.runtime.bundle import capabilities, hooks
from proa.runtime.bundle.config import find_root, load_spec
from proa.runtime.bundle.console import send_console
from proa.runtime.bundle.status import describe
from proa.runtime.bundle.store import Record, Store
from proa.runtime.process import Detachment, ProcessIsolation
from proa.runtime.sandbox import ProcessSandbox

STDIO = Stdio(0, 1, 2)
_FIRST_PRESERVED = 3


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What the caller of ``create`` says beside the bundle.

    Attributes:
        console_socket: where the terminal's master goes; empty for none.
        pid_file: gets init's pid; empty for none.
        preserved: how many descriptors behind stdio go to the container.
        keeps_console: the caller uses the terminal itself (``run`` in the foreground).
    """

    console_socket: str = ""
    pid_file: str = ""
    preserved: int = 0
    keeps_console: bool = False


def create(store: Store, container_id: str, bundle: str, request: Request) -> ProcessSandbox:
    """Make a container; its init waits for ``start``.

    Args:
        bundle: absolute directory.

    Returns:
        The sandbox, of which the caller must :meth:`~ProcessSandbox.forget`.

    Raises:
        Conflict: the id is taken.
        CommandNotFound, CommandNotExecutable: the command's fault.
        ProaError: any kind; nothing is left behind.
    """
    spec = load_spec(bundle, container_id)
    _check(spec, request)
    assert spec.process is not None
    assert spec.linux is not None
    process, warnings = capabilities.limit(spec.process, spec.linux)
    spec = msgspec.structs.replace(spec, process=process)
    store.reserve(container_id, spec)
    making = _Making(store, spec, container_id, bundle, request)
    try:
        sandbox = making.run()
    except BaseException:
        making.undo()
        raise
    sandbox.warnings += warnings
    return sandbox


def _check(spec: Spec, request: Request) -> None:
    assert spec.process is not None
    if spec.hooks is not None:
        hooks.validate(spec.hooks)
    served = request.console_socket or request.keeps_console
    if spec.process.terminal and not served:
        raise Invalid("cannot allocate tty if runc will detach without setting console socket")
    if request.console_socket and not spec.process.terminal:
        raise Invalid("cannot use console socket if runc will not detach or allocate tty")
    for fd in range(_FIRST_PRESERVED, _FIRST_PRESERVED + request.preserved):
        try:
            os.fstat(fd)
        except OSError as error:
            raise from_os_error(error, f"cannot preserve file descriptor {fd}") from error


class _Making:
    """One ``create`` on its way."""

    def __init__(
        self, store: Store, spec: Spec, container_id: str, bundle: str, request: Request
    ) -> None:
        self.store = store
        self.spec = spec
        self.hooks = spec.hooks or Hooks()
        self.request = request
        self.hooked = False
        self.record = Record(
            id=container_id,
            bundle=bundle,
            rootfs=find_root(spec, bundle) if spec.root is not None else "",
            created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            owner=os.getuid(),
        )

    def run(self) -> ProcessSandbox:
        hold = os.open(self.store.fifo(self.record.id), os.O_RDWR | os.O_CLOEXEC)
        # Hooks are run here; the isolation is not to know of them.
        sandbox = ProcessIsolation().create(
            SandboxSpec(
                id=self.record.id,
                spec=msgspec.structs.replace(self.spec, hooks=None),
                root=DirectoryRoot(path=self.record.rootfs),
                bundle=self.record.bundle,
            ),
            STDIO,
            detachment=Detachment(
                hold=hold,
                preserved=self.request.preserved,
                on_namespaces=self._namespaces_made,
                on_mounts=self._mounted if self.hooks.create_container else None,
            ),
        )
        if self.request.console_socket:
            send_console(self.request.console_socket, sandbox.init.console)
        self.record = msgspec.structs.replace(self.record, parked=True)
        self.store.save(self.record)
        if self.request.pid_file:
            self._write_pid_file(sandbox.init.pid)
        return sandbox

    def undo(self) -> None:
        """Remove what there is of the container, then tell the hooks."""
        assert self.spec.linux is not None
        try:
            recover.remove_remains(self.record.id, self.spec.linux.cgroups_path)
        finally:
            self.store.remove(self.record.id)
            if self.hooked:
                hooks.run_all(
                    self.hooks.poststop, "poststop", describe(self.record, self.spec, "stopped")
                )

    def _namespaces_made(self, pid: int) -> None:
        ticks = procfs.read_start_ticks(pid)
        self.record = msgspec.structs.replace(self.record, pid=pid, start_ticks=ticks)
        self.store.save(self.record)
        state = describe(self.record, self.spec, "creating")
        self.hooked = True
        hooks.run(self.hooks.prestart, "prestart", state)
        hooks.run(self.hooks.create_runtime, "createRuntime", state)

    def _mounted(self, pid: int) -> None:
        state = describe(self.record, self.spec, "creating")
        hooks.run(self.hooks.create_container, "createContainer", state, mount_namespace_of=pid)

    def _write_pid_file(self, pid: int) -> None:
        write_pid_file(self.request.pid_file, pid)


def write_pid_file(path: str, pid: int) -> None:
    """Write a pid, atomically: readers wait for the file to appear.

    Raises:
        ProaError: the file cannot be written.
    """
    try:
        save_file(path, str(pid).encode(), mode=0o644, durable=False)
    except OSError as error:
        raise from_os_error(error, f"cannot write the pid file {path}") from error
