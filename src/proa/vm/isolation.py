"""VM isolation: a container in a virtual machine of its own, with a kernel of its own.

::

    sandbox = VmIsolation(root).create(spec, Stdio(0, 1, 2), start=True)
    status = sandbox.init.wait()
    sandbox.delete()

``create`` boots a guest (:mod:`proa.guest` is its first process), tells it what container it is
for, and lets process isolation in there do the rest. The caller's thread is QEMU's parent: QEMU
ends with it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from proa.errors import Unavailable, from_os_error
from proa.oci.isolation import OverlayRoot, SandboxSpec, Stdio
from proa.vm import disks, sizing
from proa.vm.agent import messages, protocol
from proa.vm.agent.client import AgentClient
from proa.vm.agent.messages import Extent
from proa.vm.agent.processes import VmProcess
from proa.vm.guestspec import TREE_TAG, plan_guest
from proa.vm.qemu.machine import Disk, File, Inherited, KernelBoot, Machine, Port, Tap
from proa.vm.qemu.machine import Share as QemuShare
from proa.vm.sandbox import INIT, VmSandbox, make_killer, open_streams

if TYPE_CHECKING:
    from proa.cgroups.cgroup import Cgroup
    from proa.cgroups.manager import CgroupManager
    from proa.vm.accel import Acceleration
    from proa.vm.kernel.store import Kernel
    from proa.vm.nic import GuestNetwork
    from proa.vm.qemu.process import Qemu
    from proa.vm.shares import SharedTree

OnNetwork = Callable[[int], None]

RESOLVER_ADDRESS = "127.0.0.11"
"""Where the engine's resolver is in every container."""

BOOT_TIMEOUT_S = 120.0
"""Emulated on an overloaded host, a guest was seen to take half a minute."""

_ENTROPY_BYTES = 64
_FALLBACK_UID = 0x7FFF0000
"""QEMU's identity for containers without a range of user ids of their own."""

_manager: CgroupManager | None = None


class VmIsolation:
    """Implements :class:`proa.oci.isolation.Isolation` with QEMU. Holds no state.

    Args:
        root: the engine's state root: kernels, initramfs and disks are below it.
        accelerator: ``auto``, ``kvm`` or ``tcg``.
        kernel: which of the installed kernels; empty: the newest.
    """

    def __init__(self, root: str, *, accelerator: str = "auto", kernel: str = "") -> None:
        self._root = root
        self._accelerator = accelerator
        self._kernel = kernel

    def create(
        self,
        sandbox: SandboxSpec,
        stdio: Stdio,
        *,
        start: bool = False,
        on_network: OnNetwork | None = None,
    ) -> VmSandbox:
        """Build a sandbox; see :meth:`proa.oci.isolation.Isolation.create`.

        Raises:
            Invalid, Unsupported: the spec asks for what cannot be.
            CommandNotFound, CommandNotExecutable: with ``start``, the command's fault.
            ProaError: any kind; nothing is left behind.
        """
        creation = _Creation(self._root, self._accelerator, self._kernel, sandbox)
        try:
            return creation.run(stdio, start=start, on_network=on_network)
        except BaseException:
            creation.undo()
            raise


