"""How fast images come and go: Proa and the peers that are installed, from one registry.

Run ``python -m benchmarks.pull`` as root; ``--quick`` for a look, ``--json FILE`` to keep every
single figure. The image has five layers of Debian's packages, some 160 MB packed and 460 unpacked;
its layers are kept in ``--cache``. Every pull goes into a new directory: end to end means that the
image can run. skopeo with umoci is the pair that does the same without a store.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from typing import NamedTuple

from tests.support import engines
from tests.support.registry import Registry, running_registry

from benchmarks import measure, rootfs
from benchmarks.debian_image import LayerFile, config_of, make_layers, variant_of
from benchmarks.measure import Case, Command, MeasurementError, Report, Verdict
from benchmarks.peers import Docker, Podman
from proa.image.layers.layer import read_range
from proa.image.registry import manifests, uploads
from proa.image.registry.client import Client
from proa.image.registry.hosts import Registries
from proa.image.registry.repository import Repository
from proa.oci import mediatype
from proa.oci.descriptor import Descriptor
from proa.oci.digest import digest_of, parse_digest
from proa.oci.manifest import encode_manifest
from proa.oci.reference import parse_reference

_CACHE = "/var/tmp/proa-bench-image"
_MEMORY_PROBE = """
import sys
from proa.engine.facade import Engine
Engine(sys.argv[1], sys.argv[2]).images.pull(sys.argv[3])
with open("/proc/self/status") as file:
    print(next(line.split()[1] for line in file if line.startswith("VmHWM")))
"""


class Setting(NamedTuple):
    """What is measured, and where."""

    base: str
    registry: Registry
    name: str
    repeats: int
    report: Report


def publish(host: str, repository: str, tag: str, layers: list[LayerFile]) -> None:
    """Put the image into a registry."""
    with Client(Registries()) as client:
        target = Repository(client, parse_reference(f"{host}/{repository}:{tag}"), push=True)
        config = config_of(layers)
        described = Descriptor(
            media_type=mediatype.OCI_CONFIG, digest=digest_of(config), size=len(config)
        )
        _send(target, described, lambda start, end: [config[start:end]])
        entries = []
        for layer in layers:
            entry = Descriptor(
                media_type=mediatype.oci_layer("gzip"),
                digest=parse_digest(layer.digest),
                size=layer.size_bytes,
            )
            with open(layer.path, "rb") as file:
                _send(target, entry, _content(file.fileno()))
            entries.append(entry)
        document = encode_manifest(described, tuple(entries))
        manifests.put_manifest(target, tag, mediatype.OCI_MANIFEST, document)


def _content(fd: int) -> uploads.Content:
    return lambda start, end: read_range(fd, start, end)


def _send(target: Repository, blob: Descriptor, content: uploads.Content) -> None:
    location = uploads.start_upload(target, blob.digest)
    if location:
        uploads.upload(target, blob, content, location, lambda _: None)


class Cold:
    """A subject whose store is new for every repetition; made and removed outside the figure."""

    name = ""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self._count = 0

    def fresh(self) -> str:
        """Return a new directory, short enough for sockets; it goes when everything is done."""
        self._count += 1
        return f"{self.setting.base}/{self.name[:2]}{self._count}"

    def prepare(self) -> None:
        """Make a new store."""

    def begin(self) -> None:
        """Make a new store, and write out what the cases before left: it is theirs to pay."""
        self.prepare()
        os.sync()

    def pull(self) -> None:
        """Pull the image into it."""

    def tag(self, target: str) -> None:
        """Give the image another name."""

    def push(self, target: str) -> None:
        """Push the image under that name."""

    def close(self) -> None:
        """End what :meth:`prepare` started."""


class ProaCold(Cold):
    """The command line as a whole process; a cold zygote is in the figure."""

    name = "proa"

    def prepare(self) -> None:
        """As :meth:`Cold.prepare`."""
        self.close()
        base = self.fresh()
        self.proa = engines.Proa(f"{base}/root", f"{base}/run")

    def pull(self) -> None:
        """As :meth:`Cold.pull`."""
        self._do("pull", "-q", self.setting.name)

    def tag(self, target: str) -> None:
        """As :meth:`Cold.tag`."""
        self._do("tag", self.setting.name, target)

    def push(self, target: str) -> None:
        """As :meth:`Cold.push`."""
        self._do("push", "-q", target)

    def _do(self, *words: str) -> None:
        Command([*engines.launcher(), *words], self.proa.environment())()

    def close(self) -> None:
        """As :meth:`Cold.close`."""
        if self._count:
            engines.end_processes(self.proa.run_dir)


class DockerCold(Cold):
    """docker with a dockerd of its own; the daemon's start is not in the figure."""

    name = "docker"
    _docker: Docker | None = None

    def prepare(self) -> None:
        """As :meth:`Cold.prepare`."""
        self.close()
        self._docker = Docker(f"{self.setting.base}/busybox.tar", self.fresh())

    def argv(self, *words: str) -> list[str]:
        """Return the argv of the client."""
        assert self._docker is not None
        return self._docker.argv(*words)

    def pull(self) -> None:
        """As :meth:`Cold.pull`."""
        Command(self.argv("pull", "-q", self.setting.name))()

    def tag(self, target: str) -> None:
        """As :meth:`Cold.tag`."""
        Command(self.argv("tag", self.setting.name, target))()

    def push(self, target: str) -> None:
        """As :meth:`Cold.push`."""
        Command(self.argv("push", "-q", target))()

    def close(self) -> None:
        """As :meth:`Cold.close`."""
        if self._docker is not None:
            self._docker.close()
            self._docker = None


