"""Sandboxes for tests: a busybox root, the spec that ``proa run`` composes, and what ran in it."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec

from proa.oci.isolation import (
    DirectoryRoot,
    ExitStatus,
    Isolation,
    OverlayRoot,
    ProcessHandle,
    Sandbox,
    SandboxSpec,
    Stdio,
)
from proa.oci.spec import (
    Linux,
    LinuxCapabilities,
    LinuxIDMapping,
    LinuxNamespace,
    Process,
    Root,
    Spec,
)
from proa.runtime import defaults
from proa.runtime.security import capabilities, seccomp

KINDS = ("mount", "pid", "network", "ipc", "uts", "cgroup", "time", "user")
USERNS_BASE = 200_000
USERNS_SIZE = 65_536
PATH = "PATH=/usr/bin:/bin"
WAIT_S = 30.0

Edit = Callable[[Spec], Spec]


def make_root(directory: str) -> None:
    """Fill a directory with busybox and its links, and the places that images have."""
    os.makedirs(f"{directory}/bin")
    for name in ("dev", "etc", "proc", "sys", "tmp"):
        os.mkdir(f"{directory}/{name}")
    os.chmod(f"{directory}/tmp", 0o1777)
    busybox = shutil.which("busybox")
    assert busybox is not None
    shutil.copy(busybox, f"{directory}/bin/busybox")
    applets = subprocess.run([busybox, "--list"], check=True, capture_output=True, text=True)
    for applet in applets.stdout.split():
        if applet != "busybox":
            os.symlink("busybox", f"{directory}/bin/{applet}")
    with open(f"{directory}/etc/passwd", "w") as file:
        file.write("root:x:0:0::/root:/bin/sh\nuser:x:1000:1000::/:/bin/sh\n")


def make_process(*args: str, **changes: object) -> Process:
    """The process that ``proa run`` composes for root."""
    kept = tuple(sorted(capabilities.DEFAULT))
    words: dict[str, object] = {
        "args": args,
        "env": (PATH,),
        "capabilities": LinuxCapabilities(bounding=kept, effective=kept, permitted=kept),
        "no_new_privileges": True,
        **changes,
    }
    return Process(**words)  # type: ignore[arg-type]


def make_spec(process: Process, *, kinds: tuple[str, ...] = KINDS, **linux: object) -> Spec:
    """The spec that ``proa run`` composes."""
    mapping: tuple[LinuxIDMapping, ...] = ()
    if "user" in kinds:
        mapping = (LinuxIDMapping(container_id=0, host_id=USERNS_BASE, size=USERNS_SIZE),)
    words: dict[str, object] = {
        "namespaces": tuple([LinuxNamespace(type=kind) for kind in kinds]),
        "uid_mappings": mapping,
        "gid_mappings": mapping,
        "seccomp": seccomp.default_profile(capabilities.DEFAULT),
        "masked_paths": defaults.MASKED_PATHS,
        "readonly_paths": defaults.READONLY_PATHS,
        **linux,
    }
    return Spec(
        process=process,
        root=Root(),
        mounts=defaults.MOUNTS,
        linux=Linux(**words),  # type: ignore[arg-type]
    )


class Outcome(msgspec.Struct, frozen=True):
    """How a process ended and what it wrote."""

    status: ExitStatus
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        """Lines of the standard output."""
        return self.out.splitlines()


class Pipes:
    """Stdio of one process as pipes, read to their end."""

    def __init__(self) -> None:
        self._out_r, self._out_w = os.pipe2(os.O_CLOEXEC)
        self._err_r, self._err_w = os.pipe2(os.O_CLOEXEC)
        self._in_r, self.stdin = os.pipe2(os.O_CLOEXEC)
        self.stdio = Stdio(self._in_r, self._out_w, self._err_w)

    def started(self) -> None:
        """Close the process' ends."""
        for fd in (self._in_r, self._out_w, self._err_w):
            os.close(fd)
        self._in_r = self._out_w = self._err_w = -1

    def finish(self, handle: ProcessHandle) -> Outcome:
        """Read until both streams end, then wait."""
        if self.stdin >= 0:
            os.close(self.stdin)
            self.stdin = -1
        data = {self._out_r: b"", self._err_r: b""}
        open_fds = set(data)
        while open_fds:
            ready, _, _ = select.select(open_fds, [], [], WAIT_S)
            if not ready:
                handle.signal(9)
                raise TimeoutError("the process did not end")
            for fd in ready:
                chunk = os.read(fd, 65536)
                data[fd] += chunk
                if not chunk:
                    open_fds.discard(fd)
        out, err = (data[fd].decode("utf-8", "replace") for fd in (self._out_r, self._err_r))
        return Outcome(wait(handle), out, err)

    def close(self) -> None:
        """Close what is open."""
        for fd in (
            self._out_r, self._err_r, self.stdin, self._in_r, self._out_w, self._err_w
        ):  # fmt: skip
            if fd >= 0:
                os.close(fd)
        self._out_r = self._err_r = self.stdin = self._in_r = self._out_w = self._err_w = -1


