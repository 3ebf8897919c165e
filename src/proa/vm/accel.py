"""KVM or TCG: decided by running a guest, not by looking at a device file.

``/dev/kvm`` that opens proves nothing: nested or filtered virtualization may refuse a register that
QEMU sets, or run the first instructions of a kernel and never its user space. So KVM is used only
when a guest of :mod:`proa.vm.probe` booted an ordinary kernel on it and said its word.

The result is kept in ``<root>/vm/acceleration.json`` for as long as what it rests on is the same:
the boot of the host, QEMU's program and the kernel.
"""

from __future__ import annotations

import os
import socket
import time
from typing import Literal

import msgspec

from proa.errors import ProaError, Unavailable, Unsupported, from_os_error
from proa.fs.atomicfile import load_file, save_file
from proa.linux import procfs
from proa.vm import probe
from proa.vm.kernel.store import Kernel
from proa.vm.qemu.argv import build_command, program_of, tuned_parameters
from proa.vm.qemu.machine import Board, Inherited, KernelBoot, Machine
from proa.vm.qemu.process import Confinement, Qemu, find_program, spawn

Wanted = Literal["auto", "kvm", "tcg"]

PROBE_TIMEOUT_S = 5.0
"""A guest on KVM takes 0.2 s to the word; one that has not said it by then is not run by KVM."""
PROBE_UID = 65534
_KVM = "/dev/kvm"


class Acceleration(msgspec.Struct, frozen=True, kw_only=True):
    """How guests run on this host.

    Attributes:
        accelerator: what to give :class:`~proa.vm.qemu.machine.Machine`.
        reason: why not KVM, or that a probe guest ran; one sentence without its full stop.
        tsc_khz: rate of the host's time stamp counter, which guests under TCG see; 0: not x86-64.
        warning: a line for the user, empty when there is nothing to warn of.
    """

    accelerator: Literal["kvm", "tcg"]
    reason: str
    tsc_khz: int = 0
    warning: str = ""


class _Cached(msgspec.Struct, frozen=True, kw_only=True):
    key: str
    kvm: bool
    reason: str
    tsc_khz: int


def choose_accelerator(root: str, kernel: Kernel | None, wanted: Wanted = "auto") -> Acceleration:
    """Decide how a guest with this kernel runs; probes KVM once per boot of the host.

    Args:
        root: the engine's state root.
        kernel: what the probe guest boots too; None: none is installed, so KVM cannot be proved.
        wanted: ``--vm-accel``; ``kvm`` refuses to fall back.

    Raises:
        Unsupported: ``kvm`` was asked for and does not work; the message says why.
        Unavailable: QEMU is not installed.
    """
    if kernel is None:
        reason = _reason_without_probe() or f"{_KVM} cannot be probed without a guest kernel"
        found = _Cached(key="", kvm=False, reason=reason, tsc_khz=0)
    elif kernel.architecture != os.uname().machine:
        reason = f"a guest for {kernel.architecture} cannot run natively on {os.uname().machine}"
        found = _Cached(key="", kvm=False, reason=reason, tsc_khz=0)
    else:
        found = _load(root, _key(kernel)) or _probe_and_save(root, kernel)
    if wanted == "kvm" and not found.kvm:
        hint = "use --vm-accel auto or tcg" if kernel else "run `proa vm kernel install`"
        raise Unsupported(f"KVM cannot be used: {found.reason}", hint)
    if found.kvm and wanted != "tcg":
        return Acceleration(accelerator="kvm", reason=found.reason, tsc_khz=found.tsc_khz)
    if wanted == "tcg":
        return Acceleration(accelerator="tcg", reason="asked for", tsc_khz=found.tsc_khz)
    return Acceleration(
        accelerator="tcg",
        reason=found.reason,
        tsc_khz=found.tsc_khz,
        warning=f"virtual machines are emulated (TCG), many times slower than KVM: {found.reason}",
    )


def find_acceleration(root: str, kernel: Kernel | None) -> Acceleration | None:
    """What is known without booting anything (for ``proa info``); None: it has to be probed."""
    reason = _reason_without_probe()
    if reason:
        return Acceleration(accelerator="tcg", reason=reason)
    found = _load(root, _key(kernel)) if kernel is not None else None
    if found is None:
        return None
    return Acceleration(
        accelerator="kvm" if found.kvm else "tcg", reason=found.reason, tsc_khz=found.tsc_khz
    )


