"""How fast commands enter running containers, and what ten thousand of them leave behind.

Run ``python -m benchmarks.exec`` as root; ``--quick`` for a look, ``--only`` for some sections,
``--json FILE`` to keep every single figure. ``runtime`` is not about exec: it measures
``proa-runtime`` on a bundle against runc, whose interface it has.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack

import msgspec
from tests.support import engines

from benchmarks import measure
from benchmarks.measure import Case, Command, MeasurementError, Report, Verdict
from benchmarks.peers import Docker, OciRuntime, Peer, installed
from benchmarks.subject import IMAGE, Subject, subject
from proa.engine.containers.container import Container

NAME = "measured"
EXECS = 10_000
GROWTH_KB = 512
"""What counts as baseline: the allocator's own noise, far below a leak of a hundred bytes each."""


class Setting(msgspec.Struct, kw_only=True):
    """What the sections measure."""

    proa: Subject
    peers: list[Peer]
    scale: float
    report: Report

    def times(self, count: int) -> int:
        """Return how often to measure what a full run measures ``count`` times."""
        return max(3, round(count * self.scale))

    def start(self) -> Container:
        """Start the idle container that commands enter."""
        words = ("run", "-d", "--name", NAME, "--network", "none", IMAGE, "sleep", "100000")
        self.proa.proa.ok(*words)
        return self.proa.engine.containers.get(NAME)

    def docker(self) -> Docker | None:
        """Return Docker with an idle container, if it is installed."""
        docker = next((peer for peer in self.peers if isinstance(peer, Docker)), None)
        if docker is not None:
            words = ("run", "-d", "--name", NAME, "--network", "none", "busybox", "sleep", "100000")
            Command(docker.argv(*words))()
        return docker

    def keep(self, title: str, cases: list[Case], baseline: str) -> dict[str, float]:
        """Measure in turns, print and record a table; return its medians by row."""
        samples = measure.interleave(cases)
        print(f"\n{title}\n{measure.table(samples, baseline)}", flush=True)
        self.report.sections[title] = samples
        return {sample.name: sample.median_ms for sample in samples}

    def judge(self, verdict: Verdict) -> None:
        """Print and record what became of a promise."""
        print(verdict.line(), flush=True)
        self.report.verdicts.append(verdict)


def execs(setting: Setting) -> None:
    """``exec true`` as a whole cold process, and from a warm library."""
    container = setting.start()
    cold = Command([*engines.launcher(), "exec", NAME, "true"], setting.proa.proa.environment())
    cases = [
        Case(name="proa exec", once=cold, repeats=setting.times(60)),
        Case(name="library", once=lambda: _enter(container), repeats=setting.times(200)),
    ]
    docker = setting.docker()
    if docker is not None:
        command = Command(docker.argv("exec", NAME, "true"))
        cases.append(Case(name="docker exec", once=command, repeats=setting.times(30)))
    medians = setting.keep("exec: request to exit status, ms", cases, "proa exec")
    if docker is not None:
        docker.remove_all()
        for promise, row, limit in (
            ("exec-cold", "proa exec", 1 / 4),
            ("exec-warm", "library", 1 / 20),
        ):
            ratio = medians[row] / medians["docker exec"]
            setting.judge(
                Verdict(promise=promise, measured=ratio, limit=limit, unit=" docker exec")
            )
    container.remove(force=True)


def _enter(container: Container) -> None:
    result = container.exec(("true",)).result()
    if result.exit_code or result.stdout or result.stderr:
        raise MeasurementError(f"exec gave {result}")


def runtime(setting: Setting) -> None:
    """``proa-runtime run`` of a bundle against ``runc run`` of the same."""
    runc = next((peer for peer in setting.peers if isinstance(peer, OciRuntime)), None)
    if runc is None:
        print("runc is not installed")
        return
    theirs = runc.run_argv("true")
    ours = [os.path.join(os.path.dirname(engines.launcher()[0]), "proa-runtime"), *theirs[1:]]
    ours[2] += "-proa"
    environment = setting.proa.proa.environment()
    cases = [
        Case(name="runc run", once=Command(theirs), repeats=setting.times(60)),
        Case(name="proa-runtime run", once=Command(ours, environment), repeats=setting.times(60)),
        Case(
            name="proa-runtime run, without zygote",
            once=Command(ours, {**environment, "PROA_ZYGOTE": "0"}),
            repeats=setting.times(20),
        ),
    ]
    medians = setting.keep("runtime: a bundle, whole process, ms", cases, "runc run")
    ratio = medians["proa-runtime run"] / medians["runc run"]
    setting.judge(Verdict(promise="runtime-run", measured=ratio, limit=1, unit=" runc run"))


def growth(setting: Setting) -> None:
    """Enter a container ten thousand times and look what is left."""
    container = setting.start()
    count = setting.times(EXECS)
    for _ in range(count // 10):
        _enter(container)
    before = _footprint(setting.proa)
    for _ in range(count):
        _enter(container)
    after = _footprint(setting.proa)
    grown = {name: after[name] - before[name] for name in before}
    print(f"\ngrowth: {count} execs left {grown}", flush=True)
    setting.report.facts |= {f"growth of {name}": value for name, value in grown.items()}
    setting.judge(Verdict(promise="exec-memory", measured=grown["kB"], limit=GROWTH_KB, unit=" kB"))
    for name in ("descriptors", "processes"):
        setting.judge(Verdict(promise=f"exec-{name}", measured=grown[name], limit=0))
    container.remove(force=True)


def _footprint(proa: Subject) -> dict[str, int]:
    """Private memory, descriptors and processes of the engine, this process' own included."""
    pids = [*proa.processes(), os.getpid()]
    return {
        "kB": measure.private_kb(pids),
        "descriptors": sum(_descriptors(pid) for pid in pids),
        "processes": len(pids),
    }


def _descriptors(pid: int) -> int:
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except (FileNotFoundError, ProcessLookupError):
        return 0


SECTIONS: dict[str, Callable[[Setting], None]] = {
    "exec": execs,
    "runtime": runtime,
    "growth": growth,
}


def main() -> int:
    """Measure; the exit code is 0 when every promise was kept."""
    options = _options()
    if os.geteuid() != 0:
        print("run as root: containers need it", file=sys.stderr)
        return 2
    report = Report(machine=measure.machine())
    base = tempfile.mkdtemp(prefix="pe-", dir="/var/tmp")
    try:
        with ExitStack() as stack:
            names = options.peers or ["runc", "docker"]
            peers = stack.enter_context(installed(os.path.join(base, "p"), names))
            archive = os.path.join(base, "p", "rootfs.tar")
            setting = Setting(
                proa=stack.enter_context(subject(archive)),
                peers=peers,
                scale=0.2 if options.quick else 1.0,
                report=report,
            )
            report.machine["peers"] = {peer.name: peer.version for peer in peers}
            for key, value in report.machine.items():
                print(f"{key}: {value}")
            for name in options.only or SECTIONS:
                SECTIONS[name](setting)
    except MeasurementError as error:
        print(f"measuring failed: {error}", file=sys.stderr)
        return 2
    finally:
        shutil.rmtree(base)
    return measure.conclude(report, options.json)


def _options() -> argparse.Namespace:
    parser = measure.option_parser(
        "benchmarks.exec", __doc__, SECTIONS, "a fifth of the repetitions"
    )
    parser.add_argument("--peers", nargs="*", default=[], help="peers to consider (runc, docker)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
