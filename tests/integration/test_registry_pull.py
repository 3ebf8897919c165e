"""Pulling from Debian's docker-registry: formats, platforms, policies, resumption, shared work."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from proa.errors import Corrupt, Invalid, NotFound, Unavailable, Unsupported
from proa.image import pull as pulling
from proa.image.model import Image
from proa.image.pull import Policy, pull, pull_all_tags
from proa.image.registry import blobs
from proa.image.registry.client import Client
from proa.image.registry.hosts import Registries
from proa.image.store import ImageStore
from proa.oci.platform import host_platform
from tests.support.registry import Received, Registry, Reply, running_registry, running_stub
from tests.support.registry_images import (
    Built,
    MemoryReferences,
    make_image,
    make_index,
    make_layer,
    make_tar,
    names,
    upload_image,
)

pytestmark = pytest.mark.requires("root", "docker-registry")

HOST = host_platform().architecture
OTHER = "s390x" if HOST != "s390x" else "amd64"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with running_registry(str(tmp_path_factory.mktemp("registry"))) as running:
        yield running


@pytest.fixture
def store(registry: Registry, tmp_path: Path) -> ImageStore:
    return ImageStore(str(tmp_path / "root"), MemoryReferences())


def _pull(store: ImageStore, name: str, platform: str = "", policy: Policy = "always") -> Image:
    with Client(Registries()) as client:
        return pull(store, client, name, platform=platform, policy=policy)


def _read(store: ImageStore, image: Image, name: str) -> bytes:
    for lower in image.lowers:
        path = Path(store.root, lower, name)
        if path.exists():
            return path.read_bytes()
    raise FileNotFoundError(name)


def _built(*words: str, **options: object) -> Built:
    tars = [make_tar({f"file{n}": word.encode()}) for n, word in enumerate(words)]
    return make_image(tars, **options)  # type: ignore[arg-type]


def _asked(registry: Registry, name: str, kind: str) -> list[str]:
    return [line for line in registry.requests() if f"/{name}/{kind}/" in line]


@pytest.mark.parametrize("docker", [False, True], ids=["oci", "docker"])
@pytest.mark.parametrize("compression", ["gzip", "zstd", "none"])
def test_every_format_is_pulled_and_unpacked(
    registry: Registry, store: ImageStore, compression: str, docker: bool
) -> None:
    name = f"{registry.host}/formats:{compression}-{docker}".lower()
    built = _built("one", "two", compression=compression, docker=docker)
    upload_image(name, built)
    image = _pull(store, name)
    assert image.id == built.blobs[0].descriptor.digest
    assert image.manifest_digest == built.manifest.descriptor.digest
    assert _read(store, image, "file0") == b"one"
    assert _read(store, image, "file1") == b"two"
    assert image.references == (name,)
    digest = built.manifest.descriptor.digest
    assert image.repo_digests == (f"{registry.host}/formats@{digest}",)
    for blob in built.blobs:
        assert store.content.find(blob.descriptor.digest) == len(blob.data)
    assert os.listdir(f"{store.root}/content/ingest") == []
    assert os.listdir(f"{store.root}/snapshots/staging") == []


def test_the_hosts_entry_of_an_index_is_taken_and_another_when_asked(
    registry: Registry, store: ImageStore
) -> None:
    name = f"{registry.host}/multi:1"
    ours, theirs = _built("ours"), _built("theirs", architecture=OTHER)
    index = make_index((theirs, OTHER), (ours, HOST))
    upload_image(name, theirs, index=None)
    upload_image(name, ours, index=index)
    image = _pull(store, name)
    assert image.id == ours.blobs[0].descriptor.digest
    assert image.repo_digests == (f"{registry.host}/multi@{index.descriptor.digest}",)
    other = _pull(store, name, platform=f"linux/{OTHER}")
    assert other.id == theirs.blobs[0].descriptor.digest
    with pytest.raises(Unsupported, match=r"riscv64.*offers"):
        _pull(store, name, platform="linux/riscv64")


def test_a_single_image_of_another_platform_is_refused_only_when_one_is_asked_for(
    registry: Registry, store: ImageStore
) -> None:
    name = f"{registry.host}/single:1"
    upload_image(name, _built("x", architecture=OTHER))
    with pytest.raises(Unsupported, match=f"made for linux/{OTHER} and not for linux/{HOST}"):
        _pull(store, name, platform=f"linux/{HOST}")
    assert names(store) == set()
    assert _pull(store, name).config.architecture == OTHER


def test_pull_by_digest_of_manifest_and_of_index(registry: Registry, store: ImageStore) -> None:
    built = _built("by digest")
    index = make_index((built, HOST))
    upload_image(f"{registry.host}/dig:1", built, index=index)
    for digest in (built.manifest.descriptor.digest, index.descriptor.digest):
        name = f"{registry.host}/dig@{digest}"
        image = _pull(store, name)
        assert image.references == ()
        assert name in image.repo_digests
        before = len(registry.requests())
        assert _pull(store, name).id == image.id
        assert len(registry.requests()) == before, "content that a digest names cannot change"


def test_all_tags(registry: Registry, store: ImageStore) -> None:
    for tag in ("a", "b"):
        upload_image(f"{registry.host}/all:{tag}", _built(tag))
    upload_image(f"{registry.host}/all:c", _built("c"), index=make_index((_built("c"), OTHER)))
    with Client(Registries()) as client:
        images = pull_all_tags(store, client, f"{registry.host}/all")
        assert [image.references for image in sorted(images, key=lambda one: one.references)] == [
            (f"{registry.host}/all:a",),
            (f"{registry.host}/all:b",),
        ]
        with pytest.raises(Invalid, match="names one image"):
            pull_all_tags(store, client, f"{registry.host}/all:a")


def test_policies(registry: Registry, store: ImageStore) -> None:
    name = f"{registry.host}/policy:1"
    with pytest.raises(NotFound, match="proa pull"):
        _pull(store, name, policy="never")
    first, second = _built("first"), _built("second")
    upload_image(name, first)
    assert _pull(store, name, policy="missing").id == first.blobs[0].descriptor.digest
    upload_image(name, second)
    before = len(registry.requests())
    assert _pull(store, name, policy="missing").id == first.blobs[0].descriptor.digest
    assert _pull(store, name, policy="never").id == first.blobs[0].descriptor.digest
    by_id = _pull(store, first.blobs[0].descriptor.digest[7:19], policy="missing")
    assert by_id.id == first.blobs[0].descriptor.digest
    assert len(registry.requests()) == before
    assert _pull(store, name, policy="always").id == second.blobs[0].descriptor.digest


def test_missing_looks_at_the_platform_too(registry: Registry, store: ImageStore) -> None:
    name = f"{registry.host}/policy-platform:1"
    ours, theirs = _built("ours"), _built("theirs", architecture=OTHER)
    upload_image(name, theirs)
    upload_image(name, ours, index=make_index((theirs, OTHER), (ours, HOST)))
    _pull(store, name)
    with pytest.raises(NotFound, match=f"for linux/{OTHER}"):
        _pull(store, name, platform=f"linux/{OTHER}", policy="never")
    other = _pull(store, name, platform=f"linux/{OTHER}", policy="missing")
    assert other.config.architecture == OTHER


def test_what_is_current_is_asked_for_by_digest_only(registry: Registry, store: ImageStore) -> None:
    name = f"{registry.host}/current:1"
    upload_image(name, _built("x"))
    image = _pull(store, name)
    before = len(_asked(registry, "current", "manifests"))
    assert _pull(store, name) == image
    again = _asked(registry, "current", "manifests")[before:]
    assert [line.partition(" ")[0] for line in again] == ["HEAD"]


def test_a_pull_moves_only_layers_that_are_not_here(registry: Registry, store: ImageStore) -> None:
    shared = [make_tar({f"shared{n}": os.urandom(1000)}) for n in range(4)]
    first = make_image([*shared, make_tar({"last": b"1"})])
    second = make_image([*shared, make_tar({"last": b"2"})])
    upload_image(f"{registry.host}/layers:1", first)
    upload_image(f"{registry.host}/layers:2", second)
    _pull(store, f"{registry.host}/layers:1")
    before = len(_asked(registry, "layers", "blobs"))
    image = _pull(store, f"{registry.host}/layers:2")
    fetched = [line.rpartition("/")[2] for line in _asked(registry, "layers", "blobs")[before:]]
    assert sorted(fetched) == sorted(
        (second.blobs[0].descriptor.digest, second.blobs[-1].descriptor.digest)
    )
    assert _read(store, image, "last") == b"2"
    assert _read(store, image, "shared0") is not None


def test_a_snapshot_without_its_blob_gets_the_blob(registry: Registry, store: ImageStore) -> None:
    """The same tar, compressed otherwise: nothing to unpack, but push and save need the blob."""
    tar = make_tar({"f": b"same"})
    upload_image(f"{registry.host}/otherwise:gzip", make_image([tar]))
    zstd = make_image([tar], compression="zstd", command=("/other",))
    upload_image(f"{registry.host}/otherwise:zstd", zstd)
    _pull(store, f"{registry.host}/otherwise:gzip")
    _pull(store, f"{registry.host}/otherwise:zstd")
    assert store.content.find(zstd.blobs[1].descriptor.digest) is not None


def test_the_same_layer_twice_in_one_image(registry: Registry, store: ImageStore) -> None:
    tar = make_tar({"f": b"twice"})
    upload_image(f"{registry.host}/twice:1", make_image([tar, tar]))
    image = _pull(store, f"{registry.host}/twice:1")
    assert len(image.layers) == 2
    assert _read(store, image, "f") == b"twice"


def test_two_pulls_at_once_share_the_work(registry: Registry, store: ImageStore) -> None:
    built = make_image([make_tar({f"f{n}": os.urandom(300_000)}) for n in range(3)])
    upload_image(f"{registry.host}/shared:1", built)
    before = len(_asked(registry, "shared", "blobs"))
    other = ImageStore(store.root, store.references)
    with ThreadPoolExecutor(2) as pool:
        pulls = [pool.submit(_pull, one, f"{registry.host}/shared:1") for one in (store, other)]
        first, second = (one.result(timeout=60) for one in pulls)
    assert first == second
    layers = [
        line
        for line in _asked(registry, "shared", "blobs")[before:]
        if built.blobs[0].descriptor.digest not in line
    ]
    assert len(layers) == 3


class Serving:
    """A registry of one image in memory, whose blob answers a test can spoil."""

    def __init__(self, built: Built) -> None:
        self.documents = {blob.descriptor.digest: blob.data for blob in built.blobs}
        self.manifest = built.manifest
        self.cut_after: int | None = None
        self.reached = threading.Event()
        self.hold: threading.Event | None = None

    def __call__(self, request: Received) -> Reply:
        if "/manifests/" in request.path:
            return Reply(
                200, {"Content-Type": self.manifest.descriptor.media_type}, self.manifest.data
            )
        data = self.documents[request.path.rpartition("/")[2]]  # type: ignore[index]
        start = int(request.headers.get("range", "bytes=0-")[6:-1])
        headers = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}
        is_layer = len(data) > 10_000
        if is_layer and self.hold:
            self.reached.set()
            self.hold.wait(30)
        return Reply(
            206 if start else 200,
            headers if start else {},
            data[start:],
            cut_after=self.cut_after if is_layer else None,
        )


def _big() -> Built:
    return make_image([make_tar({"big": os.urandom(200_000)})], compression="none")


def test_an_interrupted_pull_leaves_what_the_next_goes_on_from(
    store: ImageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blobs, "_CUTS_WITHOUT_PROGRESS", -1)
    built = _big()
    serving = Serving(built)
    serving.cut_after = 120_000
    with running_stub(serving) as stub:
        with pytest.raises(Unavailable):
            _pull(store, f"{stub.host}/x:1")
        assert names(store) == set()
        (left,) = os.listdir(f"{store.root}/content/ingest")
        assert os.path.getsize(f"{store.root}/content/ingest/{left}") == 120_000
        assert os.listdir(f"{store.root}/snapshots/staging") == []
        serving.cut_after = None
        image = _pull(store, f"{stub.host}/x:1")
        assert stub.saw("range") == ["bytes=120000-"]
    assert len(_read(store, image, "big")) == 200_000
    assert os.listdir(f"{store.root}/content/ingest") == []


def test_pruning_everything_leaves_an_empty_store(
    registry: Registry, store: ImageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also what an interrupted pull left; du decides."""
    upload_image(f"{registry.host}/pruned:0", _built("the first pull makes the directories"))
    _pull(store, f"{registry.host}/pruned:0")
    store.prune(every=True)
    empty_kb = _disk_kb(store.root)
    assert empty_kb < 60
    upload_image(f"{registry.host}/pruned:1", make_image([make_tar({"f": os.urandom(2 << 20)})]))
    _pull(store, f"{registry.host}/pruned:1")
    monkeypatch.setattr(blobs, "_CUTS_WITHOUT_PROGRESS", -1)
    serving = Serving(_big())
    serving.cut_after = 120_000
    with running_stub(serving) as stub, pytest.raises(Unavailable):
        _pull(store, f"{stub.host}/x:1")
    assert _disk_kb(store.root) > empty_kb + 4096
    store.prune()
    assert len(os.listdir(f"{store.root}/content/ingest")) == 1
    _, freed_bytes = store.prune(every=True)
    assert freed_bytes > 4 << 20
    assert _disk_kb(store.root) <= empty_kb * 1.01


