"""What a network costs: starts, throughput and latency on bridges, and many containers on one.

Run ``python -m benchmarks.network`` as root; ``--quick`` for a look, ``--only`` for some sections.
Each engine works in a network namespace of its own, so that nothing touches the machine's network
and Docker's forward policy does not meet Proa's containers.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import msgspec
from tests.support import engines, netns

from benchmarks import measure, rootfs
from benchmarks.measure import Case, Command, MeasurementError, Report, Verdict
from benchmarks.peers import Docker, Podman
from benchmarks.subject import Subject
from proa.linux import netns as namespaces

MANY = 200
_TRANSFER_S = 0.4

SERVE = """
import socket, sys
listener = socket.create_server(("0.0.0.0", int(sys.argv[1])))
print("ready", flush=True)
while True:
    peer, _ = listener.accept()
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    kind = peer.recv(1)
    if kind == b"p":
        while data := peer.recv(64): peer.sendall(data)
    elif kind == b"t":
        buffer = bytearray(1 << 20)
        while peer.recv_into(buffer): pass
    peer.close()
"""

ASK = """
import socket, sys, time
address, port, kind, seconds = sys.argv[1], int(sys.argv[2]), sys.argv[3], float(sys.argv[4])
if kind == "connect":
    count, end = 0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        peer = socket.create_connection((address, port))
        peer.sendall(b"c"); peer.recv(1); peer.close(); count += 1
    print(1e6 * seconds / count)
    sys.exit()
peer = socket.create_connection((address, port))
peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
end = time.perf_counter() + seconds
count = 0
if kind == "throughput":
    peer.sendall(b"t"); block = bytes(1 << 20)
    while time.perf_counter() < end: peer.sendall(block); count += 1
    print(count * 8 * (1 << 20) / seconds / 1e9)
else:
    peer.sendall(b"p")
    while time.perf_counter() < end: peer.sendall(b"x"); peer.recv(64); count += 1
    print(1e6 * seconds / count)
