"""What known benchmarks say: sysbench, fio, iperf3 and redis in an image of Debian packages.

The bare host runs its own, where they are installed.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from typing import NamedTuple

from proa.compare.model import Row, Unit
from proa.compare.targets.base import CompareError, Inapplicable, Target, expect
from proa.compare.targets.docker import NO_NETWORK
from proa.compare.workloads.base import Sample

BASE = "debian:bookworm"
REFERENCE = "proa-compare-tools:latest"
PACKAGES = ("fio", "iperf3", "python3-minimal", "redis-server", "redis-tools", "sysbench")
_PROGRAMS = ("sysbench", "fio", "iperf3", "python3", "redis-server", "redis-benchmark")
_TIME_S = 2
_STARTS = 10
_PLACE = "/var/tmp/proa-compare-fio"


class _Tool(NamedTuple):
    row: Row
    script: str
    read: Callable[[str], float]


def _row(key: str, title: str, definition: str, unit: Unit, *, lower: bool = False) -> Row:
    return Row(
        key=f"tools.{key}", title=title, definition=definition, unit=unit, lower_is_better=lower
    )


def _find(pattern: str, divisor: float = 1.0) -> Callable[[str], float]:
    """Read the number that a pattern's group has, and divide it."""

    def read(output: str) -> float:
        found = re.search(pattern, output)
        if found is None:
            raise CompareError(f"no {pattern!r} in {output[-200:]!r}")
        return float(found[1]) / divisor

    return read


def _fio(kind: str) -> _Tool:
    words = (
        f"fio --name=it --filename={_PLACE} --size=64M --rw=rand{kind} --bs=4k --ioengine=psync"
        f" --time_based --runtime={_TIME_S} --output-format=json"
    )
    row = _row(f"fio.{kind}", f"Random {kind} (fio)", f"{words}; from the page cache.", "1/s")
    return _Tool(row, words, lambda output: _read_fio(output, kind))


def _read_fio(output: str, kind: str) -> float:
    return float(json.loads(output[output.index("{") :])["jobs"][0][kind]["iops"])


def _read_iperf(output: str) -> float:
    return float(json.loads(output)["end"]["sum_received"]["bits_per_second"]) / 8e6


def _sysbench(
    key: str, title: str, words: str, unit: Unit, pattern: str, divisor: float = 1.0
) -> _Tool:
    command = f"sysbench {words} --time={_TIME_S} run"
    return _Tool(_row(key, title, command, unit), command, _find(pattern, divisor))


def _tools() -> tuple[_Tool, ...]:
    threads = len(os.sched_getaffinity(0))
    python = (
        f"s=$(date +%s%N); i=0; while [ $i -lt {_STARTS} ]; do python3 -ISc pass; i=$((i+1)); done;"
        f" echo took $((($(date +%s%N) - s) / {_STARTS * 1000})).0"
    )
    iperf = f"iperf3 -s -1 -D && sleep 0.5 && iperf3 -c 127.0.0.1 -t {_TIME_S} -J"
    redis = (
        "redis-server --port 6399 --daemonize yes --save '' >/dev/null && sleep 0.5 &&"
        " redis-benchmark -p 6399 -t get -n 20000 --csv; redis-cli -p 6399 shutdown nosave"
    )
    return (
        _sysbench("cpu", "All cores (sysbench)", f"cpu --threads={threads}", "1/s",
                  r"events per second:\s*([\d.]+)"),
        _sysbench("threads", "Threads that wait for each other (sysbench)",
                  "threads --threads=8 --thread-locks=1", "1/s",
                  r"total number of events:\s*(\d+)", _TIME_S),
        _sysbench("memory", "Memory bandwidth (sysbench)",
                  "memory --memory-block-size=1M --memory-total-size=1T", "MB/s",
                  r"\(([\d.]+) MiB/sec\)"),
        _fio("read"),
        _fio("write"),
        _Tool(_row("iperf", "Loopback inside (iperf3)", "One stream over 127.0.0.1.", "MB/s"),
              iperf, _read_iperf),
        _Tool(_row("python", "Start of Python", f"python3 -ISc pass, mean of {_STARTS}.", "us",
                   lower=True),
              python, _find(r"took ([\d.]+)")),
        _Tool(_row("redis", "GETs of redis", "redis-benchmark -t get -n 20000 inside, 50 clients.",
                   "1/s"),
              redis, _find(r'"GET","([\d.]+)"')),
    )  # fmt: skip


class Tools:
    """One instance, one benchmark after the other in it."""

    name = "tools"

    def __init__(self) -> None:
        self._tools = _tools()
        self.rows: tuple[Row, ...] = tuple([tool.row for tool in self._tools])

    def repeats(self, *, quick: bool) -> int:
        """Five, or one: each is a mean over seconds."""
        return 1 if quick else 5

    def seconds(self, target: Target) -> float:
        """Eight benchmarks."""
        return target.startup_s * 2 + (_TIME_S + 1.0) * len(self._tools)

    def instances(self, target: Target) -> int:  # noqa: ARG002 - the same for all
        """One."""
        return 1

    def measure(self, target: Target) -> list[Sample]:
        """Run them.

        Raises:
            Inapplicable: the host lacks one.
        """
        if target.name == "host":
            for program in _PROGRAMS:
                if shutil.which(program) is None:
                    raise Inapplicable(f"{program} is not installed here")
        handle = target.start(NO_NETWORK, ("sleep", "100000"), REFERENCE)
        samples = []
        try:
            for tool in self._tools:
                done = expect(target.exec(handle, ("sh", "-c", tool.script)))
                samples.append(Sample(tool.row.key, tool.read(done.output)))
        finally:
            target.exec(handle, ("rm", "-f", _PLACE))
            target.stop(handle)
            target.remove(handle)
        return samples