class _Creation:
    """One ``create`` on its way, and what it has made so far."""

    def __init__(self, root: str, accelerator: str, kernel: str, sandbox: SandboxSpec) -> None:
        self._root = root
        self._accelerator = accelerator
        self._kernel = kernel
        self._sandbox = sandbox
        self._plan = plan_guest(sandbox)
        self._warnings: list[str] = []
        self._cgroup: Cgroup | None = None
        self._qemu: Qemu | None = None
        self._client: AgentClient | None = None
        self._init: VmProcess | None = None
        self._network: GuestNetwork | None = None
        self._shares: SharedTree | None = None
        linux = sandbox.spec.linux
        assert linux is not None
        self._linux = linux
        overlay = sandbox.root if isinstance(sandbox.root, OverlayRoot) else None
        self._volatile = overlay is not None and overlay.volatile

    @property
    def _subject(self) -> str:
        return f"container {self._sandbox.id[:12]}"

    def run(self, stdio: Stdio, *, start: bool, on_network: OnNetwork | None) -> VmSandbox:
        """From a checked sandbox to a guest whose init is parked, or has executed its command."""
        kernel, acceleration = self._choose()
        layers = self._layers()
        self._cgroup = self._make_cgroup()
        if on_network is not None:
            from proa.vm.nic import GuestNetwork

            self._network = GuestNetwork(on_network)
        self._boot(kernel, acceleration, layers)
        qemu, client = self._qemu, self._client
        assert qemu is not None
        assert client is not None
        self._await_guest()
        client.request(self._set_up(layers))
        init = self._create(stdio, start=start)
        return VmSandbox(
            self._sandbox, client, qemu, self._cgroup, init, self._warnings,
            parked=not start, release=self._release,
        )  # fmt: skip

    def undo(self) -> None:
        """Remove what was made."""
        if self._qemu is not None:
            self._qemu.close()
        if self._shares is not None:
            self._shares.close()
        if self._client is not None:
            self._client.close()
        if self._init is not None:
            self._init.close()
        if self._cgroup is not None:
            self._cgroup.delete()
        if self._network is not None:
            self._network.close()

    def _release(self) -> None:
        """What is left of the machine when its container is deleted."""
        if self._shares is not None:
            self._shares.close()
        if self._network is not None:
            self._network.close()

    # -- parts -------------------------------------------------------------------------------------

    def _choose(self) -> tuple[Kernel, Acceleration]:
        from proa.vm.accel import choose_accelerator
        from proa.vm.kernel.store import get_kernel

        kernel = get_kernel(self._root, self._kernel)
        acceleration = choose_accelerator(self._root, kernel, self._accelerator)  # type: ignore[arg-type]
        if acceleration.warning:
            self._warnings.append(acceleration.warning)
        return kernel, acceleration

    def _layers(self) -> list[disks.LayerImage]:
        """Images of the layers, uppermost first."""
        root = self._sandbox.root
        if not isinstance(root, OverlayRoot):
            return [disks.ensure_layer(self._sandbox.bundle, root.path)]
        layers = [disks.ensure_layer(root.base, f"{root.base}/{lower}") for lower in root.lowers]
        upper = f"{root.base}/{root.upper}"
        if self._has_entries(upper):
            # What the engine put into the container lies above the image.
            layers.insert(0, disks.ensure_layer(os.path.dirname(upper), upper))
        return layers

    @staticmethod
    def _has_entries(directory: str) -> bool:
        try:
            with os.scandir(directory) as entries:
                return next(entries, None) is not None
        except OSError as error:
            raise from_os_error(error, f"cannot read {directory}") from error

    def _writable_path(self) -> str:
        root = self._sandbox.root
        if isinstance(root, OverlayRoot):
            return f"{root.base}/{os.path.dirname(root.upper)}/writable.ext4"
        return f"{self._sandbox.bundle}/writable.ext4"

    def _make_cgroup(self) -> Cgroup:
        from proa.cgroups.systemd import cgroup_path

        path = self._linux.cgroups_path
        if not path.startswith("/"):
            path = cgroup_path(path, self._sandbox.id)
        group = _cgroups().create(path, sizing.host_resources(self._linux.resources))
        self._warnings += group.warnings
        return group

    def _boot(
        self, kernel: Kernel, acceleration: Acceleration, layers: list[disks.LayerImage]
    ) -> None:
        import socket

        from proa.vm.qemu.argv import build_command
        from proa.vm.qemu.process import Confinement, spawn

        path = self._writable_path()
        disks.ensure_writable(self._root, path)
        ours, theirs = socket.socketpair()
        try:
            join = _join_fds(self._cgroup)
            try:
                if self._plan.shares:
                    from proa.vm.shares import SharedTree

                    self._shares = SharedTree(self._plan.shares, os.path.dirname(path), join)
                machine = self._machine(kernel, acceleration, layers, path, theirs.fileno())
                self._qemu = spawn(
                    build_command(machine),
                    Confinement(
                        uid=self._uid(), cgroup_fds=join, kvm=acceleration.accelerator == "kvm"
                    ),
                )
            finally:
                _close_joined(self._cgroup, join)
                if self._shares is not None:
                    self._shares.peer.close()
            ask = None
            if self._network is not None:
                from proa.vm.resolver import ResolverRelay

                self._network.close_taps()
                ask = ResolverRelay(self._network.netns_fd).ask
            self._client = AgentClient(ours, self._subject, ask)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()

    def _machine(
        self,
        kernel: Kernel,
        acceleration: Acceleration,
        layers: list[disks.LayerImage],
        writable: str,
        channel: int,
    ) -> Machine:
        from proa.vm.initramfs.build import boot_parameters, ensure_initramfs
        from proa.vm.qemu.argv import tuned_parameters

        resources = self._linux.resources
        cards = self._network.cards if self._network is not None else []
        shares: tuple[QemuShare, ...] = ()
        if self._shares is not None:
            shares = (QemuShare(tag=TREE_TAG, socket=Inherited(self._shares.peer.fileno())),)
        board = "microvm" if kernel.vmlinux else "q35"
        machine = Machine(
            name=f"proa-{self._sandbox.id[:12]}",
            board=board,  # type: ignore[arg-type]
            accelerator=acceleration.accelerator,
            vcpus=sizing.vcpus(resources, emulated=acceleration.accelerator == "tcg"),
            memory_bytes=sizing.memory_bytes(resources),
            boot=KernelBoot(
                kernel=File(kernel.vmlinux or kernel.image),
                initrd=File(ensure_initramfs(self._root, kernel.modules)),
            ),
            disks=(
                Disk(
                    serial="layers",
                    extents=tuple([File(layer.path) for layer in layers]),
                    cache="unsafe",
                ),
                Disk(
                    serial="writable",
                    source=File(writable, writable=True),
                    cache="unsafe" if self._volatile else "writeback",
                    throttle=sizing.throttle(resources),
                ),
            ),
            shares=shares,
            memory_shared=bool(shares),
            networks=tuple(
                [Tap(fd=Inherited(card.tap_fd), mac=card.interface.mac) for card in cards]
            ),
            ports=(Port(name=protocol.PORT_NAME, socket=Inherited(channel)),),
        )
        line = f"{tuned_parameters(machine, acceleration.tsc_khz)} {boot_parameters()}"
        boot = msgspec.structs.replace(machine.boot, command_line=line)
        return msgspec.structs.replace(machine, boot=boot)

    def _uid(self) -> int:
        """An identity that no other process of the host has."""
        if os.geteuid() != 0:
            return 0
        mappings = self._linux.uid_mappings
        return mappings[0].host_id if mappings else _FALLBACK_UID

    def _await_guest(self) -> None:
        assert self._client is not None
        assert self._qemu is not None
        try:
            self._client.await_hello(BOOT_TIMEOUT_S)
        except Unavailable as error:
            raise self._qemu.failure(f"boot the guest of {self._subject}") from error

    def _set_up(self, layers: list[disks.LayerImage]) -> messages.SetUp:
        cards = self._network.cards if self._network is not None else []
        extents = []
        offset = 0
        for layer in layers:
            extents.append(Extent(offset, layer.size, layer.filesystem))
            offset += layer.size
        return messages.SetUp(
            time_ns=time.time_ns(),
            entropy=os.urandom(_ENTROPY_BYTES),
            layers=tuple(extents),
            files=self._plan.files,
            interfaces=tuple([card.interface for card in cards]),
            sysctls=self._plan.sysctls,
            shares=(TREE_TAG,) if self._shares is not None else (),
            resolver=RESOLVER_ADDRESS if cards else "",
        )

    def _create(self, stdio: Stdio, *, start: bool) -> VmProcess:
        assert self._client is not None
        assert self._qemu is not None
        process = self._plan.spec.process
        assert process is not None
        streams = open_streams(process, stdio)
        holder: list[VmProcess] = []
        killer = make_killer(self._qemu, holder)
        init = VmProcess(self._client, INIT, self._qemu.pid, streams, killer)
        holder.append(init)
        self._init = init
        request = messages.Create(
            id=self._sandbox.id,
            spec=self._plan.spec,
            streams=streams.carried,
            merged=streams.merged,
            start=start,
        )
        answer = self._client.start(init, request)
        self._warnings += messages.decode_warnings(answer)
        return init


def _cgroups() -> CgroupManager:
    """The process' manager of the groups around QEMU."""
    global _manager
    if _manager is None:
        from proa.cgroups.manager import CgroupManager

        _manager = CgroupManager()
    return _manager


def _join_fds(cgroup: Cgroup | None) -> tuple[int, ...]:
    """Descriptors that QEMU joins its group through."""
    if cgroup is None:
        return ()
    joins = cgroup.join_fds()
    if joins:
        return joins
    paths = sorted(set(cgroup.paths().values()))
    try:
        return tuple(
            [os.open(f"{path}/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC) for path in paths]
        )
    except OSError as error:
        raise from_os_error(error, f"cannot open the cgroup {cgroup.path}") from error


def _close_joined(cgroup: Cgroup | None, fds: tuple[int, ...]) -> None:
    """Close what :func:`_join_fds` opened; v1 descriptors are the group's own."""
    if cgroup is not None and not cgroup.join_fds():
        for fd in fds:
            os.close(fd)