"""


class Bridged(msgspec.Struct, kw_only=True):
    """A peer and the namespace that it works in."""

    engine: Docker | Podman
    host: netns.Host

    @property
    def name(self) -> str:
        """Row of the tables."""
        return self.engine.name


class Setting(msgspec.Struct, kw_only=True):
    """What the sections measure.

    Attributes:
        proa: Proa in this process' namespace, which is a new one.
        peers: engines with a default bridge of their own, each in another namespace.
        here: Proa's namespace.
    """

    proa: Subject
    peers: Sequence[Bridged]
    here: netns.Host
    scale: float
    report: Report

    def keep(
        self, title: str, samples: Sequence[measure.Sample], baseline: str
    ) -> dict[str, float]:
        """Print and record a table; return its medians by row."""
        print(f"\n{title}\n{measure.table(samples, baseline)}", flush=True)
        self.report.sections[title] = list(samples)
        return {sample.name: sample.median_ms for sample in samples}

    def judge(self, verdict: Verdict) -> None:
        """Print and record what became of a promise."""
        print(verdict.line(), flush=True)
        self.report.verdicts.append(verdict)


def starts(setting: Setting) -> None:
    """``run --rm`` with the default bridge, without a network, and Docker's."""
    proa = setting.proa
    proa.proa.ok("network", "create", "web")
    count = max(5, round(100 * setting.scale))
    cases = [
        Case(
            name=f"proa run --network {name}",
            once=proa.command("run", "--rm", "--network", name, "busybox", "true"),
            repeats=count,
        )
        for name in ("none", "bridge", "web")
    ]
    for peer in setting.peers:
        argv = peer.engine.bridged_argv("true")
        repeats = max(3, count // 10)
        cases.append(Case(name=f"{peer.name} run", once=Command(argv), repeats=repeats))
    medians = setting.keep("run --rm, ms", measure.interleave(cases), "proa run --network none")
    proa.proa.ok("network", "rm", "web")
    bridge = medians["proa run --network bridge"]
    more = bridge - medians["proa run --network none"]
    setting.judge(Verdict(promise="bridge-none", measured=more, limit=4, unit=" ms more"))
    if "docker run" in medians:
        ratio = bridge / medians["docker run"]
        setting.judge(
            Verdict(promise="bridge-docker", measured=ratio, limit=1 / 8, unit=" of docker")
        )


class Pair(msgspec.Struct, kw_only=True):
    """Two idle containers of one engine, the first with port 7000 published as 7001.

    Attributes:
        pids: of their inits.
        address: of the first.
        host: the engine's namespace.
    """

    pids: tuple[int, int]
    address: str
    host: netns.Host


def transfers(setting: Setting) -> None:
    """Throughput, round trips and connections, container to container and through a port."""
    pairs = {"proa": _proa_pair(setting)}
    pairs |= {peer.name: _peer_pair(peer) for peer in setting.peers}
    figures: dict[tuple[str, str], list[float]] = {}
    with ExitStack() as stack:
        for pair in pairs.values():
            stack.enter_context(_serving(pair))
        for name, pair in list(pairs.items()):
            try:
                list(_ask(pair, "connect"))
            except MeasurementError as error:
                if name == "proa":
                    raise
                print(f"{name} is left out: {error}")
                del pairs[name]
        for _ in range(max(5, round(31 * setting.scale))):
            for kind in ("throughput", "latency", "connect"):
                for name, pair in pairs.items():
                    for way, value in _ask(pair, kind):
                        figures.setdefault((f"{kind}, {way}", name), []).append(value)
    for (what, name), values in figures.items():
        median = sorted(values)[len(values) // 2]
        setting.report.facts[f"{what}, {name}"] = median
        unit = "Gbit/s" if what.startswith("throughput") else "us"
        print(f"{median:10.1f} {unit:6} {what}, {name}", flush=True)
    _judge_transfers(setting, {key: sorted(v)[len(v) // 2] for key, v in figures.items()})
    setting.proa.proa.remove_all()
    for peer in setting.peers:
        peer.engine.remove_all()


def _judge_transfers(setting: Setting, medians: dict[tuple[str, str], float]) -> None:
    for (what, name), value in medians.items():
        if name == "proa":
            continue
        ratio = medians[what, "proa"] / value
        more_is_better = what.startswith("throughput")
        # A tenth is what two runs of the same engine differ by here.
        limit = 0.9 if more_is_better else 1.1
        promise = what.replace(", ", "-") + f"-{name}"
        setting.judge(
            Verdict(
                promise=promise, measured=ratio, limit=limit, at_most=not more_is_better,
                unit=f" of {name}",
            )
        )  # fmt: skip


def _proa_pair(setting: Setting) -> Pair:
    proa = setting.proa.proa
    for name, words in (("aa", ("-p", "7001:7000")), ("bb", ())):
        proa.ok("run", "-d", "--name", name, *words, "busybox", "sleep", "100000")
    documents = [json.loads(proa.ok("inspect", name))[0] for name in ("aa", "bb")]
    return _pair(documents, setting.here)


def _peer_pair(peer: Bridged) -> Pair:
    documents = []
    for name, options in (("aa", ("-p", "7001:7000")), ("bb", ())):
        subprocess.run(peer.engine.idle_argv(name, *options), check=True, capture_output=True)
        argv = peer.engine.argv("inspect", name)
        done = subprocess.run(argv, check=True, capture_output=True)
        documents += json.loads(done.stdout)
    return _pair(documents, peer.host)


def _pair(documents: list[dict[str, dict[str, str]]], host: netns.Host) -> Pair:
    first, second = (int(item["State"]["Pid"]) for item in documents)
    settings = documents[0]["NetworkSettings"]
    address = settings.get("IPAddress") or settings["Networks"]["bridge"]["IPAddress"]  # type: ignore[index]
    return Pair(pids=(first, second), address=str(address), host=host)


@contextmanager
def _serving(pair: Pair) -> Iterator[None]:
    argv = [*_inside(pair.pids[0]), sys.executable, "-c", SERVE, "7000"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            yield
        finally:
            process.kill()


def _ask(pair: Pair, kind: str) -> Iterator[tuple[str, float]]:
    for way, prefix, address, port in (
        ("container", _inside(pair.pids[1]), pair.address, "7000"),
        ("published", pair.host.argv(), "127.0.0.1", "7001"),
    ):
        argv = [*prefix, sys.executable, "-c", ASK, address, port, kind, str(_TRANSFER_S)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode:
            raise MeasurementError(f"{kind}, {way}: {done.stderr[-300:]}")
        yield way, float(done.stdout)


def _inside(pid: int) -> list[str]:
    return ["nsenter", f"--net=/proc/{pid}/ns/net", "--"]


def many(setting: Setting) -> None:
    """Containers on one network: created, all with an address of their own, removed."""
    total = max(20, round(MANY * setting.scale))
    proa = setting.proa.proa
    proa.ok("network", "create", "web")
    run = setting.proa.command("run", "-d", "--network", "web", "busybox", "sleep", "100000")
    begin = time.perf_counter()
    measure.in_flight(run, total, 8)
    started_s = time.perf_counter() - begin
    document = json.loads(proa.ok("network", "inspect", "web"))[0]
    addresses = {item["IPv4Address"] for item in document["Containers"].values()}
    begin = time.perf_counter()
    proa.remove_all()
    removed_s = time.perf_counter() - begin
    proa.ok("network", "rm", "web")
    print(f"{total} containers on one network: started in {started_s:.2f} s, "
          f"removed in {removed_s:.2f} s")  # fmt: skip
    setting.report.facts["many, start, s"] = started_s
    setting.report.facts["many, remove, s"] = removed_s
    setting.judge(
        Verdict(promise="many-addresses", measured=len(addresses), limit=total, at_most=False)
    )


SECTIONS: dict[str, Callable[[Setting], None]] = {
    "starts": starts,
    "transfers": transfers,
    "many": many,
}


def main() -> int:
    """Measure; the exit code is 0 when every promise was kept."""
    options = _options()
    if os.geteuid() != 0:
        print("run as root: containers need it", file=sys.stderr)
        return 2
    report = Report(machine=measure.machine())
    base = tempfile.mkdtemp(prefix="pn-", dir="/var/tmp")
    try:
        with ExitStack() as stack:
            here = stack.enter_context(netns.host())
            root = os.path.join(base, "rootfs")
            rootfs.make_directory(root)
            archive = os.path.join(base, "rootfs.tar")
            with open(archive, "wb") as file:
                file.write(rootfs.pack(root))
            peers = [] if options.no_peers else list(_open_peers(stack, archive, base))
            stack.enter_context(namespaces.entered(here.fd))
            proa = stack.enter_context(engines.temporary_root())
            setting = Setting(
                proa=Subject("proa", proa, archive), peers=peers, here=here,
                scale=0.2 if options.quick else 1.0, report=report,
            )  # fmt: skip
            for name in options.only or SECTIONS:
                SECTIONS[name](setting)
            proa.ok("network", "prune", "-f")
    except MeasurementError as error:
        print(f"measuring failed: {error}", file=sys.stderr)
        return 2
    finally:
        shutil.rmtree(base, ignore_errors=True)
    return measure.conclude(report, options.json)


def _open_peers(stack: ExitStack, archive: str, base: str) -> Iterator[Bridged]:
    def open_docker(host: netns.Host) -> Docker:
        with namespaces.entered(host.fd):
            return Docker(archive, os.path.join(base, "docker"), network=())

    def open_podman(host: netns.Host) -> Podman:
        return Podman(archive, os.path.join(base, "podman"), host.argv())

    for program, make in (("dockerd", open_docker), ("podman", open_podman)):
        if shutil.which(program) is None:
            continue
        host = stack.enter_context(netns.host())
        try:
            engine = make(host)
        except (MeasurementError, subprocess.CalledProcessError) as error:
            print(f"{program} is installed but does not work here: {error}")
            continue
        stack.callback(engine.close)
        yield Bridged(engine=engine, host=host)


def _options() -> argparse.Namespace:
    parser = measure.option_parser(
        "benchmarks.network", __doc__, SECTIONS, "a fifth of the repetitions"
    )
    parser.add_argument("--no-peers", action="store_true", help="Proa alone")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