def _disk_kb(path: str) -> int:
    done = subprocess.run(("du", "-sk", path), capture_output=True, text=True, check=True)
    return int(done.stdout.split()[0])


def test_a_damaged_ingest_is_found_out_and_removed(store: ImageStore) -> None:
    built = _big()
    digest = built.blobs[1].descriptor.digest
    store.content.prepare()
    path = f"{store.root}/content/ingest/{digest.replace(':', '-')}"
    Path(path).write_bytes(bytes(50_000))
    with running_stub(Serving(built)) as stub:
        with pytest.raises((Corrupt, Invalid)):
            _pull(store, f"{stub.host}/x:1")
        assert not os.path.exists(path)
        _pull(store, f"{stub.host}/x:1")


def test_giving_up_ends_a_pull_that_waits_for_the_network(store: ImageStore) -> None:
    serving = Serving(_big())
    serving.hold = threading.Event()
    with running_stub(serving) as stub, Client(Registries()) as client:
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(pull, store, client, f"{stub.host}/x:1")
            assert serving.reached.wait(30)
            client.abort()
            with pytest.raises(Unavailable):
                running.result(timeout=10)
        serving.hold.set()
    assert names(store) == set()


def test_the_collector_waits_for_a_running_pull(store: ImageStore) -> None:
    serving = Serving(_big())
    serving.hold = threading.Event()
    with running_stub(serving) as stub, ThreadPoolExecutor(1) as pool:
        running = pool.submit(_pull, store, f"{stub.host}/x:1")
        assert serving.reached.wait(30)
        with pytest.raises(Unavailable, match="in use by another command"):
            store.prune(every=True)
        serving.hold.set()
        image = running.result(timeout=60)
    assert _read(store, image, "big")
    store.prune(every=True)
    assert names(store) == set()


