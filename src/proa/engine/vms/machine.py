"""``engine.machine``: a light Linux machine with the whole engine inside (``proa machine``).

It is one of the machines of ``proa vm`` with a disk of our own making
(:mod:`proa.engine.vms.machineimage`), reached by ssh over a port of the loopback: commands
(``proa --machine``), and the engine's socket, which ssh leads to a socket of the host
(``DOCKER_HOST``). ssh is what macOS and Windows have too.

::

    <root>/vm/machine/<key>.qcow2      the disk that the machine is a copy of
    <root>/vm/machine/id_ed25519       key that may log in, made for this machine alone
    <run>/machine.sock                 the engine in the machine
    <run>/machine.ctl                  ssh's own, for the connection that holds it
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec

from proa.engine.config import PortConfig
from proa.errors import Conflict, NotFound, TimedOut, Unavailable

if TYPE_CHECKING:
    from proa.engine.context import Context
    from proa.engine.vms.api import Vms

NAME = "proa-machine"
BOOT_TIMEOUT_S = 300.0
_SSH_PORT = 22
_PAUSE_S = 0.5


class MachineStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How the machine is.

    Attributes:
        status: ``absent``, ``created``, ``running`` or ``exited``.
        docker_host: what to set ``DOCKER_HOST`` to while it runs.
        ssh_port: of 127.0.0.1.
    """

    status: str
    accelerator: str = ""
    docker_host: str = ""
    ssh_port: int = 0


