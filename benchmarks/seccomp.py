"""Seccomp filters: Proa's compiler beside libseccomp, for the default profile.

Measures compiling (warm), loading into the kernel, and the cost of a system call under each filter.
libseccomp is called as runc calls it, once with its linear search and once with its tree.

Usage: ``python -m benchmarks.seccomp [--repeats N] [--json FILE]``; no privileges are needed.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
from tests.support import libseccomp

from benchmarks import measure
from proa.linux import seccomp as abi
from proa.linux import syscalls
from proa.linux.process import PR_SET_NO_NEW_PRIVS, prctl
from proa.runtime.security import capabilities, seccomp, seccomp_compile

OURS = "proa"
INSTRUCTION_BYTES = 8
CALLS = 20000

COMPILE_RATIO_LIMIT = 0.25
NATIVE_LIMIT = 120


def main() -> int:
    """Measure and print; the exit code is 0 when every promise was kept."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=100)
    parser.add_argument("--json", type=Path, help="write every single figure to this file")
    arguments = parser.parse_args()
    report = run(arguments.repeats)
    for title, samples in report.sections.items():
        print(f"\n{title}, ms\n{measure.table(samples, OURS)}")
    print()
    for name, fact in report.facts.items():
        print(f"{name}: {fact:g}")
    for verdict in report.verdicts:
        print(verdict.line())
    if arguments.json:
        arguments.json.write_text(measure.to_json(report))
    return 0 if all(verdict.kept for verdict in report.verdicts) else 1


def run(repeats: int) -> measure.Report:
    """Measure every compiler that is there, interleaved."""
    compilers = find_compilers()
    programs = {name: compiler() for name, compiler in compilers.items()}
    report = measure.Report(machine=measure.machine())
    report.sections["compile the default profile"] = measure.interleave(
        [
            measure.Case(name=name, once=_dropping(compiler), repeats=repeats)
            for name, compiler in compilers.items()
        ]
    )
    report.sections["load it"] = measure.interleave(
        [
            measure.Case(name=name, once=_loading(program), repeats=repeats)
            for name, program in programs.items()
        ]
    )
    report.sections[f"{CALLS} calls of getppid under it"] = measure.interleave(
        [
            measure.Case(name=name, once=_calling(program), repeats=max(3, repeats // 10))
            for name, program in programs.items()
        ]
    )
    for name, program in programs.items():
        report.facts[f"instructions, {name}"] = len(program) // INSTRUCTION_BYTES
    spec = seccomp.default_profile(capabilities.DEFAULT)
    native = seccomp_compile.compile_program(msgspec.structs.replace(spec, architectures=()))
    report.facts["instructions, proa, this architecture alone"] = len(native) // INSTRUCTION_BYTES
    compiled = {s.name: s.median_ms for s in report.sections["compile the default profile"]}
    peers = [time_ms for name, time_ms in compiled.items() if name != OURS]
    ratio = compiled[OURS] / min(peers, default=float("nan"))
    report.verdicts = [
        measure.Verdict(
            promise="default filter compiled, of libseccomp's time",
            measured=ratio,
            limit=COMPILE_RATIO_LIMIT,
        ),
        measure.Verdict(
            promise="default filter, one architecture, instructions",
            measured=len(native) // INSTRUCTION_BYTES,
            limit=NATIVE_LIMIT,
        ),
    ]
    return report


def find_compilers() -> dict[str, Callable[[], bytes]]:
    """Return what can compile the default profile here, by name."""
    spec = seccomp.default_profile(capabilities.DEFAULT)
    found: dict[str, Callable[[], bytes]] = {OURS: lambda: seccomp_compile.compile_program(spec)}
    try:
        library = libseccomp.load()
    except OSError:
        return found
    found["libseccomp"] = lambda: libseccomp.compile_spec(library, spec)
    found["libseccomp, tree"] = lambda: libseccomp.compile_spec(library, spec, tree=True)
    return found


def _dropping(compiler: Callable[[], bytes]) -> Callable[[], None]:
    def once() -> None:
        compiler()

    return once


def _loading(program: bytes) -> Callable[[], float]:
    instructions = ctypes.create_string_buffer(program, len(program))
    number = syscalls.number("seccomp")

    def load() -> float:
        # What the launch plan does: the program lies ready, one call loads it.
        fprog = abi.pack_fprog(len(program), ctypes.addressof(instructions))
        syscalls.raw_call(number, abi.SET_MODE_FILTER, 0, 0)
        return _timed(lambda: syscalls.call(number, abi.SET_MODE_FILTER, 0, fprog))

    return lambda: _in_child(load)


def _calling(program: bytes) -> Callable[[], float]:
    def calls() -> float:
        abi.set_mode_filter(program)
        number = syscalls.number("getppid")
        return _timed(lambda: [syscalls.raw_call(number) for _ in range(CALLS)])

    return lambda: _in_child(calls)


def _timed(work: Callable[[], object]) -> float:
    begin = time.perf_counter_ns()
    work()
    return (time.perf_counter_ns() - begin) / 1e6


def _in_child(work: Callable[[], float]) -> float:
    """Run ``work`` where a filter may be loaded: in a child, which tells the time that it took.

    Raises:
        MeasurementError: the child failed.
    """
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            prctl(PR_SET_NO_NEW_PRIVS, 1)
            os.write(write_end, struct.pack("d", work()))
            os._exit(0)
        finally:
            os._exit(1)
    os.close(write_end)
    answer = os.read(read_end, 8)
    os.close(read_end)
    if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) or len(answer) != 8:
        raise measure.MeasurementError("the child failed")
    return float(struct.unpack("d", answer)[0])


if __name__ == "__main__":
    sys.exit(main())