def wait(handle: ProcessHandle) -> ExitStatus:
    """Wait for a process, at most :data:`WAIT_S`."""
    ready, _, _ = select.select([handle.pidfd], [], [], WAIT_S)
    if not ready:
        handle.signal(9)
        raise TimeoutError(f"process {handle.pid} did not end")
    return handle.wait()


class Boxes:
    """Makes sandboxes of one isolation in one directory, and removes them.

    Attributes:
        isolation: the implementation under test.
        directory: holds the layer and a directory for each sandbox.
    """

    def __init__(self, isolation: Isolation, directory: str, layer: str) -> None:
        self.isolation = isolation
        self.directory = directory
        self._count = 0
        self._made: list[Sandbox] = []
        os.makedirs(f"{directory}/layers")
        os.rename(layer, f"{directory}/layers/busybox")

    def overlay(self, *lowers: str) -> OverlayRoot:
        """Fresh directories of one container; ``lowers`` lie above the busybox layer."""
        self._count += 1
        place = f"box{self._count}"
        for name in ("upper", "work", "merged"):
            os.makedirs(f"{self.directory}/{place}/{name}")
        return OverlayRoot(
            base=self.directory,
            lowers=(*lowers, "layers/busybox"),
            upper=f"{place}/upper",
            work=f"{place}/work",
            merged=f"{place}/merged",
        )

    def sandbox(self, spec: Spec, root: OverlayRoot | DirectoryRoot | None = None) -> SandboxSpec:
        """A sandbox description with an id that no other test run uses."""
        where = root or self.overlay()
        identity = f"t{os.getpid()}x{self._count}"
        return SandboxSpec(id=identity, spec=spec, root=where, bundle=self.directory)

    def create(
        self,
        spec: Spec,
        stdio: Stdio,
        root: OverlayRoot | DirectoryRoot | None = None,
        *,
        start: bool = True,
    ) -> Sandbox:
        """Create a sandbox that is deleted at the end of the test."""
        made = self.isolation.create(self.sandbox(spec, root), stdio, start=start)
        self._made.append(made)
        return made

    def run(
        self, spec: Spec, root: OverlayRoot | DirectoryRoot | None = None, *, text: bytes = b""
    ) -> Outcome:
        """Run a sandbox to its end."""
        pipes = Pipes()
        try:
            sandbox = self.create(spec, pipes.stdio, root)
            pipes.started()
            os.write(pipes.stdin, text)
            outcome = pipes.finish(sandbox.init)
            sandbox.delete()
        finally:
            pipes.close()
        return outcome

    def shell(self, script: str, **changes: object) -> Outcome:
        """Run a shell script with the default spec."""
        return self.run(make_spec(make_process("sh", "-c", script, **changes)))

    @contextmanager
    def running(
        self, spec: Spec | None = None, root: OverlayRoot | DirectoryRoot | None = None
    ) -> Iterator[Sandbox]:
        """A sandbox whose init sleeps."""
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        try:
            wanted = spec or make_spec(make_process("sleep", "1000"))
            yield self.create(wanted, Stdio(null, null, null), root)
        finally:
            os.close(null)

    def exec(self, sandbox: Sandbox, process: Process) -> Outcome:
        """Run a process in a sandbox to its end."""
        pipes = Pipes()
        try:
            handle = sandbox.exec(process, pipes.stdio)
            pipes.started()
            outcome = pipes.finish(handle)
            handle.close()
        finally:
            pipes.close()
        return outcome

    def close(self) -> None:
        """Delete every sandbox."""
        for sandbox in self._made:
            sandbox.delete()
        self._made.clear()


def status_of(text: str) -> dict[str, str]:
    """``/proc/PID/status`` as a mapping."""
    rows = (line.partition(":") for line in text.splitlines())
    return {key: value.strip() for key, _, value in rows}