class HybridMachine:
    """Verbs on the one machine of an engine."""

    def __init__(self, context: Context, vms: Vms) -> None:
        self._context = context
        self._vms = vms
        self._directory = f"{context.layout.root}/vm/machine"
        self._socket = f"{context.layout.run}/machine.sock"
        self._control = f"{context.layout.run}/machine.ctl"

    def start(
        self,
        *,
        memory_bytes: int = 2 << 30,
        vcpus: int = 2,
        ports: Sequence[PortConfig] = (),
        progress: Callable[[str], None] | None = None,
    ) -> str:
        """Start the machine, made if it is not there; return a warning or nothing.

        Memory, CPUs and ports are those of the first start.

        Raises:
            Conflict: it is running.
            Unavailable: QEMU, mmdebstrap, pip or ssh is missing or failed.
            TimedOut: its engine does not answer.
        """
        progress = progress or _say_nothing
        try:
            record = self._vms.get(NAME)
        except NotFound:
            self._make(memory_bytes, vcpus, ports, progress)
            record = self._vms.get(NAME)
        if record.state.status == "running":
            raise Conflict("the machine is running already", "see `proa machine status`")
        progress("starting the machine")
        warning = self._vms.start(NAME)
        try:
            self._await_engine()
            self._forward()
        except BaseException:
            self._vms.stop(NAME, timeout_s=0)
            raise
        return warning

    def stop(self) -> None:
        """Shut the machine down; its containers end, what they wrote stays."""
        self._hang_up()
        self._vms.stop(NAME)

    def remove(self, *, force: bool = False) -> None:
        """Remove the machine with everything in it; the disk that it was made of stays.

        Raises:
            Conflict: it runs.
        """
        if force:
            self._hang_up()
        self._vms.remove(NAME, force=force)

    def status(self) -> MachineStatus:
        """How it is."""
        try:
            record = self._vms.get(NAME)
        except NotFound:
            return MachineStatus(status="absent")
        running = record.state.status == "running"
        return MachineStatus(
            status=record.state.status,
            accelerator=record.state.accelerator,
            docker_host=f"unix://{self._socket}" if running else "",
            ssh_port=self._port() if running else 0,
        )

    def ssh_command(self, line: str = "", *, terminal: bool = False) -> list[str]:
        """Arguments that run a line of shell in the machine; empty: a shell.

        Raises:
            Conflict: it does not run.
        """
        if self.status().status != "running":
            raise Conflict("the machine is not running", "proa machine start")
        command = self._ssh("-t" if terminal else "-T", "root@127.0.0.1")
        return [*command, "--", line] if line else command

    def _make(
        self,
        memory_bytes: int,
        vcpus: int,
        ports: Sequence[PortConfig],
        progress: Callable[[str], None],
    ) -> None:
        from proa.engine.vmmodel import VmConfig
        from proa.engine.vms.machineimage import build_machine_disk, version_key
        from proa.vm.kernel.install import install_kernel, run

        os.makedirs(self._directory, mode=0o700, exist_ok=True)
        key = f"{self._directory}/id_ed25519"
        if not os.path.exists(key):
            words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", NAME, "-f", key]
            run(words, "cannot make a key for the machine")
        install_kernel(self._context.layout.root, progress=progress)
        disk = f"{self._directory}/{version_key()}.qcow2"
        if not os.path.exists(disk):
            with open(f"{key}.pub", encoding="ascii") as stream:
                build_machine_disk(self._context, disk, stream.read(), progress)
        ssh = PortConfig(container_port=_SSH_PORT, host_ip="127.0.0.1", host_port=_find_free_port())
        config = VmConfig(
            firmware="uefi", memory_bytes=memory_bytes, vcpus=vcpus, ports=(ssh, *ports)
        )
        self._vms.create(NAME, config=config, disks=[disk])

    def _port(self) -> int:
        ports = self._vms.get(NAME).config.ports
        return next(port.host_port for port in ports if port.container_port == _SSH_PORT)

    def _ssh(self, *words: str) -> list[str]:
        # The key pair and the host are this machine's own: there is nobody else to mistake it for.
        options = (
            "BatchMode=yes", "StrictHostKeyChecking=no", f"UserKnownHostsFile={os.devnull}",
            "LogLevel=ERROR", "ConnectTimeout=10", "IdentitiesOnly=yes",
        )  # fmt: skip
        flags = [word for option in options for word in ("-o", option)]
        return [
            "ssh", "-F", os.devnull, "-i", f"{self._directory}/id_ed25519", *flags, "-p",
            str(self._port()), *words,
        ]  # fmt: skip

    def _await_engine(self) -> None:
        """Wait until ssh answers and the engine in there listens."""
        import subprocess

        from proa.engine.vms.machineimage import SOCKET

        command = [*self._ssh("-T", "root@127.0.0.1"), "--", f"test -S {SOCKET}"]
        deadline = time.monotonic() + BOOT_TIMEOUT_S
        while time.monotonic() < deadline:
            try:
                done = subprocess.run(
                    command, stdin=subprocess.DEVNULL, capture_output=True, timeout=30, check=False
                )
            except FileNotFoundError as error:
                hint = "apt-get install openssh-client"
                raise Unavailable("ssh is not installed", hint) from error
            except subprocess.TimeoutExpired:
                continue
            if done.returncode == 0:
                return
            if self._vms.get(NAME).state.status != "running":
                raise Unavailable("the machine went down while it started", "proa vm inspect")
            time.sleep(_PAUSE_S)
        raise TimedOut(f"the machine's engine did not answer within {BOOT_TIMEOUT_S:.0f} s")

    def _forward(self) -> None:
        """Lead the engine's socket to the host, in an ssh that stays until the machine stops."""
        from proa.engine.vms.machineimage import SOCKET
        from proa.vm.kernel.install import run

        self._hang_up()
        words = self._ssh(
            "-f", "-N", "-T", "-M", "-S", self._control, "-o", "ExitOnForwardFailure=yes",
            "-o", "StreamLocalBindMask=0177", "-L", f"{self._socket}:{SOCKET}", "root@127.0.0.1",
        )  # fmt: skip
        run(words, "cannot reach the machine's engine")

    def _hang_up(self) -> None:
        """End the ssh that leads to the machine, remove its sockets. Idempotent."""
        import subprocess

        if os.path.exists(self._control):
            subprocess.run(
                ["ssh", "-F", os.devnull, "-S", self._control, "-O", "exit", "machine"],
                stdin=subprocess.DEVNULL, capture_output=True, timeout=30, check=False,
            )  # fmt: skip
        for path in (self._socket, self._control):
            try:
                os.unlink(path)
            except FileNotFoundError:
                pass


def _say_nothing(_: str) -> None:
    """The progress of who does not want to hear of it."""


def _find_free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
