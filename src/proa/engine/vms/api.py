"""``engine.vms``: full virtual machines."""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from proa.engine.context import Context
from proa.engine.layout import SocketPath
from proa.engine.names import generate_name, validate_name
from proa.engine.vmmodel import VmConfig, VmDisk, VmRecord, VmState
from proa.engine.vms.groups import remove_group
from proa.engine.vms.protocol import Answer, Request, SnapshotOp, receive_line
from proa.errors import Conflict, Invalid, NotFound, TimedOut, Unavailable, from_os_error
from proa.fs import lock, tree
from proa.fs.atomicfile import load_file, save_file
from proa.units import format_rfc3339_ns

if TYPE_CHECKING:
    from proa.vm.kernel import Kernel

DEFAULT_STOP_TIMEOUT_S = 90.0
NEVER = "0001-01-01T00:00:00Z"
"""Docker's word for a time that has not come."""
_ANSWER_TIMEOUT_S = 600.0
_LOST = "its supervisor was killed"

VmList = list[VmRecord]
KernelList = list["Kernel"]
Names = list[str]


class Vms:
    """Verbs on the virtual machines of one engine (``engine.vms``)."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def create(
        self,
        name: str = "",
        *,
        config: VmConfig | None = None,
        disks: Sequence[str] = (),
        disk_size_bytes: int = 0,
        disk_format: str = "",
    ) -> VmRecord:
        """Make a machine; it does not run yet.

        Args:
            name: empty: a random one.
            config: everything but the disks.
            disks: images to make copy-on-write disks of; they must not change while it exists.
            disk_size_bytes: size of the first disk, at least its image's; without an image: of an
                empty disk; 0: the image's.
            disk_format: what the images are, ``raw`` or ``qcow2``; empty: look at them.

        Raises:
            NotFound, Forbidden: an image cannot be read.
            Invalid: a word, a size or an image that machines cannot use.
            Conflict: the name is in use.
            Unavailable: qemu-img or the firmware is not installed.
        """
        from proa.engine.vms.checks import check_config, describe_disk
        from proa.vm.qemu.argv import check_word

        config = config or VmConfig()
        machine_id = secrets.token_hex(32)
        name = name or generate_name()
        validate_name(name)
        check_word("the name", name)
        check_config(config)
        described = [describe_disk(os.path.abspath(path), disk_format) for path in disks]
        if disk_size_bytes:
            first = described[0] if described else VmDisk()
            if disk_size_bytes < first.size_bytes:
                raise Invalid(
                    f"a disk of {disk_size_bytes} bytes is smaller than its image {first.base}",
                    "images can be grown, not shrunk",
                )
            described[:1] = [msgspec.structs.replace(first, size_bytes=disk_size_bytes)]
        config = msgspec.structs.replace(config, disks=tuple(described))
        if not (described or config.cdrom or config.kernel):
            raise Invalid(
                "a machine needs something to boot", "give it --disk, --cdrom or --kernel"
            )
        record = VmRecord(
            id=machine_id, name=name, uid=0, created_at_ns=time.time_ns(), config=config,
            state=VmState(),
        )  # fmt: skip
        return self._make(record)

    def start(self, reference: str) -> str:
        """Start a machine; return a warning for the user, or nothing.

        Raises:
            NotFound: there is no such machine.
            Conflict: it is running, or its base image was changed.
            ProaError: it cannot be started.
        """
        from proa.engine.vms.start import start_supervisor

        record = self.get(reference)
        if record.state.status == "running":
            raise Conflict(f"machine {record.name} is running already")
        return start_supervisor(self._context.layout, record.id)

    def stop(self, reference: str, *, timeout_s: float | None = None) -> None:
        """Press the power button, wait, and switch off what did not go down in time.

        Args:
            reference: name or id; a machine that does not run is left as it is.
            timeout_s: None: 90 seconds; 0: switch off at once.
        """
        record = self.get(reference)
        if record.state.status != "running":
            return
        timeout_s = DEFAULT_STOP_TIMEOUT_S if timeout_s is None else timeout_s
        request = Request(op="stop", timeout_s=timeout_s)
        try:
            self._ask(record, request, wait_s=timeout_s + 30)
        except Unavailable:
            # It ended by itself meanwhile.
            if self.get(record.id).state.status == "running":
                raise

    def get(self, reference: str) -> VmRecord:
        """Return a machine by name, id or the beginning of its id.

        Raises:
            NotFound: there is no such machine.
        """
        return self._refreshed(self._context.state.virtual_machines.get(reference))

    def list(self) -> VmList:
        """Return all machines, newest first."""
        return [self._refreshed(record) for record in self._context.state.virtual_machines.list()]

    def inspect(self, reference: str) -> dict[str, Any]:
        """Return everything about a machine."""
        from proa.engine.vms.compose import disk_path

        record = self.get(reference)
        directory = self._context.layout.vm(record.id)
        state = record.state
        document: dict[str, Any] = msgspec.to_builtins(record.config)
        return {
            "Id": record.id,
            "Name": record.name,
            "Created": format_rfc3339_ns(record.created_at_ns),
            "State": {
                "Status": state.status,
                "Pid": state.qemu_pid,
                "Accelerator": state.accelerator,
                "AcceleratorReason": state.reason,
                "StartedAt": _moment(state.started_at_ns),
                "FinishedAt": _moment(state.finished_at_ns),
                "EndedBy": state.how,
                "Error": state.error,
            },
            "User": record.uid,
            "Config": document,
            "Disks": [
                {
                    "Path": disk_path(directory, index),
                    "Base": disk.base,
                    "Size": disk.size_bytes,
                    "Allocated": _allocated(disk_path(directory, index)),
                }
                for index, disk in enumerate(record.config.disks)
            ],
            "ConsoleLog": f"{directory}/console.log",
        }

    def open_console(self, reference: str) -> socket.socket:
        """Connect to a running machine's console; the caller closes the socket.

        It begins with the last 64 KiB that the machine said.

        Raises:
            Conflict: the machine does not run.
        """
        record = self._running(reference)
        sock = self._connect(record)
        try:
            self._exchange(sock, record, Request(op="console"), _ANSWER_TIMEOUT_S)
            sock.settimeout(None)
        except BaseException:
            sock.close()
            raise
        return sock

    def attach_console(
        self, reference: str, *, stdin_fd: int = 0, stdout_fd: int = 1, detach_keys: str = ""
    ) -> bool:
        """Show a running machine's console on descriptors.

        Args:
            reference: name or id.
            stdin_fd: what is typed; a terminal is put into raw mode meanwhile. Below 0: nothing.
            stdout_fd: where it is shown.
            detach_keys: keys that leave, in Docker's words; empty: ``ctrl-]``.

        Returns:
            True when the user left, False when the machine has ended.
        """
        from proa.engine.vms.attach import relay

        with self.open_console(reference) as console:
            return relay(console, stdin_fd, stdout_fd, detach_keys)

    def remove(self, reference: str, *, force: bool = False) -> None:
        """Remove a machine and its disks; base images stay.

        Args:
            reference: name or id.
            force: switch a running one off.

        Raises:
            Conflict: it is running.
        """
        record = self.get(reference)
        if record.state.status == "running":
            if not force:
                raise Conflict(
                    f"machine {record.name} is running", "stop it, or remove it with --force"
                )
            self.stop(record.id, timeout_s=0)
        self._context.state.virtual_machines.delete(record.id)
        tree.remove_tree(self._context.layout.vm(record.id))

    def snapshots(self, reference: str) -> Names:
        """Return the names of a machine's snapshots, oldest first."""
        from proa.engine.vms.compose import disk_path
        from proa.vm.qemu.images import list_snapshots

        record = self.get(reference)
        if record.state.status == "running":
            return list(self._ask(record, Request(op="snapshots")).names)
        if not record.config.disks:
            return []
        return list_snapshots(disk_path(self._context.layout.vm(record.id), 0), record.uid)

    def save_snapshot(self, reference: str, name: str) -> None:
        """Keep the machine as it is now: its disks, and while it runs its memory too.

        Raises:
            Invalid: not a usable name.
            Conflict: it has such a snapshot, or no disk.
        """
        if name in self.snapshots(reference):
            raise Conflict(f"there is a snapshot {name} already", "choose another name")
        self._change_snapshot(reference, "snapshot-save", "-c", name)

    def load_snapshot(self, reference: str, name: str) -> None:
        """Make the machine what it was. A machine that is off gets its disks back only.

        Raises:
            NotFound: there is no such snapshot.
        """
        self._check_snapshot(reference, name)
        self._change_snapshot(reference, "snapshot-load", "-a", name)

    def delete_snapshot(self, reference: str, name: str) -> None:
        """Forget a snapshot.

        Raises:
            NotFound: there is no such snapshot.
        """
        self._check_snapshot(reference, name)
        self._change_snapshot(reference, "snapshot-delete", "-d", name)

    def convert_image(
        self,
        reference: str,
        path: str,
        *,
        disk_format: str = "qcow2",
        size_bytes: int = 0,
        kernel: str = "",
        init: str = "",
    ) -> None:
        """Make a disk that boots with UEFI of an image that has an init.

        Args:
            reference: the image.
            path: absolute, where the disk goes; a file that is there is replaced.
            disk_format: ``qcow2`` or ``raw``.
            size_bytes: of the root file system; 0: what it needs and room to grow.
            kernel: which of the installed guest kernels; empty: the newest.
            init: absolute path in the image; empty: ``/sbin/init``.

        Raises:
            NotFound: no such image or kernel, or the image has no init.
            Forbidden: not root.
            Unavailable: a tool is missing or failed.
        """
        from proa.engine.vms.todisk import convert_image

        convert_image(
            self._context, reference, path, disk_format=disk_format, size_bytes=size_bytes,
            kernel=kernel, init=init,
        )  # fmt: skip

    # -- kernels for guests ------------------------------------------------------------------------

    def kernels(self) -> KernelList:
        """Return the installed guest kernels, newest first."""
        from proa.vm.kernel import list_kernels

        return list_kernels(self._context.layout.root)

    def install_kernel(self, name: str = "", *, architecture: str = "") -> Kernel:
        """Install Debian's current cloud kernel, or the one that is named, for guests.

        Raises:
            NotFound: apt has no such kernel.
            Unavailable: apt is missing, or a download or signature failed.
        """
        from proa.vm.kernel.install import install_kernel

        self._context.layout.ensure()
        return install_kernel(self._context.layout.root, name, architecture=architecture)

    def remove_kernel(self, release: str) -> None:
        """Remove an installed guest kernel.

        Raises:
            NotFound: it is not installed.
        """
        from proa.vm.kernel import remove_kernel

        remove_kernel(self._context.layout.root, release)

    # -- inside ------------------------------------------------------------------------------------

    def _make(self, record: VmRecord) -> VmRecord:
        """Make a machine's files, then its record: a directory without a record is garbage."""
        from proa.engine.vms.compose import OVMF_VARIABLES, disk_path, find_firmware
        from proa.vm.qemu.images import create_overlay

        table = self._context.state.virtual_machines
        record = table.insert(record)
        directory = self._context.layout.vm(record.id)
        try:
            os.makedirs(directory, mode=0o700)
            for index, disk in enumerate(record.config.disks):
                create_overlay(
                    disk_path(directory, index), disk.base, disk.base_format, disk.size_bytes,
                    record.uid,
                )  # fmt: skip
            if record.config.firmware == "uefi":
                variables = load_file(find_firmware(OVMF_VARIABLES))
                save_file(f"{directory}/efivars.fd", variables)
        except BaseException as error:
            table.delete(record.id)
            tree.remove_tree(directory)
            if isinstance(error, OSError):
                raise from_os_error(error, f"cannot make machine {record.name}") from error
            raise
        return record

    def _refreshed(self, record: VmRecord) -> VmRecord:
        """The truth about a machine whose supervisor may have been killed."""
        if record.state.status != "running" or lock.is_held(self._context.layout.vm(record.id)):
            return record
        current = self._context.state.virtual_machines.get(record.id)
        if current.state.status != "running":
            return current
        state = msgspec.structs.replace(
            current.state, status="exited", qemu_pid=0, finished_at_ns=time.time_ns(),
            how="failed", error=_LOST,
        )  # fmt: skip
        remove_group(record.id)
        self._context.state.virtual_machines.set_state(record.id, state)
        return msgspec.structs.replace(current, state=state)

    def _running(self, reference: str) -> VmRecord:
        record = self.get(reference)
        if record.state.status != "running":
            raise Conflict(f"machine {record.name} is not running", f"proa vm start {record.name}")
        return record

    def _check_snapshot(self, reference: str, name: str) -> None:
        if name not in self.snapshots(reference):
            raise NotFound(f"no such snapshot: {name}", f"`proa vm snapshot ls {reference}`")

    def _change_snapshot(
        self, reference: str, op: SnapshotOp, action: Literal["-c", "-a", "-d"], name: str
    ) -> None:
        from proa.engine.vms.compose import disk_path
        from proa.vm.qemu.argv import check_word
        from proa.vm.qemu.images import change_snapshot

        check_word("the snapshot", name)
        record = self.get(reference)
        if record.state.status == "running":
            self._ask(record, Request(op=op, name=name))
            return
        directory = self._context.layout.vm(record.id)
        if not record.config.disks:
            raise Conflict(f"machine {record.name} has no disk to keep a snapshot in")
        with lock.acquire(directory):
            for index in range(len(record.config.disks)):
                change_snapshot(disk_path(directory, index), record.uid, action, name)

    def _ask(self, record: VmRecord, request: Request, wait_s: float = _ANSWER_TIMEOUT_S) -> Answer:
        with self._connect(record) as sock:
            return self._exchange(sock, record, request, wait_s)

    def _connect(self, record: VmRecord) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            with SocketPath(self._context.layout.vm_control(record.id)) as path:
                sock.connect(path)
        except OSError as error:
            sock.close()
            raise Unavailable(f"machine {record.name} does not answer") from error
        return sock

    def _exchange(
        self, sock: socket.socket, record: VmRecord, request: Request, wait_s: float
    ) -> Answer:
        from proa.engine.vms.start import error_of

        sock.settimeout(wait_s)
        try:
            sock.sendall(msgspec.json.encode(request) + b"\n")
            line = receive_line(sock)
        except TimeoutError as error:
            raise TimedOut(
                f"machine {record.name} did not answer {request.op} within {wait_s:.0f} s"
            ) from error
        except OSError as error:
            raise from_os_error(error, f"cannot ask machine {record.name}") from error
        if not line:
            raise Unavailable(f"the supervisor of machine {record.name} is gone")
        answer = msgspec.json.decode(line, type=Answer)
        if answer.kind:
            raise error_of(answer.kind, answer.message, answer.hint)
        return answer


def _moment(time_ns: int) -> str:
    return format_rfc3339_ns(time_ns) if time_ns else NEVER


def _allocated(path: str) -> int:
    try:
        return os.stat(path).st_blocks * 512
    except OSError:
        return 0
