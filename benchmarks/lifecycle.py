"""What a container's life costs against Docker and Podman: exec, stop, rm, files in and out, logs.

Run ``python -m benchmarks.lifecycle`` as root; ``--quick`` for a look, ``--only`` for some parts.
Every figure is a whole cold command on a container that is there already, as a user waits for it.
"""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack

import msgspec
from tests.support import engines

from benchmarks import measure, rootfs
from benchmarks.measure import Case, Command, MeasurementError, Report, Verdict
from benchmarks.peers import Docker, Podman, installed
from benchmarks.subject import Subject

FILE_BYTES = 100_000_000
TREE_FILES = 5000
LOG_BYTES = 1_000_000_000
FLOOD_BYTES = 10_000_000_000
FLOOD_GROWTH_KB = 32 * 1024
AS_FAST_AS_DOCKER = 3.0
"""Where the work is the engine's own, Proa promises to be so many times as fast."""

_PODMAN_LIMITS = ("--ulimit=nofile=4096:4096", "--ulimit=nproc=4096:4096")
IDLE = ("busybox", "sleep", "100000")
POLITE = ("busybox", "sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.01; done")


class Contender(msgspec.Struct, kw_only=True, frozen=True):
    """One engine's command line.

    Attributes:
        argv: makes the argv of its words.
        limits: what its ``run`` needs on a machine without CAP_SYS_RESOURCE.
    """

    name: str
    argv: Callable[..., Sequence[str]]
    env: dict[str, str] | None = None
    limits: tuple[str, ...] = ()

    def run(self, *words: str) -> str:
        """Run a command untimed and return its output.

        Raises:
            MeasurementError: it failed.
        """
        done = subprocess.run(
            list(self.argv(*words)), env=self.env, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise MeasurementError(f"{self.name} {' '.join(words)}: {done.stderr.strip()[-300:]}")
        return done.stdout.strip()

    def command(self, *words: str) -> Command:
        """Return the timed whole process."""
        return Command(list(self.argv(*words)), self.env)

    def start(self, name: str, *command: str) -> None:
        """Start a container in the background."""
        self.run("run", "-d", *self.limits, "--network", "none", "--name", name, *command)


class Setting(msgspec.Struct, kw_only=True):
    """What the sections measure."""

    contenders: list[Contender]
    base: str
    scale: float
    report: Report
    subject: Subject

    def times(self, count: int) -> int:
        """Repetitions at this scale."""
        return max(3, int(count * self.scale))

    def compare(self, title: str, cases: list[Case], promise: str = "") -> None:
        """Measure in turns, print the table, judge Proa against Docker."""
        samples = measure.interleave(cases, warmup=1)
        self.report.sections[title] = samples
        print(f"\n{title}\n{measure.table(samples, 'proa')}")
        medians = {sample.name: sample.median_ms for sample in samples}
        if promise and "docker" in medians:
            self.report.verdicts.append(
                Verdict(
                    promise=promise, measured=medians["docker"] / medians["proa"],
                    limit=AS_FAST_AS_DOCKER, at_most=False, unit=" times as fast as Docker",
                )
            )  # fmt: skip


def execs(setting: Setting) -> None:
    """``exec true`` in a running container."""
    for one in setting.contenders:
        one.start("idle", *IDLE)
    cases = [
        Case(name=one.name, once=one.command("exec", "idle", "true"), repeats=setting.times(40))
        for one in setting.contenders
    ]
    setting.compare("exec true", cases, "exec")
    _remove(setting, "idle")


def stops(setting: Setting) -> None:
    """``stop`` of a container that ends on SIGTERM, then ``rm``."""
    for title, verb, command in (("stop, polite", "stop", POLITE), ("rm, stopped", "rm", IDLE)):
        cases = [
            Case(
                name=one.name,
                once=one.command(verb, "one"),
                repeats=setting.times(20),
                before=_fresh(one, command, stopped=verb == "rm"),
            )
            for one in setting.contenders
        ]
        setting.compare(title, cases, verb)
        _remove(setting, "one")


def _fresh(one: Contender, command: Sequence[str], *, stopped: bool) -> Callable[[], None]:
    def prepare() -> None:
        subprocess.run(
            list(one.argv("rm", "-f", "one")), env=one.env, capture_output=True, check=False
        )
        one.start("one", *command)
        time.sleep(0.1)  # the shell sets its trap; nothing tells when
        if stopped:
            one.run("kill", "one")
            one.run("wait", "one")
            time.sleep(0.3)  # every engine tidies up a little longer

    return prepare


def copies(setting: Setting) -> None:
    """``cp`` of one large file and of a tree, both ways."""
    file, tree = f"{setting.base}/file", f"{setting.base}/tree"
    with open(file, "wb") as stream:
        stream.write(os.urandom(1_000_000) * (FILE_BYTES // 1_000_000))
    for number in range(TREE_FILES):
        directory = f"{tree}/{number % 50}"
        os.makedirs(directory, exist_ok=True)
        with open(f"{directory}/{number}", "wb") as stream:
            stream.write(b"x" * (number % 4000))
    for one in setting.contenders:
        one.start("files", *IDLE)
        one.run("cp", file, "files:/file")
        one.run("cp", tree, "files:/tree")
    for what, source in (("100 MB file", file), ("5,000 files", tree)):
        inside = f"files:/{os.path.basename(source)}"
        out = f"{setting.base}/out-{os.path.basename(source)}"
        ways = (("into", source, f"{inside}-in"), ("out of", inside, out))
        for way, origin, target in ways:
            cases = [
                Case(name=one.name, once=_copy(one, origin, target), repeats=setting.times(8))
                for one in setting.contenders
            ]
            setting.compare(f"cp, {what} {way} a container", cases, f"cp {what} {way}")
    _remove(setting, "files")


def _copy(one: Contender, origin: str, target: str) -> Callable[[], None]:
    """Copy to a new name each time: ext4 makes files slowly where many were just deleted."""
    numbers = itertools.count()

    def once() -> None:
        one.command("cp", origin, f"{target}-{one.name}-{next(numbers)}")()

    return once


def logs(setting: Setting) -> None:
    """``logs`` of much output."""
    lines = int(LOG_BYTES * min(setting.scale, 1.0) / 100)
    script = f"yes {'x' * 99} | head -n {lines}"
    for one in setting.contenders:
        one.run("run", *one.limits, "--network", "none", "--name", "talk", "busybox", "sh", "-c",
                script)  # fmt: skip
    cases = [
        Case(name=one.name, once=one.command("logs", "talk"), repeats=3)
        for one in setting.contenders
    ]
    setting.compare(f"logs of {lines / 1e4:.0f} MB", cases, "logs")
    _remove(setting, "talk")


def flood(setting: Setting) -> None:
    """A flood of output with a slow reader: a whole log within its cap, and little memory."""
    proa = setting.subject.proa
    lines = int(FLOOD_BYTES * min(setting.scale, 1.0) / 100)
    script = f"yes {'x' * 99} | head -n {lines}; echo the-end"
    words = ("--log-opt", "max-size=10m", "--log-opt", "max-file=2", "busybox", "sh", "-c", script)
    with proa.spawn("run", "--name", "flood", "--network", "none", *words) as client:
        assert client.stdout is not None
        first = client.stdout.read(1_000_000)
        (supervisor,) = engines.supervisors(proa)
        before = measure.private_kb([supervisor])
        largest = before
        last = first[-100:]
        while piece := client.stdout.read(8 << 20):
            largest = max(largest, measure.private_kb([supervisor]) or 0)
            last = piece[-100:]
            time.sleep(0.005)  # a slow reader
    if not last.endswith(b"the-end\n"):
        raise MeasurementError(f"the flood ended with {last!r}")
    kept = proa.ok("logs", "flood").splitlines()
    torn = [line for line in kept[1:-1] if line != "x" * 99]
    if torn or kept[-1] != "the-end":
        raise MeasurementError(f"the log has {len(torn)} torn lines and ends with {kept[-1]!r}")
    setting.report.facts["flood_growth_kb"] = largest - before
    setting.report.verdicts.append(
        Verdict(
            promise=f"flood of {lines / 1e7:.1f} GB", measured=(largest - before) / 1024,
            limit=FLOOD_GROWTH_KB / 1024, unit=" MiB",
        )
    )  # fmt: skip
    print(f"\nflood of {lines / 1e7:.1f} GB: the supervisor grew by {largest - before} kB")
    proa.ok("rm", "flood")


def _remove(setting: Setting, name: str) -> None:
    for one in setting.contenders:
        subprocess.run(
            list(one.argv("rm", "-f", name)), env=one.env, capture_output=True, check=False
        )


SECTIONS: dict[str, Callable[[Setting], None]] = {
    "exec": execs, "stop": stops, "cp": copies, "logs": logs, "flood": flood,
}  # fmt: skip


def main() -> int:
    """Measure; the exit code is 0 when every promise was kept."""
    options = _options()
    if os.geteuid() != 0:
        print("run as root: containers need it", file=sys.stderr)
        return 2
    report = Report(machine=measure.machine())
    base = tempfile.mkdtemp(prefix="pl-", dir="/var/tmp")
    try:
        with ExitStack() as stack:
            names = ["none"] if options.no_peers else ["docker", "podman"]
            peers = stack.enter_context(installed(os.path.join(base, "p"), names))
            proa = stack.enter_context(engines.temporary_root())
            root = os.path.join(base, "rootfs")
            rootfs.make_directory(root)
            archive = os.path.join(base, "rootfs.tar")
            with open(archive, "wb") as file:
                file.write(rootfs.pack(root))
            subject = Subject("proa", proa, archive)
            contenders = [
                Contender(
                    name="proa", argv=lambda *w: [*engines.launcher(), *w], env=proa.environment()
                )
            ]
            contenders += [
                Contender(
                    name=peer.name,
                    argv=peer.argv,
                    limits=_PODMAN_LIMITS if isinstance(peer, Podman) else (),
                )
                for peer in peers
                if isinstance(peer, Docker | Podman)
            ]
            setting = Setting(
                contenders=contenders, base=base, scale=0.1 if options.quick else 1.0,
                report=report, subject=subject,
            )  # fmt: skip
            for name in options.only or SECTIONS:
                SECTIONS[name](setting)
    except MeasurementError as error:
        print(f"measuring failed: {error}", file=sys.stderr)
        return 2
    finally:
        shutil.rmtree(base, ignore_errors=True)
    return measure.conclude(report, options.json)


def _options() -> argparse.Namespace:
    parser = measure.option_parser(
        "benchmarks.lifecycle", __doc__, SECTIONS, "a tenth of everything"
    )
    parser.add_argument("--no-peers", action="store_true", help="Proa alone")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
