"""How fast containers start, and what an idle one costs: Proa and the peers that are installed.

Run ``python -m benchmarks.start`` as root; ``--quick`` for a look, ``--only`` for some of the
sections, ``--json FILE`` to keep every single figure. SPECIFICATION.md names the sections.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack

import msgspec

from benchmarks import measure
from benchmarks.measure import Case, Command, MeasurementError, Report, Sample, Verdict
from benchmarks.peers import Docker, Peer, installed
from benchmarks.subject import Subject, bare_python, subject

IN_FLIGHT = 8
IDLE_S = 1.0
_SLOW = frozenset(("docker", "podman"))


class Setting(msgspec.Struct, kw_only=True):
    """What the sections measure.

    Attributes:
        native: Proa as it is installed.
        portable: Proa with the portable executor.
        scale: 1.0, less with ``--quick``.
    """

    native: Subject
    portable: Subject
    peers: list[Peer]
    scale: float
    report: Report

    def times(self, count: int) -> int:
        """Return how often to measure what a full run measures ``count`` times."""
        return max(3, round(count * self.scale))

    def peer(self, name: str) -> Peer | None:
        """Return the peer of that name, if it is installed."""
        return next((peer for peer in self.peers if peer.name == name), None)

    def docker(self) -> Docker | None:
        """Return Docker, if it is installed."""
        return next((peer for peer in self.peers if isinstance(peer, Docker)), None)

    def keep(self, title: str, samples: list[Sample], baseline: str) -> dict[str, float]:
        """Print and record a table; return its medians by row."""
        print(f"\n{title}\n{measure.table(samples, baseline)}", flush=True)
        self.report.sections[title] = samples
        return {sample.name: sample.median_ms for sample in samples}

    def judge(self, verdict: Verdict) -> None:
        """Print and record what became of a promise."""
        print(verdict.line(), flush=True)
        self.report.verdicts.append(verdict)

    def fact(self, name: str, value: float, unit: str) -> None:
        """Print and record a figure that is not a time."""
        print(f"{value:10.1f} {unit:4} {name}", flush=True)
        self.report.facts[f"{name}, {unit}"] = value


def warm(setting: Setting) -> None:
    """Run from a warm Python process against bwrap's whole process."""
    cases = [
        Case(name="engine.run, native", once=setting.native.run_once, repeats=setting.times(200)),
        Case(
            name="engine.run, portable", once=setting.portable.run_once, repeats=setting.times(200)
        ),
    ]
    bwrap = setting.peer("bwrap")
    if bwrap is not None:
        run = Command(bwrap.run_argv("true"))
        cases.append(Case(name="bwrap", once=run, repeats=setting.times(200)))
    medians = setting.keep(
        "warm: request to exit status, ms", measure.interleave(cases), "engine.run, native"
    )
    if bwrap is not None:
        for name, limit in (("native", 1.0), ("portable", 2.0)):
            ratio = medians[f"engine.run, {name}"] / medians["bwrap"]
            setting.judge(
                Verdict(promise=f"warm-{name}", measured=ratio, limit=limit, unit=" bwrap")
            )


def cold(setting: Setting) -> None:
    """Run whole cold processes."""
    count = setting.times(60)
    cases = [
        Case(name="proa run", once=setting.native.cold_run(), repeats=count),
        Case(name="python3 -I -S -c pass", once=bare_python(), repeats=count),
    ]
    for peer in setting.peers:
        repeats = setting.times(12) if peer.name in _SLOW else count
        cases.append(Case(name=peer.name, once=Command(peer.run_argv("true")), repeats=repeats))
    medians = setting.keep("cold: whole process, ms", measure.interleave(cases), "proa run")
    for name, limit in (("docker", 1 / 8), ("podman", 1 / 4)):
        if name in medians:
            ratio = medians["proa run"] / medians[name]
            setting.judge(
                Verdict(promise=f"cold-{name}", measured=ratio, limit=limit, unit=f" {name}")
            )
    above = medians["proa run"] - medians["python3 -I -S -c pass"]
    setting.judge(Verdict(promise="cold-python", measured=above, limit=10, unit=" ms above"))


def inflight(setting: Setting) -> None:
    """Count containers a second, create to clean, with eight starts in flight."""
    print(f"\ninflight: containers a second, {IN_FLIGHT} in flight", flush=True)
    rates: dict[str, list[float]] = {}

    def note(name: str, rate: float) -> None:
        rates.setdefault(name, []).append(rate)

    for _ in range(3):
        note("proa, library", setting.native.at_once(setting.times(400), IN_FLIGHT))
        note("proa, cold commands", _rate(setting.native.cold_run(), setting.times(200)))
        for peer in setting.peers:
            total = 16 if peer.name in _SLOW else setting.times(100)
            if isinstance(peer, Docker) or peer.name in ("bwrap", "podman"):
                note(peer.name, _rate(Command(peer.run_argv("true")), total))
    best = {name: sorted(values)[1] for name, values in rates.items()}
    for name, rate in best.items():
        setting.fact(f"inflight: {name}", rate, "/s")
    if "docker" in best:
        ratio = best["proa, library"] / best["docker"]
        setting.judge(
            Verdict(promise="inflight", measured=ratio, limit=40, at_most=False, unit=" docker")
        )


