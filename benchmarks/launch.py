"""Time from ``create(start=True)`` to the exit of busybox ``true``, by executor, interleaved.

    python -m benchmarks.launch [--rounds N] [--no-cgroups] [--steps] [--gap SECONDS]
                                [--directory DIR]

Needs root and a static busybox. The layers are on a tmpfs unless said otherwise: a filesystem that
has just seen many deletions makes files slowly, and that is not what is measured here.

Prints medians in microseconds and the ratio to the first column; ``--steps`` adds where the native
child spends its time, by segment of the plan.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise

from proa.oci.isolation import OverlayRoot, SandboxSpec, Stdio
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
from proa.runtime.executors.arena import Arena
from proa.runtime.process import ProcessIsolation
from proa.runtime.security import capabilities, seccomp

_NAMESPACES = ("mount", "pid", "network", "ipc", "uts", "cgroup", "time", "user")


def make_spec(arguments: tuple[str, ...]) -> Spec:
    """The full set that ``proa run`` composes by default."""
    kept = tuple(sorted(capabilities.DEFAULT))
    mapping = (LinuxIDMapping(container_id=0, host_id=100000, size=65536),)
    return Spec(
        process=Process(
            args=arguments,
            env=("PATH=/bin",),
            capabilities=LinuxCapabilities(bounding=kept, effective=kept, permitted=kept),
            no_new_privileges=True,
        ),
        root=Root(),
        hostname="bench",
        mounts=defaults.MOUNTS,
        linux=Linux(
            namespaces=tuple([LinuxNamespace(type=kind) for kind in _NAMESPACES]),
            uid_mappings=mapping,
            gid_mappings=mapping,
            seccomp=seccomp.default_profile(frozenset(kept)),
            masked_paths=defaults.MASKED_PATHS,
            readonly_paths=defaults.READONLY_PATHS,
            sysctl=defaults.NETWORK_SYSCTLS,
        ),
    )


def make_layer(base: str) -> None:
    """One layer with a busybox in it."""
    for name in ("bin", "dev", "etc", "proc", "sys"):
        os.makedirs(f"{base}/layer/{name}")
    busybox = shutil.which("busybox") or "/bin/busybox"
    shutil.copy(busybox, f"{base}/layer/bin/busybox")
    os.symlink("busybox", f"{base}/layer/bin/true")
    os.symlink("busybox", f"{base}/layer/bin/sleep")


def make_sandbox(base: str, number: int, spec: Spec) -> SandboxSpec:
    """A sandbox with directories of its own."""
    for name in ("upper", "work", "merged"):
        os.makedirs(f"{base}/{number}/{name}")
    root = OverlayRoot(
        base=base,
        lowers=("layer",),
        upper=f"{number}/upper",
        work=f"{number}/work",
        merged=f"{number}/merged",
        volatile=True,
    )
    return SandboxSpec(id=f"bench{number}", spec=spec, root=root, bundle=base)


def time_launch(isolation: ProcessIsolation, sandbox: SandboxSpec, stdio: Stdio) -> list[float]:
    """Microseconds to the end of create, of the process, of delete."""
    start = time.perf_counter()
    box = isolation.create(sandbox, stdio, start=True)
    created = time.perf_counter()
    status = box.init.wait()
    ended = time.perf_counter()
    box.delete()
    deleted = time.perf_counter()
    if status.code:
        raise SystemExit(f"the container ended with {status.code}")
    return [(moment - start) * 1e6 for moment in (created, ended, deleted)]


def time_exec(isolation: ProcessIsolation, sandbox: SandboxSpec, stdio: Stdio, n: int) -> float:
    """Median microseconds of ``exec true`` in a running container."""
    box = isolation.create(
        SandboxSpec(
            id=sandbox.id, spec=make_spec(("sleep", "1000")), root=sandbox.root, bundle="/"
        ),
        stdio,
        start=True,
    )
    process = make_spec(("true",)).process
    assert process is not None
    times = []
    for _ in range(n):
        start = time.perf_counter()
        handle = box.exec(process, stdio)
        handle.wait()
        times.append((time.perf_counter() - start) * 1e6)
        handle.close()
    box.delete()
    return statistics.median(times)


def collect_ticks() -> tuple[list[list[tuple[str, int]]], Callable[[Arena], None]]:
    """Make every arena leave its time stamps when it is closed."""
    runs: list[list[tuple[str, int]]] = []
    close = Arena.close

    def collecting(arena: Arena) -> None:
        runs.append([(name, ticks) for name, _, ticks in arena.ticks() if ticks])
        close(arena)

    Arena.close = collecting  # type: ignore[method-assign, assignment]
    return runs, close


def report_steps(runs: list[list[tuple[str, int]]], per_us: float) -> None:
    """Median microseconds between the last stamps of consecutive segments."""
    totals: dict[str, list[float]] = {}
    for run in runs:
        spent: dict[str, int] = {}
        for (_, before), (name, after) in pairwise(run):
            spent[name] = spent.get(name, 0) + after - before
        for name, ticks in spent.items():
            totals.setdefault(name, []).append(ticks / per_us)
    for name, values in totals.items():
        print(f"  {name:32} {statistics.median(values):8.1f}")


def ticks_per_us() -> float:
    """Rate of the time stamp counter, from the kernel's own calibration by a short busy wait."""
    from proa.runtime.executors import native
    from proa.runtime.plan import Steps

    def stamp() -> int:
        steps = Steps()
        steps.add("stamp", "getpid")
        steps.add("end", "exit_group", 0)
        arena = Arena(shared=False)
        arena.load([steps.compile("stamp")])
        child = native.spawn(arena, 0)
        os.waitpid(child.pid, 0)
        os.close(child.pidfd)
        ticks = arena.ticks()[0][2]
        arena.close()
        return ticks

    began, first = time.perf_counter(), stamp()
    time.sleep(0.3)
    ended, last = time.perf_counter(), stamp()
    return (last - first) / ((ended - began) * 1e6)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--directory", default="/dev/shm", help="where the root's layers are")
    parser.add_argument("--gap", type=float, default=0.0)
    parser.add_argument("--no-cgroups", action="store_true")
    parser.add_argument("--steps", action="store_true")
    options = parser.parse_args()
    names = ("native", "portable")
    isolations = {
        name: ProcessIsolation(executor=name, cgroups=not options.no_cgroups) for name in names
    }
    rows: dict[str, list[list[float]]] = {name: [] for name in names}
    rate = ticks_per_us() if options.steps else 0.0
    spec = make_spec(("true",))
    null = os.open("/dev/null", os.O_RDWR)
    stdio = Stdio(null, null, null)
    base = tempfile.mkdtemp(prefix="proa-launch-", dir=options.directory)
    runs: list[list[tuple[str, int]]] = []
    try:
        make_layer(base)
        number = 0
        for _ in range(options.rounds):
            for name in names:
                number += 1
                sandbox = make_sandbox(base, number, spec)
                time.sleep(options.gap)
                rows[name].append(time_launch(isolations[name], sandbox, stdio))
        if options.steps:
            runs, close = collect_ticks()
            for _ in range(options.rounds):
                number += 1
                time_launch(isolations["native"], make_sandbox(base, number, spec), stdio)
            Arena.close = close  # type: ignore[method-assign, assignment]
        execs = {}
        for name in names:
            number += 1
            sandbox = make_sandbox(base, number, spec)
            execs[name] = time_exec(isolations[name], sandbox, stdio, options.rounds)
    finally:
        shutil.rmtree(base)
    print(f"{'us, median of ' + str(options.rounds):28}" + "".join(f"{n:>12}" for n in names))
    for index, label in enumerate(("request to execve", "request to exit", "request to clean")):
        medians = [statistics.median(row[index] for row in rows[name][5:]) for name in names]
        cells = "".join(f"{value:12.0f}" for value in medians)
        print(f"{label:28}{cells}   x{medians[1] / medians[0]:.2f}")
    cells = "".join(f"{execs[name]:12.0f}" for name in names)
    print(f"{'exec, request to exit':28}{cells}   x{execs['portable'] / execs['native']:.2f}")
    if options.steps:
        report_steps(runs[5:], rate)


if __name__ == "__main__":
    main()
