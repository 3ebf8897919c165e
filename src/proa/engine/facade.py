"""The engine as a library: ``proa.Engine``.

Everything the command line and the server can do is here; they are thin users of it. An engine is a
view on a state root: making one opens nothing, several may exist on the same root, in threads and
processes, and containers do not depend on it being alive.
"""

from __future__ import annotations

import os
import select
from collections.abc import Mapping, Sequence

import msgspec

from proa.engine import context as contexts
from proa.engine.config import ContainerConfig, IsolationName, MountConfig, Pull, Resources
from proa.engine.containers.api import Containers
from proa.engine.containers.create import Created
from proa.engine.containers.pending import RunOutcome
from proa.engine.containers.streams import Streams
from proa.engine.events import Events
from proa.engine.images import Images
from proa.engine.layout import Layout
from proa.engine.networks import Networks
from proa.engine.registries import Registries
from proa.engine.system import System
from proa.engine.vms.api import Vms
from proa.engine.vms.machine import HybridMachine
from proa.engine.volumes import Volumes
from proa.units import parse_cpus, parse_size

__all__ = ["Created", "Engine", "Result", "RunOutcome", "Streams"]

_CHUNK_BYTES = 65536


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What a finished container said.

    Attributes:
        exit_code: 0 to 255; 128 + n when signal n ended it.
        stdout, stderr: all that it wrote, as bytes.
        warnings: what was asked for and this machine cannot do.
    """

    id: str
    exit_code: int
    stdout: bytes
    stderr: bytes
    warnings: tuple[str, ...] = ()


class Engine:
    """A container engine on one state root.

    Attributes:
        containers: create, start, stop, look at containers.
        images: pull, push, load, save, look at images.
        registries: log in and out, search, look at manifests.
        volumes: create, look at, remove volumes.
        events: what happened, and what happens.
        networks: create, remove, look at networks; connect containers to them.
        machine: a light Linux machine with an engine of its own inside.
        vms: create, start, stop full virtual machines; install kernels for guests.
        system: about the engine and the machine.
    """

    def __init__(self, root: str = "", run: str = "") -> None:
        """Choose the roots.

        Args:
            root: state root; empty: ``PROA_ROOT``, or ``/var/lib/proa`` for root.
            run: volatile root; empty: ``PROA_RUN``, or ``/run/proa`` for root.
        """
        self._context = contexts.get(Layout(root, run))
        self.containers = Containers(self._context)
        self.images = Images(self._context)
        self.registries = Registries()
        self.volumes = Volumes(self._context)
        self.events = Events(self._context)
        self.networks = Networks(self._context)
        self.vms = Vms(self._context)
        self.machine = HybridMachine(self._context, self.vms)
        self.system = System(self._context)

    @property
    def roots(self) -> tuple[str, str]:
        """State root and volatile root."""
        return self._context.layout.root, self._context.layout.run

    def run(
        self,
        image: str,
        command: Sequence[str] = (),
        *,
        name: str = "",
        env: Mapping[str, str] | None = None,
        user: str = "",
        working_dir: str = "",
        mounts: Sequence[MountConfig] = (),
        network: str = "default",
        memory: str = "",
        cpus: str = "",
        stdin: bytes | None = None,
        pull: Pull = "missing",
        isolation: IsolationName = "process",
    ) -> Result:
        """Run a command in a new container, wait for it, remove the container.

        Args:
            image: reference or id.
            command: arguments; empty: the image's.
            env: variables on top of the image's.
            memory: a size, ``512m``.
            cpus: how many, ``1.5``.
            stdin: what the command reads; None: nothing at all.
            isolation: ``vm`` for a kernel of its own.

        Raises:
            NotFound: no such image.
            CommandNotFound, CommandNotExecutable: the command cannot run.
            ProaError: any other kind; nothing is left behind.
        """
        config = ContainerConfig(
            image=image,
            command=tuple(command),
            env=tuple(f"{key}={value}" for key, value in (env or {}).items()),
            user=user,
            working_dir=working_dir,
            mounts=tuple(mounts),
            network_mode=network,
            resources=Resources(
                memory_bytes=parse_size(memory) if memory else 0,
                nano_cpus=parse_cpus(cpus) if cpus else 0,
            ),
            open_stdin=stdin is not None,
            auto_remove=True,
            isolation=isolation,
        )
        return _run_and_collect(self.containers, config, name, pull, stdin)

    def close(self) -> None:
        """Close what this engine holds open; containers live on. Idempotent."""
        self._context.close()

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _run_and_collect(
    containers: Containers, config: ContainerConfig, name: str, pull: Pull, stdin: bytes | None
) -> Result:
    """Run with pipes for stdio and collect what comes out while it runs."""
    collector = _Collector(stdin)
    try:
        pending = containers.begin(config, name=name, pull=pull, streams=collector.theirs)
        with pending:
            collector.close_theirs()
            collector.collect()
            outcome = pending.finish()
    finally:
        collector.close()
    return Result(
        id=outcome.id,
        exit_code=outcome.exit_code,
        stdout=bytes(collector.stdout),
        stderr=bytes(collector.stderr),
        warnings=outcome.warnings,
    )


class _Collector:
    """Two pipes to read to their ends and one to fill, without a thread."""

    def __init__(self, stdin: bytes | None) -> None:
        self.stdout = bytearray()
        self.stderr = bytearray()
        self._stdin = memoryview(stdin or b"")
        our_out, their_out = os.pipe2(os.O_CLOEXEC)
        our_err, their_err = os.pipe2(os.O_CLOEXEC)
        their_in, our_in = os.pipe2(os.O_CLOEXEC) if stdin is not None else (-1, -1)
        self.theirs = Streams(stdin_fd=their_in, stdout_fd=their_out, stderr_fd=their_err)
        self._input = our_in
        self._outputs = {our_out: self.stdout, our_err: self.stderr}

    def close_theirs(self) -> None:
        """Close the container's ends of the pipes. Idempotent."""
        for fd in (self.theirs.stdin_fd, self.theirs.stdout_fd, self.theirs.stderr_fd):
            if fd >= 0:
                os.close(fd)
        self.theirs = Streams()

    def collect(self) -> None:
        """Serve all pipes until both outputs have ended."""
        poll = select.poll()
        for fd in self._outputs:
            poll.register(fd, select.POLLIN)
        if self._input >= 0:
            os.set_blocking(self._input, False)
            poll.register(self._input, select.POLLOUT)
        while self._outputs:
            for fd, _ in poll.poll():
                if fd == self._input:
                    if not self._feed():
                        poll.unregister(fd)
                        os.close(fd)
                        self._input = -1
                    continue
                data = os.read(fd, _CHUNK_BYTES)
                self._outputs[fd] += data
                if not data:
                    poll.unregister(fd)
                    os.close(fd)
                    del self._outputs[fd]

    def close(self) -> None:
        """Close everything. Idempotent."""
        self.close_theirs()
        for fd in (self._input, *self._outputs):
            if fd >= 0:
                os.close(fd)
        self._outputs.clear()
        self._input = -1

    def _feed(self) -> bool:
        """Write some of stdin; False when it is done or nobody reads it."""
        if not self._stdin:
            return False
        try:
            self._stdin = self._stdin[os.write(self._input, self._stdin) :]
        except BlockingIOError:
            return True
        except OSError:
            return False
        return bool(self._stdin)
