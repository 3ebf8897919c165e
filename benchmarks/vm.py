"""How fast a container's machine starts, against the bare kernel on the same settings.

Run ``python -m benchmarks.vm`` as root; ``--quick`` for a look, ``--only`` for some sections,
``--json FILE`` to keep every single figure. SPECIFICATION.md names the sections. Everything is
measured with the accelerator that this host has, interleaved in one run.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable

import msgspec
from tests.support import engines, guests, kernels

from benchmarks import measure
from benchmarks.measure import Case, MeasurementError, Report, Sample, Verdict
from proa.errors import ProaError
from proa.vm.accel import Acceleration, boot_probe, choose_accelerator
from proa.vm.kernel.store import Kernel

READY_FACTOR = 1.6
STARTS = 200
_BOOT_TIMEOUT_S = 60.0
_WORD = b"out\n"


class Setting(msgspec.Struct, kw_only=True):
    """What the sections measure.

    Attributes:
        kernel: the guests'.
        scale: 1.0, less with ``--quick``.
    """

    proa: engines.Proa
    kernel: Kernel
    acceleration: Acceleration
    scale: float
    report: Report

    def times(self, count: int) -> int:
        """Return how often to measure what a full run measures ``count`` times."""
        return max(3, round(count * self.scale))

    def keep(self, title: str, samples: list[Sample], baseline: str) -> dict[str, Sample]:
        """Print and record a table; return its rows."""
        print(f"\n{title}\n{measure.table(samples, baseline)}", flush=True)
        self.report.sections[title] = samples
        return {sample.name: sample for sample in samples}

    def judge(self, verdict: Verdict) -> None:
        """Print and record what became of a promise."""
        print(verdict.line(), flush=True)
        self.report.verdicts.append(verdict)

    def boot(self, kernel: Kernel) -> Callable[[], float]:
        """Return what boots a bare kernel to the first word of a tiny static init, in ms."""

        def once() -> float:
            try:
                accelerator = self.acceleration.accelerator
                tsc_khz = self.acceleration.tsc_khz
                return boot_probe(kernel, accelerator, tsc_khz, _BOOT_TIMEOUT_S) * 1e3
            except ProaError as error:
                raise MeasurementError(str(error)) from error

        return once

    def first_output(self, *flags: str) -> Callable[[], float]:
        """Return what times a whole command from its start to the container's first byte, in ms."""
        words = [
            *engines.launcher(), "run", "--rm", "--network", "none", *flags, guests.BUSYBOX,
            "echo", "out",
        ]  # fmt: skip

        def once() -> float:
            begin = time.perf_counter()
            with subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=self.proa.environment(),
            ) as running:
                assert running.stdout is not None
                first = running.stdout.read(len(_WORD))
                spent_ms = (time.perf_counter() - begin) * 1e3
            if first != _WORD or running.returncode:
                raise MeasurementError(f"it said {first!r} and gave {running.returncode}")
            return spent_ms

        return once


def start(setting: Setting) -> None:
    """A guest that may run a command, and a whole run, against the bare kernel."""
    stock = msgspec.structs.replace(setting.kernel, vmlinux="")
    repeats = setting.times(12)
    cases = [
        Case(name="bare kernel, tuned", once=setting.boot(setting.kernel), repeats=repeats),
        Case(name="bare kernel, q35 + bzImage", once=setting.boot(stock), repeats=repeats),
        Case(name="guest ready", once=_ready(setting), repeats=repeats),
        Case(name="run vm", once=setting.first_output("--isolation", "vm"), repeats=repeats),
        Case(name="run process", once=setting.first_output(), repeats=repeats),
    ]
    title = f"start, {setting.acceleration.accelerator}"
    rows = setting.keep(title, measure.interleave(cases, warmup=1), "bare kernel, tuned")
    bare, stocked = rows["bare kernel, tuned"], rows["bare kernel, q35 + bzImage"]
    setting.judge(
        Verdict(
            promise="vm: guest ready / bare kernel",
            measured=rows["guest ready"].median_ms / bare.median_ms,
            limit=READY_FACTOR,
        )
    )
    setting.judge(
        Verdict(
            promise="vm: cold run / q35 kernel to init",
            measured=rows["run vm"].median_ms / stocked.median_ms,
            limit=1.0,
        )
    )


