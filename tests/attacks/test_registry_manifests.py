"""attacks.md, "Manifests": a hostile registry serves each; all are refused and nothing is named."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from proa.errors import Corrupt, Invalid, ProaError, Unavailable, Unsupported
from proa.image.limits import Limits
from proa.image.pull import pull
from proa.image.registry import blobs
from proa.image.registry.client import Client
from proa.image.registry.hosts import Registries
from proa.image.store import ImageStore
from proa.oci import mediatype
from proa.oci.digest import digest_of
from proa.oci.platform import host_platform
from tests.support.registry import Received, Reply, Stub, running_stub
from tests.support.registry_images import (
    Blob,
    Built,
    MemoryReferences,
    describe,
    make_blob,
    make_image,
    make_index,
    make_layer,
    make_tar,
    names,
)

pytestmark = pytest.mark.requires("root")

HOST = host_platform().architecture


class Hostile:
    """A registry in memory: documents and blobs by digest, one tag, and what a test bends."""

    def __init__(self, built: Built) -> None:
        self.built = built
        self.tag = built.manifest
        self.tag_headers: dict[str, str] = {}
        self.data = {blob.descriptor.digest: blob.data for blob in (built.manifest, *built.blobs)}
        self.media_types = {built.manifest.descriptor.digest: built.manifest.descriptor.media_type}
        self.blob_reply: Callable[[bytes], Reply] | None = None

    def add(self, blob: Blob) -> None:
        self.data[blob.descriptor.digest] = blob.data
        self.media_types[blob.descriptor.digest] = blob.descriptor.media_type

    def __call__(self, request: Received) -> Reply:
        name = request.path.rpartition("/")[2]
        if "/manifests/" in request.path:
            if ":" not in name:
                headers = {"Content-Type": self.tag.descriptor.media_type, **self.tag_headers}
                return Reply(200, headers, self.tag.data)
            if name not in self.data:
                return Reply(404)
            return Reply(200, {"Content-Type": self.media_types[name]}, self.data[name])  # type: ignore[index]
        data = self.data.get(name)  # type: ignore[call-overload]
        if data is None:
            return Reply(404)
        is_layer = name != self.built.blobs[0].descriptor.digest
        return self.blob_reply(data) if is_layer and self.blob_reply else Reply(200, {}, data)


@pytest.fixture
def hostile() -> Hostile:
    return Hostile(make_image([make_tar({"f": os.urandom(50_000)})]))


@pytest.fixture
def stub(hostile: Hostile) -> Iterator[Stub]:
    with running_stub(hostile) as running:
        yield running


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore(str(tmp_path / "root"), MemoryReferences())


def _refused(
    store: ImageStore, stub: Stub, *kinds: type[ProaError], match: str | None = None
) -> None:
    with Client(Registries()) as client, pytest.raises(kinds or (Corrupt,), match=match):
        pull(store, client, f"{stub.host}/x:1")
    assert names(store) == set()
    assert store.list() == []
    assert os.listdir(f"{store.root}/images") in (["lock"], [])
    for directory in ("snapshots", "snapshots/staging", "content/ingest"):
        path = f"{store.root}/{directory}"
        left = set(os.listdir(path) if os.path.isdir(path) else ()) - {"l", "staging"}
        assert left == set(), directory
    blobs_left = list(store.content.digests()) if os.path.isdir(store.content.path) else []
    assert blobs_left == []


def _manifest(hostile: Hostile, **changes: Any) -> None:
    document = {**json.loads(hostile.built.manifest.data), **changes}
    hostile.tag = make_blob(json.dumps(document).encode(), mediatype.OCI_MANIFEST)


def test_the_honest_one_is_taken(store: ImageStore, stub: Stub) -> None:
    with Client(Registries()) as client:
        pull(store, client, f"{stub.host}/x:1")
    assert f"{stub.host}/x:1" in names(store)


def test_both_manifests_and_layers(store: ImageStore, stub: Stub, hostile: Hostile) -> None:
    _manifest(hostile, manifests=[describe(hostile.built.manifest)])
    _refused(store, stub, Corrupt, match="both manifests and layers")


@pytest.mark.parametrize("announced", sorted(mediatype.INDEXES))
def test_a_manifest_announced_as_an_index(
    store: ImageStore, stub: Stub, hostile: Hostile, announced: str
) -> None:
    hostile.tag_headers = {"Content-Type": announced}
    _refused(store, stub, Corrupt, match="content of another kind")


def test_an_index_announced_as_a_manifest(store: ImageStore, stub: Stub, hostile: Hostile) -> None:
    hostile.tag = make_index((hostile.built, HOST))
    hostile.tag_headers = {"Content-Type": mediatype.OCI_MANIFEST}
    _refused(store, stub, Corrupt, match="content of another kind")


@pytest.mark.parametrize(
    "digest",
    [
        "sha256:../../x",
        "sha256:" + "../" * 21 + "x",
        "../../../etc/passwd",
        "sha256:" + "A" * 64,
        "sha256:" + "a" * 63,
        "md5:" + "a" * 32,
        "sha256:" + "a" * 64 + "\n",
        "",
    ],
)
@pytest.mark.parametrize("where", ["config", "layers"])
def test_a_digest_that_is_a_path(
    store: ImageStore, stub: Stub, hostile: Hostile, digest: str, where: str
) -> None:
    original = json.loads(hostile.built.manifest.data)[where]
    first = original[0] if where == "layers" else original
    bent = {**first, "digest": digest}
    _manifest(hostile, **{where: [bent] if where == "layers" else bent})
    _refused(store, stub, Corrupt)
    assert not any(".." in one.path for one in stub.received)


@pytest.mark.parametrize("difference", [-1, 1, 10**12])
@pytest.mark.parametrize("where", ["config", "layers"])
def test_size_mismatch(
    store: ImageStore, stub: Stub, hostile: Hostile, where: str, difference: int
) -> None:
    original = json.loads(hostile.built.manifest.data)[where]
    first = original[0] if where == "layers" else original
    bent = {**first, "size": first["size"] + difference}
    _manifest(hostile, **{where: [bent] if where == "layers" else bent})
    _refused(store, stub, Corrupt)


@pytest.mark.parametrize("size", [-1, 2**70, "5", None])
def test_a_size_that_is_none(store: ImageStore, stub: Stub, hostile: Hostile, size: object) -> None:
    first = json.loads(hostile.built.manifest.data)["layers"][0]
    _manifest(hostile, layers=[{**first, "size": size}])
    _refused(store, stub, Corrupt)


def test_a_manifest_over_4_mib(store: ImageStore, stub: Stub, hostile: Hostile) -> None:
    _manifest(hostile, annotations={"padding": "x" * (4 << 20)})
    _refused(store, stub, Corrupt, match="larger than 4194304 bytes")


def test_a_manifest_without_end(
    store: ImageStore, stub: Stub, hostile: Hostile, monkeypatch: pytest.MonkeyPatch
) -> None:
    hostile.tag_headers = {"Content-Length": str(10**15)}
    hostile.tag = make_blob(b" " * (6 << 20), mediatype.OCI_MANIFEST)
    _refused(store, stub, Corrupt, match="larger than")


def test_a_config_over_4_mib_is_not_fetched(
    store: ImageStore, stub: Stub, hostile: Hostile
) -> None:
    config = json.loads(hostile.built.manifest.data)["config"]
    _manifest(hostile, config={**config, "size": 5 << 20})
    _refused(store, stub, Corrupt, match="claims 5242880 bytes")
    assert not any("/blobs/" in one.path for one in stub.received)


def test_deeply_nested_json(store: ImageStore, stub: Stub, hostile: Hostile) -> None:
    hostile.tag = make_blob(
        b'{"schemaVersion":2,"annotations":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        mediatype.OCI_MANIFEST,
    )
    _refused(store, stub, Corrupt)


def test_cyclic_index(store: ImageStore, stub: Stub, hostile: Hostile) -> None:
    """A digest cannot contain itself; a registry that lies about digests can still try."""
    wrong = digest_of(b"not me")
    entry = {"mediaType": mediatype.OCI_INDEX, "digest": wrong, "size": 300}
    document = {"schemaVersion": 2, "mediaType": mediatype.OCI_INDEX, "manifests": [entry]}
    index = make_blob(json.dumps(document).encode().ljust(300), mediatype.OCI_INDEX)
    hostile.tag = index
    hostile.data[wrong] = index.data
    hostile.media_types[wrong] = mediatype.OCI_INDEX
    _refused(store, stub, Corrupt, match="instead of")


def test_a_tower_of_indexes(store: ImageStore, stub: Stub, hostile: Hostile) -> None:
    top = hostile.built.manifest
    for _ in range(20):
        document = {
            "schemaVersion": 2,
            "mediaType": mediatype.OCI_INDEX,
            "manifests": [describe(top)],
        }
        top = make_blob(json.dumps(document).encode(), mediatype.OCI_INDEX)
        hostile.add(top)
    hostile.tag = top
    _refused(store, stub, Corrupt, match="without end")
    assert len(stub.received) < 10


def test_wrong_digest_of_a_manifest_that_was_asked_for_by_digest(
    store: ImageStore, stub: Stub, hostile: Hostile
) -> None:
    wrong = digest_of(b"what the user trusts")
    hostile.data[wrong] = hostile.built.manifest.data
    hostile.media_types[wrong] = mediatype.OCI_MANIFEST
    with Client(Registries()) as client, pytest.raises(Corrupt, match="instead of"):
        pull(store, client, f"{stub.host}/x@{wrong}")
    assert names(store) == set()


def test_wrong_digest_announced_with_a_tag(store: ImageStore, stub: Stub, hostile: Hostile) -> None:
    hostile.tag_headers = {"Docker-Content-Digest": digest_of(b"something else")}
    _refused(store, stub, Corrupt, match="instead of")


@pytest.mark.parametrize("announced", ["sha256:../../x", "sha256:x", "nonsense"])
def test_a_malformed_announced_digest(
    store: ImageStore, stub: Stub, hostile: Hostile, announced: str
) -> None:
    hostile.tag_headers = {"Docker-Content-Digest": announced}
    _refused(store, stub, Corrupt, match="malformed digest")


def test_wrong_digest_of_an_index_entry(store: ImageStore, stub: Stub, hostile: Hostile) -> None:
    other = make_image([make_tar({"evil": b"evil"})])
    for blob in other.blobs:
        hostile.add(blob)
    hostile.tag = make_index((hostile.built, HOST))
    hostile.data[hostile.built.manifest.descriptor.digest] = other.manifest.data
    _refused(store, stub, Corrupt, match="instead of")


def test_wrong_digest_of_a_layer(store: ImageStore, stub: Stub, hostile: Hostile) -> None:
    evil = make_layer(make_tar({"evil": os.urandom(50_000)}), "gzip")
    layer = hostile.built.blobs[1].descriptor
    padded = evil.data[: layer.size].ljust(layer.size, b"\0")
    hostile.blob_reply = lambda data: Reply(200, {}, padded)
    _refused(store, stub, Corrupt, Invalid)


def test_wrong_digest_of_a_layer_that_unpacks_well(
    store: ImageStore, stub: Stub, hostile: Hostile
) -> None:
    """Right content for the config, packed in other bytes: the blob is not what was promised."""
    tar = make_tar({"f": b"x" * 1000})
    promised = make_layer(tar, "gzip")
    other = gzip.compress(tar, compresslevel=9, mtime=12345)
    other += b"\0" * (len(promised.data) - len(other))
    hostile.built = make_image([tar], layers=[promised])
    hostile.tag = hostile.built.manifest
    for blob in hostile.built.blobs:
        hostile.add(blob)
    hostile.blob_reply = lambda data: Reply(200, {}, other[: len(promised.data)])
    _refused(store, stub, Corrupt)


def test_wrong_diff_id(store: ImageStore, stub: Stub, hostile: Hostile) -> None:
    tar = make_tar({"f": b"x"})
    hostile.built = make_image([tar], diff_ids=[digest_of(b"another tar")])
    hostile.tag = hostile.built.manifest
    for blob in hostile.built.blobs:
        hostile.add(blob)
    _refused(store, stub, Corrupt, match="where the image config promises")


@pytest.mark.parametrize(("layers", "diff_ids"), [(2, 1), (1, 2), (0, 1)])
def test_layers_and_diff_ids_that_do_not_agree(
    store: ImageStore, stub: Stub, hostile: Hostile, layers: int, diff_ids: int
) -> None:
    tar = make_tar({"f": b"x"})
    hostile.built = make_image(
        [tar], layers=[make_layer(tar)] * layers, diff_ids=[digest_of(tar)] * diff_ids
    )
    hostile.tag = hostile.built.manifest
    for blob in hostile.built.blobs:
        hostile.add(blob)
    _refused(store, stub, Corrupt, match="layers where its image config has")


@pytest.mark.parametrize("extra", [1, 5_000_000])
def test_a_layer_longer_than_its_size(
    store: ImageStore, stub: Stub, hostile: Hostile, extra: int
) -> None:
    """Without a Content-Length, so that only counting finds out."""
    hostile.blob_reply = lambda data: Reply(200, {}, data + b"x" * extra)
    _refused(store, stub, Corrupt, match="bytes long instead of")


def test_a_layer_that_goes_on_after_its_announced_length(
    store: ImageStore, stub: Stub, hostile: Hostile
) -> None:
    def chunked(data: bytes) -> Reply:
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(data) + 7, data + b"surplus")
        return Reply(200, {"Transfer-Encoding": "chunked", "Content-Length": ""}, body)

    hostile.blob_reply = chunked
    _refused(store, stub, Corrupt, match="longer than")


def test_a_layer_shorter_than_its_size(
    store: ImageStore, stub: Stub, hostile: Hostile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blobs, "backoff_s", lambda attempt: 0.0)
    hostile.blob_reply = lambda data: Reply(200, {}, data[:-100])
    _refused(store, stub, Corrupt, match="bytes long instead of")


def test_a_range_that_was_not_asked_for(store: ImageStore, stub: Stub, hostile: Hostile) -> None:
    size = hostile.built.blobs[1].descriptor.size
    hostile.blob_reply = lambda data: Reply(
        206, {"Content-Range": f"bytes 5-{size - 1}/{size}"}, data[5:]
    )
    _refused(store, stub, Corrupt, match="range that was not asked for")


def test_foreign_layers_are_refused_and_their_urls_not_asked(
    store: ImageStore, stub: Stub, hostile: Hostile
) -> None:
    layer = {
        **describe(hostile.built.blobs[1]),
        "mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "urls": [f"{stub.url}/elsewhere", "http://169.254.169.254/"],
    }
    _manifest(hostile, layers=[layer])
    _refused(store, stub, Unsupported, match="foreign")
    assert not any("elsewhere" in one.path for one in stub.received)


def test_urls_of_an_ordinary_layer_are_not_asked(
    store: ImageStore, stub: Stub, hostile: Hostile
) -> None:
    layer = {**describe(hostile.built.blobs[1]), "urls": [f"{stub.url}/elsewhere"]}
    _manifest(hostile, layers=[layer])
    with Client(Registries()) as client:
        pull(store, client, f"{stub.host}/x:1")
    assert not any("elsewhere" in one.path for one in stub.received)


def test_ten_thousand_layers(store: ImageStore, stub: Stub, hostile: Hostile) -> None:
    _manifest(hostile, layers=[describe(hostile.built.blobs[1])] * 10_000)
    _refused(store, stub, Invalid, match="10000 layers")
    assert not any("/blobs/" in one.path for one in stub.received)


def test_a_gzip_bomb(stub: Stub, hostile: Hostile, tmp_path: Path) -> None:
    store = ImageStore(
        str(tmp_path / "root"), MemoryReferences(), limits=Limits(ratio_floor_bytes=1 << 20)
    )
    tar = make_tar({"zeros": bytes(8 << 20)})
    hostile.built = make_image([tar])
    hostile.tag = hostile.built.manifest
    for blob in hostile.built.blobs:
        hostile.add(blob)
    _refused(store, stub, Invalid, match="expands more than")


@pytest.mark.parametrize(
    "data", [b"", b"null", b"[]", b"{", b"\xff\xfe", b'{"schemaVersion": 1}', b"<html>"]
)
def test_what_is_no_manifest(store: ImageStore, stub: Stub, hostile: Hostile, data: bytes) -> None:
    hostile.tag = make_blob(data, mediatype.OCI_MANIFEST)
    _refused(store, stub, Corrupt, Unsupported)


def test_schema_1(store: ImageStore, stub: Stub, hostile: Hostile) -> None:
    document = {"schemaVersion": 1, "fsLayers": [], "history": []}
    hostile.tag = make_blob(
        json.dumps(document).encode(), "application/vnd.docker.distribution.manifest.v1+prettyjws"
    )
    _refused(store, stub, Unsupported, match="schema 1")


def test_a_config_that_is_no_image(store: ImageStore, stub: Stub, hostile: Hostile) -> None:
    helm = make_blob(b"{}", "application/vnd.cncf.helm.config.v1+json")
    hostile.add(helm)
    _manifest(hostile, config=describe(helm))
    _refused(store, stub, Unsupported, Corrupt)


def test_pull_cut_at_50_offsets_and_resumed(
    store: ImageStore, stub: Stub, hostile: Hostile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every connection is dropped and every pull given up; together they get there."""
    monkeypatch.setattr(blobs, "_CUTS_WITHOUT_PROGRESS", -1)
    data = hostile.built.blobs[1].data
    step = len(data) // 50

    def answer(request: Received) -> Reply:
        if hostile.built.blobs[1].descriptor.digest not in request.path:
            return hostile(request)
        start = int(request.headers.get("range", "bytes=0-")[6:-1])
        headers = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}
        return Reply(206 if start else 200, headers, data[start:], cut_after=step)

    cuts = 0
    with running_stub(answer) as cutting:
        while cuts < 100:
            try:
                with Client(Registries()) as client:
                    image = pull(store, client, f"{cutting.host}/x:1")
                break
            except Unavailable:
                cuts += 1
                assert names(store) == set()
        offsets = [int(value[6:-1]) for value in cutting.saw("range")]
    assert cuts >= 50
    assert offsets == [step * number for number in range(1, cuts + 1)]
    assert store.content.find(image.layers[0].blob.digest) == len(data)