def _rate(command: Command, total: int) -> float:
    return measure.in_flight(command, total, IN_FLIGHT)


def memory(setting: Setting) -> None:
    """Count the private memory of idle containers, all of Proa's processes together."""
    print("\nmemory: private memory of idle containers", flush=True)
    count = setting.times(100)
    proa = setting.native
    proa.at_once(count, IN_FLIGHT, "start_idle")
    _await_sleep(proa.supervisors())
    total_kb = measure.private_kb(proa.processes()) / count
    setting.fact(f"proa: everything, of {count} containers, each", total_kb, "kB")
    setting.fact("proa: supervisors, each", measure.private_kb(proa.supervisors()) / count, "kB")
    proa.remove_all()
    docker = setting.docker()
    if docker is not None:
        before_kb = measure.private_kb(docker.processes()["daemons"])
        for _ in range(10):
            Command(docker.detached_argv())()
        found = docker.processes()
        grown_kb = measure.private_kb(found["daemons"]) - before_kb
        setting.fact("docker: shims, each", measure.private_kb(found["shims"]) / 10, "kB")
        setting.fact("docker: daemons' growth, each", grown_kb / 10, "kB")
        docker.remove_all()
    setting.judge(Verdict(promise="memory", measured=total_kb / 1024, limit=1.0, unit=" MB"))


def _await_sleep(supervisors: Sequence[int]) -> None:
    """Wait until idle supervisors sleep (0.25 s after the last event), bounded.

    Raises:
        MeasurementError: one stays awake.
    """
    deadline = time.monotonic() + 10
    for pid in supervisors:
        while _name(pid) != "proa-keeper":
            if time.monotonic() > deadline:
                raise MeasurementError(f"supervisor {pid} of an idle container is awake")
            time.sleep(0.01)


def _name(pid: int) -> str:
    with open(f"/proc/{pid}/comm", encoding="utf-8") as stream:
        return stream.read().strip()


def many(setting: Setting) -> None:
    """Start 300 containers that stay; Docker starts 30, scaled to 300."""
    print("\nmany: detached starts, all running at the end", flush=True)
    count, proa = setting.times(300), setting.native
    by_library_s = count / proa.at_once(count, IN_FLIGHT, "start_idle")
    setting.fact(f"proa, library: {count} starts", by_library_s, "s")
    begin = time.perf_counter()
    proa.remove_all()
    setting.fact(f"proa: {count} removed with rm -f", time.perf_counter() - begin, "s")
    by_command_s = count / _rate(proa.detached_run(), count)
    setting.fact(f"proa, cold commands: {count} starts", by_command_s, "s")
    proa.remove_all()
    docker = setting.docker()
    if docker is not None:
        docker_s = count / _rate(Command(docker.detached_argv()), setting.times(30))
        setting.fact(f"docker: starts, scaled to {count}", docker_s, "s")
        docker.remove_all()
        ratio = docker_s / by_library_s
        setting.judge(
            Verdict(promise="many", measured=ratio, limit=20, at_most=False, unit=" times")
        )


def idle(setting: Setting) -> None:
    """Start after a second of idleness, and in a row."""
    count, proa = setting.times(20), setting.native

    def in_a_row() -> None:
        proa.run_once()

    cases = [
        Case(name="in a row", once=proa.run_once, repeats=count, before=in_a_row),
        Case(name="after 1 s", once=proa.run_once, repeats=count, before=_be_idle),
    ]
    bwrap = setting.peer("bwrap")
    if bwrap is not None:
        run = Command(bwrap.run_argv("true"))
        cases += [
            Case(name="bwrap in a row", once=run, repeats=count, before=run),
            Case(name="bwrap after 1 s", once=run, repeats=count, before=_be_idle),
        ]
    medians = setting.keep("idle: engine.run, ms", measure.interleave(cases, 1), "in a row")
    ratio = medians["after 1 s"] / medians["in a row"]
    setting.judge(Verdict(promise="idle-start", measured=ratio, limit=1.25, unit=" of in a row"))


def _be_idle() -> None:
    time.sleep(IDLE_S)


SECTIONS: dict[str, Callable[[Setting], None]] = {
    "warm": warm,
    "cold": cold,
    "inflight": inflight,
    "memory": memory,
    "many": many,
    "idle": idle,
}


def main() -> int:
    """Measure; the exit code is 0 when every promise was kept."""
    options = _options()
    if os.geteuid() != 0:
        print("run as root: containers need it", file=sys.stderr)
        return 2
    report = Report(machine=measure.machine())
    base = tempfile.mkdtemp(prefix="pb-", dir="/var/tmp")
    try:
        with ExitStack() as stack:
            peers = stack.enter_context(installed(os.path.join(base, "p"), options.peers))
            archive = os.path.join(base, "p", "rootfs.tar")
            setting = Setting(
                native=stack.enter_context(subject(archive)),
                portable=stack.enter_context(subject(archive, "portable")),
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
        "benchmarks.start", __doc__, SECTIONS, "a fifth of the repetitions"
    )
    parser.add_argument("--peers", nargs="*", default=[], help="peers to consider (all installed)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
