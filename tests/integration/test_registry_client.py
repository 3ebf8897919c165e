"""The client against Debian's docker-registry (plain, TLS, password, tokens) and against faults."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

import pytest

from proa.errors import Corrupt, NotFound, ProaError, Unauthorized, Unavailable
from proa.image.registry import blobs, client, manifests, retry, session, uploads
from proa.image.registry.blobs import BlobReader
from proa.image.registry.client import Client
from proa.image.registry.credentials import Credentials, CredentialStore
from proa.image.registry.hosts import Registries, RegistryTable
from proa.image.registry.repository import Repository
from proa.oci import mediatype
from proa.oci.descriptor import Descriptor
from proa.oci.digest import digest_of
from proa.oci.manifest import encode_manifest
from proa.oci.reference import parse_reference
from tests.support.registry import (
    PASSWORD,
    USER,
    Certificate,
    Received,
    Registry,
    Reply,
    free_port,
    make_certificate,
    running_registry,
    running_stub,
    running_token_server,
)

pytestmark = pytest.mark.requires("docker-registry", "openssl")

ALI = Credentials(username=USER, password=PASSWORD)
STRANGER = Credentials(username="stranger", password="guess")


class Served(NamedTuple):
    """A running registry with what a client must know to use it."""

    registry: Registry
    registries: Registries


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(str(tmp_path_factory.mktemp("tls")))


@pytest.fixture(scope="module")
def tls_only(
    certificate: Certificate, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    directory = str(tmp_path_factory.mktemp("tls"))
    with running_registry(directory, certificate=certificate) as registry:
        yield Served(registry, _trusting(registry, certificate))


@pytest.fixture(scope="module")
def password(
    certificate: Certificate, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    directory = str(tmp_path_factory.mktemp("password"))
    with running_registry(directory, certificate=certificate, password=True) as registry:
        yield Served(registry, _trusting(registry, certificate))


@pytest.fixture(scope="module")
def tokens(certificate: Certificate, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    directory = str(tmp_path_factory.mktemp("tokens"))
    with (
        running_token_server(certificate, tls=certificate) as server,
        running_registry(directory, certificate=certificate, token_server=server) as registry,
    ):
        yield Served(registry, _trusting(registry, certificate))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with running_registry(str(tmp_path_factory.mktemp("registry"))) as registry:
        yield registry


# The servers are arguments, so that they run before the check for leaks looks around.
@pytest.fixture(params=["password", "tokens"])
def guarded(request: pytest.FixtureRequest, password: Served, tokens: Served) -> Served:
    return {"password": password, "tokens": tokens}[request.param]


@pytest.fixture(params=["plain", "tls", "password", "tokens"])
def served(
    request: pytest.FixtureRequest,
    plain: Registry,
    tls_only: Served,
    password: Served,
    tokens: Served,
) -> Served:
    open_one = Served(plain, Registries())
    all_of_them = {"plain": open_one, "tls": tls_only, "password": password, "tokens": tokens}
    return all_of_them[request.param]


def _trusting(registry: Registry, certificate: Certificate) -> Registries:
    return Registries(registry={registry.host: RegistryTable(ca=certificate.path)})


def _blob(size: int = 3_000_000) -> tuple[bytes, Descriptor]:
    data = os.urandom(size)
    return data, Descriptor(media_type=mediatype.OCI_LAYER, digest=digest_of(data), size=len(data))


def _content(data: bytes) -> uploads.Content:
    def content(start: int, end: int) -> Iterable[bytes]:
        for position in range(start, end, 65536):
            yield data[position : min(end, position + 65536)]

    return content


def _upload(repository: Repository, data: bytes, chunk_bytes: int = 32 << 20) -> Descriptor:
    descriptor = Descriptor(media_type=mediatype.OCI_LAYER, digest=digest_of(data), size=len(data))
    location = uploads.start_upload(repository, descriptor.digest)
    assert location
    uploads.upload(repository, descriptor, _content(data), location, lambda sent: None, chunk_bytes)
    return descriptor


def _read(repository: Repository, descriptor: Descriptor, offset: int = 0) -> bytes:
    with BlobReader(repository, descriptor, offset) as reader:
        return b"".join(iter(reader.read, b""))


def test_what_is_pushed_comes_back(served: Served) -> None:
    data, _ = _blob()
    with Client(served.registries, ALI) as speaker:
        name = parse_reference(f"{served.registry.host}/cave/treasure:1")
        writer = Repository(speaker, name, push=True)
        layer = _upload(writer, data, chunk_bytes=1 << 20)
        config = _upload(writer, b'{"architecture": "amd64"}')
        config = Descriptor(media_type=mediatype.OCI_CONFIG, digest=config.digest, size=config.size)
        document = encode_manifest(config, (layer,))
        manifests.put_manifest(writer, "1", mediatype.OCI_MANIFEST, document)

        reader = Repository(speaker, name)
        fetched = manifests.get_manifest(reader, "1")
        assert fetched.data == document
        assert fetched.descriptor.digest == digest_of(document)
        assert fetched.descriptor.media_type == mediatype.OCI_MANIFEST
        assert manifests.find_digest(reader, "1") == fetched.descriptor.digest
        assert manifests.find_digest(reader, "2") is None
        assert manifests.list_tags(reader) == ["1"]
        assert _read(reader, layer) == data
        assert _read(reader, layer, offset=1234) == data[1234:]
        assert blobs.has_blob(reader, layer.digest)


def test_a_blob_is_mounted_from_another_repository(served: Served) -> None:
    data, descriptor = _blob(100_000)
    with Client(served.registries, ALI) as speaker:
        host = served.registry.host
        _upload(Repository(speaker, parse_reference(f"{host}/a"), push=True), data)
        target = Repository(speaker, parse_reference(f"{host}/b"), push=True, sources=("a",))
        assert not blobs.has_blob(target, descriptor.digest)
        assert uploads.start_upload(target, descriptor.digest, "a") is None
        assert blobs.has_blob(target, descriptor.digest)


def test_strangers_are_refused_and_nothing_is_stored(guarded: Served, tmp_path: Path) -> None:
    store = CredentialStore(str(tmp_path))
    with pytest.raises(Unauthorized, match=r"user name or password is wrong"):
        session.log_in(
            guarded.registry.host, "stranger", "guess", store=store, registries=guarded.registries
        )
    assert not (tmp_path / "config.json").exists()


def test_logging_in_lets_push_and_logging_out_does_not(guarded: Served, tmp_path: Path) -> None:
    store = CredentialStore(str(tmp_path))
    host = guarded.registry.host
    session.log_in(host, USER, PASSWORD, store=store, registries=guarded.registries)
    name = parse_reference(f"{host}/guarded")
    with Client(guarded.registries, store) as speaker:
        _upload(Repository(speaker, name, push=True), os.urandom(1000))
    assert store.remove(host)
    with (
        Client(guarded.registries, store) as speaker,
        pytest.raises(Unauthorized, match="proa login"),
    ):
        _upload(Repository(speaker, name, push=True), os.urandom(1000))


def test_a_token_server_gives_an_identity_that_replaces_the_password(
    certificate: Certificate, tmp_path: Path
) -> None:
    with (
        running_token_server(certificate, tls=certificate) as tokens,
        running_registry(str(tmp_path), certificate=certificate, token_server=tokens) as registry,
    ):
        store = CredentialStore(str(tmp_path / "docker"))
        tables = _trusting(registry, certificate)
        session.log_in(registry.host, USER, PASSWORD, store=store, registries=tables)
        assert PASSWORD not in (tmp_path / "docker" / "config.json").read_text()
        assert store.find(registry.host).identity_token == f"identity-of-{USER}"
        with Client(tables, store) as speaker:
            _upload(Repository(speaker, parse_reference(f"{registry.host}/x"), push=True), b"bytes")
        assert tokens.asked[-1] == (USER, ("repository:x:pull,push",))


def test_a_token_serves_until_it_expires_and_is_then_renewed(
    certificate: Certificate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        running_token_server(certificate, tls=certificate) as tokens,
        running_registry(str(tmp_path), certificate=certificate, token_server=tokens) as registry,
        Client(_trusting(registry, certificate), ALI) as speaker,
    ):
        repository = Repository(speaker, parse_reference(f"{registry.host}/x"), push=True)
        first = _upload(repository, b"one")
        _upload(repository, b"two")
        assert len(tokens.asked) == 1
        now_s = time.monotonic() + tokens.lifetime_s + 1
        monkeypatch.setattr(time, "monotonic", lambda: now_s)
        assert blobs.has_blob(repository, first.digest)
        assert len(tokens.asked) == 2


def test_the_catalog_of_a_registry_is_searched(plain: Registry) -> None:
    with Client(Registries()) as speaker:
        for name in ("hoard/gold", "hoard/silver", "other"):
            _push_empty(speaker, f"{plain.host}/{name}:1")
        found = session.search(speaker, "hoard", plain.host)
    assert [one.name for one in found] == [f"{plain.host}/hoard/gold", f"{plain.host}/hoard/silver"]


def test_tag_lists_are_read_page_by_page() -> None:
    pages = {"": (["a", "b"], "b"), "b": (["c"], "c"), "c": (["d"], "")}

    def answer(request: Received) -> Reply:
        query = parse_qs(urlsplit(request.path).query)
        tags, last = pages[query.get("last", [""])[0]]
        # The link leads elsewhere on purpose: only its position may be used.
        link = {"Link": f'<https://elsewhere.example/x?last={last}&n=9>; rel="next"'}
        return Reply(200, link if last else {}, json.dumps({"tags": tags}).encode())

    with running_stub(answer) as stub, Client(Registries()) as speaker:
        repository = Repository(speaker, parse_reference(f"{stub.host}/x"))
        assert manifests.list_tags(repository) == ["a", "b", "c", "d"]


def test_a_tag_list_without_end_is_refused() -> None:
    link = {"Link": '</v2/x/tags/list?last=a>; rel="next"'}
    reply = Reply(200, link, b'{"tags": ["a"]}')
    with running_stub(lambda request: reply) as stub, Client(Registries()) as speaker:
        repository = Repository(speaker, parse_reference(f"{stub.host}/x"))
        with pytest.raises(Corrupt, match="does not end"):
            manifests.list_tags(repository)


def test_referrers_are_kept_under_the_fallback_tag(plain: Registry) -> None:
    """docker-registry 2.8 has no referrers API."""
    with Client(Registries()) as speaker:
        repository = Repository(speaker, parse_reference(f"{plain.host}/signed:1"), push=True)
        subject = digest_of(b"an image")
        assert manifests.list_referrers(repository, subject) == ()
        signature = _push_empty(speaker, f"{plain.host}/signed:sig")
        entry = Descriptor(
            media_type=mediatype.OCI_MANIFEST,
            digest=signature.digest,
            size=signature.size,
            artifact_type="application/x.signature",
        )
        manifests.add_referrer(repository, subject, entry)
        manifests.add_referrer(repository, subject, entry)
        assert manifests.list_referrers(repository, subject) == (entry,)
        assert manifests.list_referrers(repository, subject, "application/x.sbom") == ()
        assert manifests.list_referrers(repository, subject, entry.artifact_type) == (entry,)


def test_a_mirror_is_asked_first_and_the_registry_when_it_is_gone(
    plain: Registry, tmp_path: Path
) -> None:
    with Client(Registries()) as speaker:
        pushed = _push_empty(speaker, f"{plain.host}/mirrored:1")
    with running_registry(str(tmp_path), mirror_of=f"http://{plain.host}") as mirror:
        tables = {plain.host: RegistryTable(mirrors=(mirror.host,))}
        before = len(plain.requests())
        with Client(Registries(registry=tables)) as speaker:
            repository = Repository(speaker, parse_reference(f"{plain.host}/mirrored:1"))
            assert manifests.get_manifest(repository, "1").descriptor.digest == pushed.digest
        assert any("/mirrored/manifests/1" in line for line in mirror.requests())
        asked = plain.requests()[before:]
    with Client(Registries(registry=tables)) as speaker:
        repository = Repository(speaker, parse_reference(f"{plain.host}/mirrored:1"))
        assert manifests.get_manifest(repository, "1").descriptor.digest == pushed.digest
    assert len(plain.requests()) > before + len(asked)


def test_nobody_listening_is_said_so_soon() -> None:
    with Client(Registries()) as speaker:
        name = parse_reference(f"127.0.0.1:{free_port()}/x")
        with pytest.raises(Unavailable, match="cannot reach 127"):
            manifests.get_manifest(Repository(speaker, name), "latest")


def test_an_unknown_tag_is_not_found_by_name(plain: Registry) -> None:
    with Client(Registries()) as speaker:
        name = parse_reference(f"{plain.host}/nothing:1")
        with pytest.raises(NotFound, match=rf"{plain.host}/nothing:1"):
            manifests.get_manifest(Repository(speaker, name), "1")


def test_one_connection_serves_all_requests(certificate: Certificate) -> None:
    """A TLS handshake costs more than most answers."""
    data, descriptor = _blob(10_000)
    registry = Upload(0, 0)

    def answer(request: Received) -> Reply:
        if "authorization" not in request.headers:
            return Reply(401, {"WWW-Authenticate": 'Basic realm="x"'}, b"no")
        if request.method == "HEAD":
            return Reply(404 if "absent" in request.path else 200)
        if request.method == "GET" and "/blobs/sha256" in request.path:
            return Reply(307, {"Location": "/v2/elsewhere"})
        return Reply(200, {}, data) if "elsewhere" in request.path else registry(request)

    with running_stub(answer, certificate=certificate) as stub:
        tables = {stub.host: RegistryTable(ca=certificate.path)}
        with Client(Registries(registry=tables), ALI) as speaker:
            repository = Repository(speaker, parse_reference(f"{stub.host}/x"), push=True)
            assert manifests.find_digest(repository, "absent") is None
            assert blobs.has_blob(repository, descriptor.digest)
            _upload(repository, data, chunk_bytes=3000)
            assert _read(repository, descriptor) == data
        assert stub.connections == 1


class Cutting:
    """A registry of one blob that drops every connection after a few bytes."""

    def __init__(self, data: bytes, piece: int, *, ranges: bool = True) -> None:
        self.data = data
        self.piece = piece
        self.ranges = ranges

    def __call__(self, request: Received) -> Reply:
        start = 0
        wanted = request.headers.get("range")
        headers = {}
        status = 200
        if wanted and self.ranges:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            headers["Content-Range"] = f"bytes {start}-{len(self.data) - 1}/{len(self.data)}"
            status = 206
        self.piece += 0 if self.ranges else 10_000
        return Reply(status, headers, self.data[start:], cut_after=self.piece)


@pytest.mark.parametrize("ranges", [True, False])
def test_a_cut_blob_goes_on_where_it_ended(ranges: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blobs, "backoff_s", lambda attempt: 0.0)
    data, descriptor = _blob(100_000)
    with (
        running_stub(Cutting(data, 9_000, ranges=ranges)) as stub,
        Client(Registries()) as speaker,
    ):
        repository = Repository(speaker, parse_reference(f"{stub.host}/x"))
        assert _read(repository, descriptor) == data
        offsets = [int(value[6:-1]) for value in stub.saw("range")]
    assert offsets == sorted(set(offsets))
    assert len(offsets) >= 4


def test_a_blob_that_never_gets_further_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blobs, "backoff_s", lambda attempt: 0.0)
    data, descriptor = _blob(1000)
    with running_stub(Cutting(data, 0)) as stub, Client(Registries()) as speaker:
        repository = Repository(speaker, parse_reference(f"{stub.host}/x"))
        with pytest.raises(Unavailable):
            _read(repository, descriptor)
        assert 2 < len(stub.received) < 20


@pytest.mark.parametrize(
    ("status", "headers"), [(429, {"Retry-After": "0"}), (503, {}), (500, {}), (502, {})]
)
def test_a_busy_registry_is_asked_again(
    status: int, headers: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(Client, "pause", lambda self, wait_s, endpoint: waits.append(wait_s))
    busy = [3]

    def answer(request: Received) -> Reply:
        if busy[0]:
            busy[0] -= 1
            return Reply(status, headers)
        return Reply(200, {}, b'{"tags": ["1"]}')

    with running_stub(answer) as stub, Client(Registries()) as speaker:
        repository = Repository(speaker, parse_reference(f"{stub.host}/x"))
        assert manifests.list_tags(repository) == ["1"]
    assert len(waits) == 3
    assert all(wait_s == 0 for wait_s in waits) == bool(headers)


def test_a_registry_that_stays_busy_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "backoff_s", lambda attempt: 0.0)
    with running_stub(lambda request: Reply(503)) as stub, Client(Registries()) as speaker:
        repository = Repository(speaker, parse_reference(f"{stub.host}/x"))
        with pytest.raises(Unavailable, match="status 503"):
            manifests.list_tags(repository)
        assert len(stub.received) == retry.ATTEMPTS


def test_waiting_ends_when_the_operation_is_given_up() -> None:
    with Client(Registries()) as speaker:

        def answer(request: Received) -> Reply:
            speaker.abort()
            return Reply(429, {"Retry-After": "50"})

        with running_stub(answer) as stub:
            repository = Repository(speaker, parse_reference(f"{stub.host}/x"))
            with pytest.raises(Unavailable):
                manifests.list_tags(repository)
            assert len(stub.received) == 1


@pytest.mark.parametrize("tls", [False, True])
def test_reading_ends_when_the_operation_is_given_up(tls: bool, certificate: Certificate) -> None:
    data, descriptor = _blob(100_000)
    asked, release = threading.Event(), threading.Event()

    def answer(request: Received) -> Reply:
        asked.set()
        release.wait(30)
        return Reply(200, {}, data)

    with running_stub(answer, certificate=certificate if tls else None) as stub:
        tables = {stub.host: RegistryTable(ca=certificate.path)}
        with Client(Registries(registry=tables)) as speaker, ThreadPoolExecutor(1) as pool:
            repository = Repository(speaker, parse_reference(f"{stub.host}/x"))
            reading = pool.submit(_read, repository, descriptor)
            assert asked.wait(30)
            speaker.abort()
            with pytest.raises(Unavailable):
                reading.result(timeout=10)
        release.set()


class Upload:
    """A registry's upload that fails where a test says; keeps what arrived."""

    def __init__(self, fail_at: int, status: int) -> None:
        self.fail_at = fail_at
        self.status = status
        self.data = b""

    def __call__(self, request: Received) -> Reply:
        if request.method == "GET":
            return Reply(204, self._headers())
        if request.method == "POST":
            self.data = b""
            return Reply(202, {"Location": "/v2/x/blobs/uploads/1?state=0"})
        self.data += request.body
        if self.fail_at and len(self.data) >= self.fail_at:
            self.fail_at = 0
            if self.status == 404:
                self.data = b""
            return Reply(self.status)
        return Reply(201 if request.method == "PUT" else 202, self._headers())

    def _headers(self) -> dict[str, str]:
        end = max(len(self.data) - 1, 0)
        return {"Location": f"/v2/x/blobs/uploads/1?state={end}", "Range": f"0-{end}"}