def _ready(setting: Setting) -> Callable[[], float]:
    """Return what boots a guest to its agent's first message, in ms."""
    import socket

    from proa.vm.agent import protocol
    from proa.vm.agent.client import AgentClient
    from proa.vm.initramfs.build import boot_parameters, ensure_initramfs
    from proa.vm.qemu.argv import build_command, tuned_parameters
    from proa.vm.qemu.machine import File, Inherited, KernelBoot, Machine, Port
    from proa.vm.qemu.process import Confinement, spawn

    kernel, acceleration = setting.kernel, setting.acceleration
    initramfs = ensure_initramfs(setting.proa.root, kernel.modules)

    def once() -> float:
        begin = time.perf_counter()
        ours, theirs = socket.socketpair()
        machine = Machine(
            name="ready",
            board="microvm" if kernel.vmlinux else "q35",
            accelerator=acceleration.accelerator,
            memory_bytes=256 << 20,
            boot=KernelBoot(kernel=File(kernel.vmlinux or kernel.image), initrd=File(initramfs)),
            ports=(Port(name=protocol.PORT_NAME, socket=Inherited(theirs.fileno())),),
        )
        line = f"{tuned_parameters(machine, acceleration.tsc_khz)} {boot_parameters()}"
        boot = msgspec.structs.replace(machine.boot, command_line=line)
        command = build_command(msgspec.structs.replace(machine, boot=boot))
        kvm = acceleration.accelerator == "kvm"
        with spawn(command, Confinement(uid=65534, kvm=kvm)):
            theirs.close()
            client = AgentClient(ours, "the guest")
            try:
                client.await_hello(_BOOT_TIMEOUT_S)
                return (time.perf_counter() - begin) * 1e3
            except ProaError as error:
                raise MeasurementError(str(error)) from error
            finally:
                client.close()

    return once


def endurance(setting: Setting) -> None:
    """Start after start: none hangs, none fails."""
    count = setting.times(STARTS)
    once = setting.first_output("--isolation", "vm")
    samples = measure.interleave([Case(name="run vm", once=once, repeats=count)], warmup=0)
    setting.keep("starts in a row", samples, "run vm")
    setting.judge(
        Verdict(
            promise=f"vm: failures of {count} starts",
            measured=float(len(samples[0].failures)),
            limit=0.0,
        )
    )


SECTIONS: dict[str, Callable[[Setting], None]] = {"start": start, "endurance": endurance}


def main() -> int:
    """Measure the sections and judge the promises."""
    options = _options()
    if os.geteuid() != 0:
        print("virtual machines are measured as root", file=sys.stderr)
        return 2
    report = Report(machine=measure.machine())
    try:
        with engines.temporary_root() as proa:
            guests.prepare(proa)
            kernel = kernels.ensure_kernel(proa.root)
            setting = Setting(
                proa=proa,
                kernel=kernel,
                acceleration=choose_accelerator(proa.root, kernel),
                scale=0.25 if options.quick else 1.0,
                report=report,
            )
            try:
                for name in options.only or SECTIONS:
                    SECTIONS[name](setting)
            finally:
                proa.remove_all()
                engines.await_teardown(proa)
    except (MeasurementError, ProaError) as error:
        print(f"measuring failed: {error}", file=sys.stderr)
        return 2
    return measure.conclude(report, options.json)


def _options() -> argparse.Namespace:
    return measure.option_parser(
        "benchmarks.vm", __doc__, SECTIONS, "a quarter of the repetitions"
    ).parse_args()


if __name__ == "__main__":
    sys.exit(main())