class PodmanCold(Cold):
    """podman with a storage of its own."""

    name = "podman"
    _podman: Podman | None = None

    def prepare(self) -> None:
        """As :meth:`Cold.prepare`."""
        self.close()
        base = self.fresh()
        os.mkdir(base)
        self._podman = Podman(f"{self.setting.base}/busybox.tar", base)

    def argv(self, *words: str) -> list[str]:
        """Return the argv of podman."""
        assert self._podman is not None
        return self._podman.argv(*words)

    def pull(self) -> None:
        """As :meth:`Cold.pull`."""
        Command(self.argv("pull", "-q", "--tls-verify=false", self.setting.name))()

    def tag(self, target: str) -> None:
        """As :meth:`Cold.tag`."""
        Command(self.argv("tag", self.setting.name, target))()

    def push(self, target: str) -> None:
        """As :meth:`Cold.push`."""
        Command(self.argv("push", "-q", "--tls-verify=false", target))()

    def close(self) -> None:
        """As :meth:`Cold.close`."""
        if self._podman is not None:
            self._podman.close()
            self._podman = None


class SkopeoCold(Cold):
    """skopeo copy into an OCI layout, umoci unpack to a bundle."""

    name = "skopeo+umoci"

    def pull(self) -> None:
        """As :meth:`Cold.pull`."""
        base = self.fresh()
        skopeo = ["skopeo", "--insecure-policy", "copy", "-q", "--src-tls-verify=false"]
        Command([*skopeo, f"docker://{self.setting.name}", f"oci:{base}:1"])()
        Command(["umoci", "unpack", "--image", f"{base}:1", f"{base}.bundle"])()


def measure_pull(setting: Setting, subjects: list[Cold]) -> None:
    """Cold pulls, end to end."""
    cases = [
        Case(name=one.name, once=one.pull, before=one.begin, repeats=setting.repeats)
        for one in subjects
    ]
    medians = _table(setting, "pull, cold store", cases)
    if "docker" in medians:
        _judge(setting, "pull-docker", medians["docker"] / medians["proa"], 2)


class Pushing:
    """Pushes of one subject's image, each into a registry of its own that is empty."""

    def __init__(self, subject: Cold, setting: Setting) -> None:
        self._subject = subject
        self._setting = setting
        self._registry = ExitStack()
        self._target = ""

    def prepare(self) -> None:
        """Start an empty registry and give the image its name there."""
        self.close()
        directory = tempfile.mkdtemp(prefix="registry", dir=self._setting.base)
        registry = self._registry.enter_context(running_registry(directory))
        self._target = f"{registry.host}/pushed:1"
        self._subject.tag(self._target)
        os.sync()

    def once(self) -> None:
        """Push."""
        self._subject.push(self._target)

    def close(self) -> None:
        """End the registry."""
        self._registry.close()


