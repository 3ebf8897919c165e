"""System calls, new processes, memory bandwidth and a hash, timed by the clock inside."""

from __future__ import annotations

from proa.compare.model import Row
from proa.compare.targets.base import CompareError, Target, expect
from proa.compare.workloads.base import Sample

_CALLS = 200_000
_COPIED_MB = 2_000
_HASHED_MB = 64
_PROCESSES = 100


class Processor:
    """One instance, one program after the other in it."""

    name = "processor"
    rows: tuple[Row, ...] = (
        Row(
            key="cpu.syscall",
            title="System call",
            definition=f"dd of {_CALLS} single bytes from /dev/zero to /dev/null, two system calls"
            " each; per call.",
            unit="us",
        ),
        Row(
            key="cpu.process",
            title="New process",
            definition=f"A shell runs busybox true {_PROCESSES} times (fork, execve, exit, wait);"
            " per process.",
            unit="us",
        ),
        Row(
            key="cpu.memory",
            title="Memory written",
            definition=f"dd of {_COPIED_MB} MB from /dev/zero to /dev/null by 1 MB.",
            unit="MB/s",
            lower_is_better=False,
        ),
        Row(
            key="cpu.hash",
            title="SHA-256",
            definition=f"sha256sum of {_HASHED_MB} MB of zeros, one core.",
            unit="MB/s",
            lower_is_better=False,
        ),
    )

    def repeats(self, *, quick: bool) -> int:
        """Ten, or three: each figure is a mean of many already."""
        return 3 if quick else 10

    def seconds(self, target: Target) -> float:
        """Programs of some seconds where they are slow."""
        return target.startup_s * 2 + (12.0 if target.name == "vm" else 1.5)

    def instances(self, target: Target) -> int:  # noqa: ARG002 - the same for all
        """One."""
        return 1

    def measure(self, target: Target) -> list[Sample]:
        """Run the four."""
        handle = target.start()
        try:
            calls = time_script(target, handle, f"dd if=/dev/zero of=/dev/null bs=1 count={_CALLS}")
            processes = time_script(
                target,
                handle,
                f"i=0; while [ $i -lt {_PROCESSES} ]; do busybox true; i=$((i+1)); done",
            )
            copied = time_script(
                target, handle, f"dd if=/dev/zero of=/dev/null bs=1M count={_COPIED_MB}"
            )
            hashed = time_script(
                target, handle, f"dd if=/dev/zero bs=1M count={_HASHED_MB} | sha256sum"
            )
        finally:
            target.stop(handle)
            target.remove(handle)
        return [
            Sample("cpu.syscall", calls / (2 * _CALLS) * 1e6),
            Sample("cpu.process", processes / _PROCESSES * 1e6),
            Sample("cpu.memory", _COPIED_MB * 1.048576 / copied),
            Sample("cpu.hash", _HASHED_MB * 1.048576 / hashed),
        ]


def time_script(target: Target, handle: str, script: str) -> float:
    """Run a shell script in an instance and return its seconds, by the clock inside.

    Raises:
        CompareError: it failed.
    """
    watched = f"echo $EPOCHREALTIME; {{ {script}; }} >/dev/null 2>&1; echo $? $EPOCHREALTIME"
    lines = expect(target.exec(handle, ("sh", "-c", watched))).output.splitlines()
    words = " ".join(lines).split()
    if len(words) != 3 or words[1] != "0":
        raise CompareError(f"a script did not end well: {lines!r}")
    spent_s = float(words[2]) - float(words[0])
    if spent_s <= 0:
        raise CompareError("the clock inside did not move")
    return spent_s