@pytest.mark.parametrize("status", [500, 503, 404])
@pytest.mark.parametrize("fail_at", [1000, 3000, 10_000])
def test_a_failed_upload_goes_on_at_the_registrys_offset(
    fail_at: int, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "backoff_s", lambda attempt: 0.0)
    data, _ = _blob(10_000)
    registry = Upload(fail_at, status)
    with running_stub(registry) as stub, Client(Registries()) as speaker:
        repository = Repository(speaker, parse_reference(f"{stub.host}/x"), push=True)
        _upload(repository, data, chunk_bytes=1000)
    assert registry.data == data
    assert f"digest={digest_of(data)}" in stub.received[-1].path.replace("%3A", ":")


def test_a_registry_that_keeps_failing_an_upload_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(uploads, "backoff_s", lambda attempt: 0.0)
    monkeypatch.setattr(client, "backoff_s", lambda attempt: 0.0)
    data, _ = _blob(10_000)

    def answer(request: Received) -> Reply:
        return Reply(202, {"Location": "/u"}) if request.method == "POST" else Reply(500)

    with running_stub(answer) as stub, Client(Registries()) as speaker:
        repository = Repository(speaker, parse_reference(f"{stub.host}/x"), push=True)
        with pytest.raises(ProaError):
            _upload(repository, data, chunk_bytes=1000)
        assert len(stub.received) < 60


def test_a_damaged_upload_is_refused_by_the_registry(plain: Registry) -> None:
    data, descriptor = _blob(10_000)
    with Client(Registries()) as speaker:
        repository = Repository(speaker, parse_reference(f"{plain.host}/x"), push=True)
        location = uploads.start_upload(repository, descriptor.digest) or ""
        wrong = bytes(len(data))
        with pytest.raises(Corrupt):
            uploads.upload(repository, descriptor, _content(wrong), location, lambda sent: None)


def _push_empty(speaker: Client, name: str) -> Descriptor:
    reference = parse_reference(name)
    repository = Repository(speaker, reference, push=True)
    config = _upload(repository, b"{}")
    config = Descriptor(media_type=mediatype.OCI_CONFIG, digest=config.digest, size=config.size)
    document = encode_manifest(config, ())
    manifests.put_manifest(repository, reference.tag, mediatype.OCI_MANIFEST, document)
    return Descriptor(
        media_type=mediatype.OCI_MANIFEST,
        digest=digest_of(document),
        size=len(document),
    )