def measure_push(setting: Setting, subjects: list[Cold], stack: ExitStack) -> None:
    """Pushes of the whole image into an empty registry."""
    cases = []
    for one in subjects:
        if isinstance(one, SkopeoCold):
            continue
        one.prepare()
        one.pull()
        pushing = Pushing(one, setting)
        stack.callback(pushing.close)
        cases.append(
            Case(name=one.name, once=pushing.once, before=pushing.prepare, repeats=setting.repeats)
        )
    medians = _table(setting, "push into an empty registry", cases)
    if "docker" in medians:
        _judge(setting, "push-docker", medians["docker"] / medians["proa"], 1.5)


def measure_repeat(setting: Setting, layers: list[LayerFile]) -> None:
    """A pull of an image that shares all layers but one: what is moved."""
    variant = variant_of(layers, os.path.dirname(layers[0].path))
    publish(setting.registry.host, "bench", "2", variant)
    base = f"{setting.base}/repeat"
    proa = engines.Proa(f"{base}/root", f"{base}/run")
    try:
        proa.ok("pull", "-q", setting.name)
        before = len(setting.registry.requests())
        proa.ok("pull", "-q", setting.name.replace(":1", ":2"))
    finally:
        engines.end_processes(proa.run_dir)
    asked = [line for line in setting.registry.requests()[before:] if "/blobs/" in line]
    fetched = [layer for layer in variant if any(layer.digest in line for line in asked)]
    moved = sum(layer.size_bytes for layer in fetched)
    _judge(setting, "pull-shared", len(fetched), 1, at_most=True)
    print(f"{moved / 1e6:10.1f} MB   moved of {sum(one.size_bytes for one in variant) / 1e6:.1f}")


def measure_memory(setting: Setting) -> None:
    """The peak of a process that pulls, by library (VmHWM: ru_maxrss counts the parent's, too)."""
    base = f"{setting.base}/memory"
    argv = [sys.executable, "-c", _MEMORY_PROBE, f"{base}/root", f"{base}/run", setting.name]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise MeasurementError(done.stderr[-300:])
    _judge(setting, "pull-memory", int(done.stdout) / 1024, 200, at_most=True, unit=" MiB")


def _table(setting: Setting, title: str, cases: list[Case]) -> dict[str, float]:
    samples = measure.interleave(cases, warmup=0)
    print(f"\n{title}\n{measure.table(samples, 'proa')}", flush=True)
    setting.report.sections[title] = samples
    return {sample.name: sample.median_ms for sample in samples}


def _judge(
    setting: Setting,
    promise: str,
    measured: float,
    limit: float,
    *,
    at_most: bool = False,
    unit: str = "",
) -> None:
    verdict = Verdict(promise=promise, measured=measured, limit=limit, at_most=at_most, unit=unit)
    setting.report.verdicts.append(verdict)
    print(verdict.line(), flush=True)


def _installed(setting: Setting, stack: ExitStack) -> list[Cold]:
    subjects: list[Cold] = [ProaCold(setting)]
    for programs, kind in (
        (("docker", "dockerd"), DockerCold),
        (("podman",), PodmanCold),
        (("skopeo", "umoci"), SkopeoCold),
    ):
        if all(shutil.which(program) for program in programs):
            subjects.append(kind(setting))
    for subject in subjects:
        stack.callback(subject.close)
    return subjects


def main() -> int:
    """Measure and print; exit code 1 when a promise is not kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one repetition of each")
    parser.add_argument("--cache", default=_CACHE, help="directory that keeps the layers")
    parser.add_argument("--json", help="file for every single figure")
    options = parser.parse_args()
    layers = make_layers(options.cache)
    with ExitStack() as stack:
        base = tempfile.mkdtemp(prefix="pb-", dir="/var/tmp")
        stack.callback(shutil.rmtree, base, ignore_errors=True)
        os.makedirs(f"{base}/r")
        rootfs.make_directory(f"{base}/busybox")
        with open(f"{base}/busybox.tar", "wb") as file:
            file.write(rootfs.pack(f"{base}/busybox"))
        registry = stack.enter_context(running_registry(f"{base}/r"))
        publish(registry.host, "bench", "1", layers)
        report = Report(machine=measure.machine())
        name = f"{registry.host}/bench:1"
        setting = Setting(base, registry, name, 1 if options.quick else 5, report)
        subjects = _installed(setting, stack)
        measure_pull(setting, subjects)
        measure_push(setting, subjects, stack)
        measure_repeat(setting, layers)
        measure_memory(setting)
    if options.json:
        with open(options.json, "w") as file:
            file.write(measure.to_json(report))
    return 0 if all(verdict.kept for verdict in report.verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