def boot_probe(
    kernel: Kernel, accelerator: Literal["kvm", "tcg"], tsc_khz: int, timeout_s: float
) -> float:
    """Boot the probe guest; return the seconds from QEMU's start to its word.

    Raises:
        Unavailable: QEMU ended, or the word did not come in time.
        ProaError: QEMU could not be started.
    """
    board: Board = "microvm" if kernel.vmlinux else "q35"
    if kernel.architecture == "aarch64":
        board = "virt"
    initramfs = os.memfd_create("proa-probe", os.MFD_CLOEXEC)
    ours, theirs = socket.socketpair()
    try:
        os.write(initramfs, probe.make_initramfs(kernel.architecture))
        os.fchmod(initramfs, 0o444)
        image = os.open(kernel.vmlinux or kernel.image, os.O_RDONLY | os.O_CLOEXEC)
        machine = Machine(
            name="probe",
            board=board,
            accelerator=accelerator,
            memory_bytes=128 << 20,
            boot=KernelBoot(kernel=Inherited(image), initrd=Inherited(initramfs)),
            console=Inherited(theirs.fileno()),
        )
        line = tuned_parameters(machine, tsc_khz)
        boot = msgspec.structs.replace(machine.boot, command_line=line)
        command = build_command(msgspec.structs.replace(machine, boot=boot))
        confinement = Confinement(
            uid=PROBE_UID if os.geteuid() == 0 else 0, kvm=accelerator == "kvm"
        )
        start_s = time.monotonic()
        try:
            with spawn(command, confinement) as qemu:
                theirs.close()
                _await_word(qemu, ours, start_s + timeout_s, timeout_s)
        finally:
            os.close(image)
        return time.monotonic() - start_s
    except OSError as error:
        raise from_os_error(error, "cannot start the probe guest") from error
    finally:
        os.close(initramfs)
        ours.close()
        theirs.close()


def _await_word(qemu: Qemu, console: socket.socket, deadline_s: float, timeout_s: float) -> None:
    said = b""
    while probe.WORD not in said:
        console.settimeout(max(0.001, deadline_s - time.monotonic()))
        try:
            data = console.recv(4096)
        except TimeoutError:
            raise Unavailable(
                f"a probe guest did not reach its user space in {timeout_s:g} s"
            ) from None
        except ConnectionError:
            data = b""
        if not data:
            # The socket closes before the process can be reaped.
            qemu.wait()
            raise qemu.failure("run a probe guest")
        said = (said + data)[-65536:]


def _probe_and_save(root: str, kernel: Kernel) -> _Cached:
    tsc_khz = measure_tsc_khz()
    reason = _reason_without_probe()
    if not reason:
        try:
            took_s = boot_probe(kernel, "kvm", tsc_khz, PROBE_TIMEOUT_S)
        except ProaError as error:
            reason = f"{_KVM} runs no guest: {error}"
    found = _Cached(
        key=_key(kernel),
        kvm=not reason,
        reason=reason or f"a probe guest ran in {took_s:.2f} s",
        tsc_khz=tsc_khz,
    )
    try:
        os.makedirs(f"{root}/vm", mode=0o700, exist_ok=True)
        save_file(_path(root), msgspec.json.encode(found), durable=False)
    except OSError as error:
        raise from_os_error(error, f"cannot write {_path(root)}") from error
    return found


def measure_tsc_khz() -> int:
    """Rate of the time stamp counter; 0 where there is none."""
    if os.uname().machine != "x86_64":
        return 0
    from proa.linux.tsc import measure_khz

    try:
        return measure_khz()
    except OSError:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as lines:
            for line in lines:
                if line.startswith("cpu MHz"):
                    return round(float(line.partition(":")[2]) * 1000)
    return 0


def _reason_without_probe() -> str:
    """Why there can be no KVM; empty when only a probe can tell."""
    try:
        os.close(os.open(_KVM, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return f"{_KVM}: {os.strerror(error.errno or 0).lower()}"
    return ""


def _key(kernel: Kernel) -> str:
    program = find_program(program_of("virt" if kernel.architecture == "aarch64" else "q35"))
    status = os.stat(program)
    words = (procfs.read_boot_id(), program, status.st_size, status.st_mtime_ns, kernel.release)
    return " ".join(str(word) for word in words)


def _load(root: str, key: str) -> _Cached | None:
    try:
        found = msgspec.json.decode(load_file(_path(root), 65536), type=_Cached)
    except (OSError, msgspec.MsgspecError):
        return None
    return found if found.key == key else None


def _path(root: str) -> str:
    return f"{root}/vm/acceleration.json"
