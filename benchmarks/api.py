"""``proa serve`` against dockerd, with the same docker command line and the same requests.

Run ``python -m benchmarks.api`` as root; ``--quick`` for a look, ``--only`` for some of the
sections, ``--json FILE`` to keep every figure. Containers have no network on either side: dockerd
runs without a bridge of its own, so that the machine's stays as it is.
"""

from __future__ import annotations

import argparse
import http.client
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import msgspec
from tests.support.serving import Api, UnixConnection, serving

from benchmarks import measure
from benchmarks.measure import Case, Command, MeasurementError, Report, Verdict
from benchmarks.peers import Docker, installed
from benchmarks.subject import IMAGE, subject

CONTAINERS = 200
STREAM_BYTES = 512 * 1024 * 1024
_LISTING = "/v1.41/containers/json?all=1"


class Side(msgspec.Struct, kw_only=True):
    """One of the two servers.

    Attributes:
        name: row of the tables.
        path: its socket.
        client: the docker command line on it.
    """

    name: str
    path: str
    client: list[str]

    def command(self, *words: str) -> Command:
        """Return ``docker <words>`` as a whole process."""
        return Command([*self.client, *words])

    def ok(self, *words: str) -> str:
        """Run ``docker <words>`` and return what it prints.

        Raises:
            MeasurementError: it failed.
        """
        argv = [*self.client, *words]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode:
            raise MeasurementError(f"{' '.join(argv)}: {done.stderr.strip()}")
        return done.stdout.strip()

    def get(self, connection: http.client.HTTPConnection, target: str) -> bytes:
        """Send a request over a connection that stays, and read the answer."""
        connection.request("GET", target)
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise MeasurementError(f"{self.name}: GET {target} gave {answer.status}: {body!r}")
        return body


class Setting(msgspec.Struct, kw_only=True):
    """What the sections measure; ``scale`` is 1.0, less with ``--quick``."""

    ours: Side
    theirs: Side
    report: Report
    scale: float

    @property
    def sides(self) -> tuple[Side, Side]:
        """Both, ours first."""
        return self.ours, self.theirs

    def times(self, count: int) -> int:
        """Return how often to measure what a full run measures ``count`` times."""
        return max(3, round(count * self.scale))

    def compare(self, title: str, make: Callable[[Side], Case], promise: str, most: float) -> None:
        """Measure one thing on both sides in turns, and judge the ratio of the medians."""
        samples = measure.interleave([make(side) for side in self.sides])
        print(f"\n{title}\n{measure.table(samples, samples[1].name)}", flush=True)
        self.report.sections[title] = samples
        self.judge(Verdict(promise=promise, measured=samples[0].median_ms / samples[1].median_ms,
                           limit=most))  # fmt: skip

    def judge(self, verdict: Verdict) -> None:
        """Print and record what became of a promise."""
        print(verdict.line(), flush=True)
        self.report.verdicts.append(verdict)


def run(setting: Setting) -> None:
    """``docker run --rm busybox true``."""
    words = ("run", "--rm", "--network=none", IMAGE, "true")
    setting.compare(
        "docker run --rm busybox true",
        lambda side: Case(name=side.name, once=side.command(*words), repeats=setting.times(30)),
        "docker run through the socket, of dockerd's time",
        1 / 6,
    )


def execute(setting: Setting) -> None:
    """``docker exec`` in a running container."""
    for side in setting.sides:
        side.ok("run", "-d", "--name=held", "--network=none", IMAGE, "sleep", "100000")
    words = ("exec", "held", "true")
    setting.compare(
        "docker exec held true",
        lambda side: Case(name=side.name, once=side.command(*words), repeats=setting.times(40)),
        "docker exec through the socket, of dockerd's time",
        1 / 4,
    )
    for side in setting.sides:
        side.ok("rm", "-f", "held")


def listing(setting: Setting) -> None:
    """``GET /containers/json`` with 200 containers."""
    with ExitStack() as stack:
        cases = []
        for side in setting.sides:
            stack.enter_context(_many_containers(side))
            connection = UnixConnection(side.path)
            stack.callback(connection.close)
            if side.get(connection, _LISTING).count(b'"ImageID"') != CONTAINERS:
                raise MeasurementError(f"{side.name} does not list {CONTAINERS} containers")
            cases.append((side, connection))

        def make(side: Side) -> Case:
            connection = next(found for owner, found in cases if owner is side)

            def once() -> None:
                side.get(connection, _LISTING)

            return Case(name=side.name, once=once, repeats=setting.times(100))

        setting.compare(
            f"GET /containers/json with {CONTAINERS} containers", make,
            "the list of 200 containers, of dockerd's time", 1.0,
        )  # fmt: skip