def test_progress_tells_every_layers_bytes(registry: Registry, store: ImageStore) -> None:
    built = _built("a", "b")
    upload_image(f"{registry.host}/progress:1", built)
    told: dict[str, tuple[int, int]] = {}

    def progress(step: str, done_bytes: int = 0, total_bytes: int = 0) -> None:
        told[step] = (done_bytes, total_bytes)

    with Client(Registries()) as client:
        pull(store, client, f"{registry.host}/progress:1", progress=progress)
    for blob in built.blobs[1:]:
        size = blob.descriptor.size
        assert told[f"layer {blob.descriptor.digest}"] == (size, size)


def test_layers_are_pulled_at_the_same_time(store: ImageStore) -> None:
    built = make_image([make_tar({f"f{n}": os.urandom(20_000)}) for n in range(3)])
    serving = Serving(built)
    together = threading.Barrier(3, timeout=30)
    with running_stub(_meeting(serving, together)) as stub:
        _pull(store, f"{stub.host}/x:1")
    assert not together.broken


def _meeting(serving: Serving, together: threading.Barrier) -> Serving:
    class Meeting(Serving):
        def __call__(self, request: Received) -> Reply:
            reply = serving(request)
            if len(reply.body) > 10_000:
                together.wait()
            return reply

    return Meeting(_big())