_KILLED = """
import os, signal, sys
from proa.engine.state import State
from proa.image.pull import pull
from proa.image.registry.client import Client
from proa.image.store import ImageStore
root, name, kill_at = sys.argv[1], sys.argv[2], int(sys.argv[3])
events = 0
def progress(step, done_bytes=0, total_bytes=0):
    global events
    events += 1
    if events == kill_at:
        os.kill(os.getpid(), signal.SIGKILL)
state = State(root)
with Client() as client:
    pull(ImageStore(root, state.images), client, name, progress=progress)
state.close()
print(events)
"""


def test_a_pull_killed_at_any_event_leaves_nothing_but_a_resumable_ingest(
    tmp_path: Path, stub: Stub, hostile: Hostile, monkeypatch: pytest.MonkeyPatch
) -> None:
    from proa.engine.state import State

    tars = [make_tar({f"f{n}": os.urandom(600_000)}) for n in range(2)]
    hostile.built = make_image(tars)
    hostile.tag = hostile.built.manifest
    for blob in hostile.built.blobs:
        hostile.add(blob)
    root = str(tmp_path / "killed")
    os.mkdir(root)
    name = f"{stub.host}/x:1"
    for kill_at in range(1, 40):
        done = subprocess.run(
            (sys.executable, "-c", _KILLED, root, name, str(kill_at)),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL, done.stderr
        left = os.listdir(f"{root}/content/ingest") if os.path.isdir(f"{root}/content") else []
        assert all(one.startswith("sha256-") for one in left)
        state = State(root)
        assert state.images.list() == []
        state.close()
    assert kill_at > 3
    state = State(root)
    store = ImageStore(root, state.images)
    image = store.get(name)
    for number, lower in enumerate(reversed(image.lowers)):
        assert os.path.getsize(f"{root}/{lower}/f{number}") == 600_000
    assert os.listdir(f"{root}/content/ingest") == []
    assert os.listdir(f"{root}/snapshots/staging") == []
    state.close()