def attach(setting: Setting) -> None:
    """Throughput of the output of ``docker run``, without a log on either side."""
    count = max(64, round(STREAM_BYTES * setting.scale) // (1024 * 1024))
    words = (
        "run", "--rm", "--network=none", "--log-driver=none", IMAGE,
        "busybox", "dd", "if=/dev/zero", "bs=1M", f"count={count}", "status=none",
    )  # fmt: skip
    cases = [Case(name=side.name, once=side.command(*words), repeats=3) for side in setting.sides]
    samples = measure.interleave(cases, warmup=1)
    title = f"docker run: {count} MiB of output"
    print(f"\n{title}\n{measure.table(samples, samples[1].name)}", flush=True)
    setting.report.sections[title] = samples
    for sample in samples:
        rate = count * 1024 * 1024 / (sample.min_ms / 1000) / 1e9
        print(f"{rate:10.2f} GB/s {sample.name}", flush=True)
        setting.report.facts[f"attach {sample.name}, GB/s"] = rate
    ours = setting.report.facts[f"attach {setting.ours.name}, GB/s"]
    setting.judge(
        Verdict(promise="attach throughput", measured=ours, limit=0.5, at_most=False, unit=" GB/s")
    )


SECTIONS = {"run": run, "exec": execute, "list": listing, "attach": attach}


@contextmanager
def _many_containers(side: Side) -> Iterator[None]:
    """Make 200 containers; what runs in them is nothing, as far as a list is concerned."""
    connection = UnixConnection(side.path)
    body = b'{"Image": "%s", "Cmd": ["true"], "HostConfig": {"NetworkMode": "none"}}'
    try:
        for _ in range(CONTAINERS):
            connection.request(
                "POST", "/v1.41/containers/create", body % IMAGE.encode(),
                {"Content-Type": "application/json"},
            )  # fmt: skip
            answer = connection.getresponse()
            content = answer.read()
            if answer.status != 201:
                raise MeasurementError(f"{side.name}: create gave {content!r}")
        yield
    finally:
        connection.close()
        side.ok("container", "prune", "-f")


def _side_of(api: Api, client: str) -> Side:
    return Side(name="proa serve", path=api.path, client=[client, "--host", api.url])


def main() -> int:
    """Measure; the exit code is 0 when every promise was kept."""
    options = _options()
    if os.geteuid() != 0 or not (shutil.which("docker") and shutil.which("dockerd")):
        print("needs root, docker and dockerd", file=sys.stderr)
        return 2
    report = Report(machine=measure.machine())
    base = tempfile.mkdtemp(prefix="pb-", dir="/var/tmp")
    try:
        with ExitStack() as stack:
            peers = stack.enter_context(installed(os.path.join(base, "p"), ["docker"]))
            docker = next(peer for peer in peers if isinstance(peer, Docker))
            made = stack.enter_context(subject(os.path.join(base, "p", "rootfs.tar")))
            api = stack.enter_context(serving(made.proa))
            client = docker.argv()[0]
            setting = Setting(
                ours=_side_of(api, client),
                theirs=Side(name="dockerd", path=docker.path, client=docker.argv()),
                report=report,
                scale=0.2 if options.quick else 1.0,
            )
            report.machine["peers"] = {docker.name: docker.version}
            for key, value in report.machine.items():
                print(f"{key}: {value}")
            for name in options.only or SECTIONS:
                SECTIONS[name](setting)
    except (MeasurementError, OSError, StopIteration) as error:
        print(f"measuring failed: {error}", file=sys.stderr)
        return 2
    finally:
        shutil.rmtree(base)
    return measure.conclude(report, options.json)


def _options() -> argparse.Namespace:
    return measure.option_parser(
        "benchmarks.api", __doc__, SECTIONS, "a fifth of the repetitions"
    ).parse_args()


if __name__ == "__main__":
    sys.exit(main())