def test_a_layer_that_fails_ends_the_others_at_once(store: ImageStore) -> None:
    good, bad = make_tar({"good": os.urandom(50_000)}), make_tar({"bad": os.urandom(20_000)})
    built = make_image([good, bad])
    serving = Serving(built)
    del serving.documents[built.blobs[2].descriptor.digest]
    held = threading.Event()

    def answer(request: Received) -> Reply:
        if built.blobs[2].descriptor.digest in request.path:
            return Reply(404)
        if built.blobs[1].descriptor.digest in request.path:
            held.wait(30)
        return serving(request)

    with running_stub(answer) as stub:
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(_pull, store, f"{stub.host}/x:1")
            with pytest.raises(NotFound):
                running.result(timeout=10)
        held.set()
    assert names(store) == set()


_PEAK = """
import sys
from proa.engine.facade import Engine
Engine(sys.argv[1], sys.argv[2]).images.pull(sys.argv[3])
with open("/proc/self/status") as file:
    print(next(line.split()[1] for line in file if line.startswith("VmHWM")))
"""


def test_memory_does_not_grow_with_the_image(registry: Registry, tmp_path: Path) -> None:
    """Three layers of 48 MB at a time, in a process that has 256 MB to stay below."""
    peaks = []
    for tag, size in (("small", 1 << 10), ("large", 48 << 20)):
        tars = [make_tar({f"f{n}": bytes([n]) * size}) for n in range(3)]
        name = f"{registry.host}/memory:{tag}"
        upload_image(name, make_image(tars))
        argv = (sys.executable, "-c", _PEAK, str(tmp_path / tag), str(tmp_path / f"run{tag}"), name)
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        peaks.append(int(done.stdout))
    small_kb, large_kb = peaks
    assert large_kb < 100_000
    assert large_kb < small_kb + 30_000


def test_policy_words_are_the_engines() -> None:
    from typing import get_args

    from proa.engine.config import Pull

    assert set(get_args(Policy)) == set(get_args(Pull))
    assert pulling.Policy is Policy


def test_a_layer_compressed_otherwise_than_its_type_says_is_read_all_the_same(
    registry: Registry, store: ImageStore
) -> None:
    tar = make_tar({"f": b"lying"})
    layer = make_layer(tar, "zstd")
    described = layer._replace(
        descriptor=make_layer(tar, "gzip").descriptor.__class__(
            media_type=make_layer(tar, "gzip").descriptor.media_type,
            digest=layer.descriptor.digest,
            size=layer.descriptor.size,
        )
    )
    upload_image(f"{registry.host}/lying:1", make_image([tar], layers=[described]))
    assert _read(store, _pull(store, f"{registry.host}/lying:1"), "f") == b"lying"
