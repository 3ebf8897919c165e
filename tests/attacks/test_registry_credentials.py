"""attacks.md, "Registries": two TLS stubs log their headers; what must not be sent is not there."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from proa.errors import Forbidden, ProaError, Unauthorized
from proa.image.registry import manifests, session, uploads
from proa.image.registry.blobs import BlobReader
from proa.image.registry.client import Client, Request
from proa.image.registry.credentials import Credentials, CredentialStore
from proa.image.registry.hosts import Registries, RegistryTable
from proa.image.registry.repository import Repository
from proa.oci.descriptor import Descriptor
from proa.oci.digest import digest_of
from proa.oci.reference import parse_reference
from tests.support.registry import (
    PASSWORD,
    USER,
    Certificate,
    Received,
    Reply,
    Stub,
    make_certificate,
    running_stub,
)

pytestmark = pytest.mark.requires("openssl")

ALI = Credentials(username=USER, password=PASSWORD)
BLOB = b"the bytes of a layer"
LAYER = Descriptor(media_type="application/octet-stream", digest=digest_of(BLOB), size=len(BLOB))
SECRETS = (PASSWORD, "b3BlbiBzZXNhbWU", "YWxpOm9wZW4")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(str(tmp_path_factory.mktemp("tls")))


@pytest.fixture
def thief(certificate: Certificate) -> Iterator[Stub]:
    """A second TLS server, for being redirected to; its certificate is trusted."""
    with running_stub(lambda request: Reply(200, {}, BLOB), certificate=certificate) as stub:
        yield stub


_clients: list[Client] = []


@pytest.fixture(autouse=True)
def _close_clients(_leaves_nothing: None) -> Iterator[None]:
    yield
    while _clients:
        _clients.pop().close()


def _client(
    tables: dict[str, RegistryTable], credentials: Credentials | CredentialStore = ALI
) -> Client:
    client = Client(Registries(registry=tables), credentials)
    _clients.append(client)
    return client


def _repository(*stubs: Stub, certificate: Certificate, push: bool = False) -> Repository:
    client = _client({stub.host: RegistryTable(ca=certificate.path) for stub in stubs})
    return Repository(client, parse_reference(f"{stubs[0].host}/cave:1"), push=push)


def _basic(reply: Reply) -> Any:
    """Answer ``reply`` to whoever authenticates, and challenge the rest."""

    def answer(request: Received) -> Reply:
        if "authorization" in request.headers:
            return reply
        return Reply(401, {"WWW-Authenticate": 'Basic realm="cave"'})

    return answer


def _read(repository: Repository) -> bytes:
    with BlobReader(repository, LAYER) as reader:
        return b"".join(iter(reader.read, b""))


def test_credentials_are_not_sent_to_the_host_of_a_redirect(
    certificate: Certificate, thief: Stub
) -> None:
    reply = Reply(307, {"Location": f"{thief.url}/blob?signature=1"})
    with running_stub(_basic(reply), certificate=certificate) as registry:
        assert _read(_repository(registry, thief, certificate=certificate)) == BLOB
        assert registry.saw("authorization")
    assert len(thief.received) == 1
    assert thief.saw("authorization") == []


def test_a_redirect_target_that_challenges_gets_nothing(certificate: Certificate) -> None:
    challenge = Reply(401, {"WWW-Authenticate": 'Basic realm="give it to me"'})
    with running_stub(lambda request: challenge, certificate=certificate) as greedy:
        reply = Reply(307, {"Location": f"{greedy.url}/blob"})
        with (
            running_stub(_basic(reply), certificate=certificate) as registry,
            pytest.raises(Unauthorized),
        ):
            _read(_repository(registry, greedy, certificate=certificate))
        assert greedy.saw("authorization") == []


def test_a_token_is_not_sent_to_the_host_of_a_redirect(
    certificate: Certificate, thief: Stub
) -> None:
    token = Reply(200, {}, b'{"token": "precious"}')
    with running_stub(lambda request: token, certificate=certificate) as realm:

        def answer(request: Received) -> Reply:
            if request.headers.get("authorization") == "Bearer precious":
                return Reply(302, {"Location": f"{thief.url}/blob"})
            return Reply(401, {"WWW-Authenticate": f'Bearer realm="{realm.url}/token"'})

        with running_stub(answer, certificate=certificate) as registry:
            assert _read(_repository(registry, realm, thief, certificate=certificate)) == BLOB
        assert "Bearer precious" in registry.saw("authorization")
    assert thief.saw("authorization") == []


@pytest.mark.parametrize("form", ["{url}/elsewhere", "//{host}/elsewhere"])
def test_credentials_are_not_sent_to_an_upload_location_elsewhere(
    certificate: Certificate, form: str
) -> None:
    with running_stub(lambda request: Reply(201), certificate=certificate) as thief:
        location = form.format(url=thief.url, host=thief.host)
        reply = Reply(202, {"Location": location})
        with running_stub(_basic(reply), certificate=certificate) as registry:
            repository = _repository(registry, thief, certificate=certificate, push=True)
            opened = uploads.start_upload(repository, LAYER.digest)
            assert opened == location
            uploads.upload(
                repository, LAYER, lambda start, end: [BLOB[start:end]], opened, lambda sent: None
            )
        assert [one.method for one in thief.received] == ["PUT"]
        assert thief.saw("authorization") == []


def test_credentials_of_a_registry_are_not_sent_to_its_mirror(certificate: Certificate) -> None:
    challenge = Reply(401, {"WWW-Authenticate": 'Basic realm="mirror"'})
    with (
        running_stub(lambda request: challenge, certificate=certificate) as mirror,
        running_stub(_basic(Reply(200, {}, BLOB)), certificate=certificate) as registry,
    ):
        table = RegistryTable(ca=certificate.path, mirrors=(f"https://{mirror.host}",))
        tables = {registry.host: table, mirror.host: RegistryTable(ca=certificate.path)}
        client = _client(tables)
        repository = Repository(client, parse_reference(f"{registry.host}/cave:1"))
        assert _read(repository) == BLOB
        assert mirror.received
        assert mirror.saw("authorization") == []


def test_stored_credentials_are_for_their_own_host_and_port(
    certificate: Certificate, tmp_path: Path
) -> None:
    challenge = Reply(401, {"WWW-Authenticate": 'Basic realm="x"'})
    with running_stub(lambda request: challenge, certificate=certificate) as other:
        store = CredentialStore(str(tmp_path))
        store.save("127.0.0.1:1", ALI)
        tables = {other.host: RegistryTable(ca=certificate.path)}
        client = _client(tables, store)
        with pytest.raises(Unauthorized):
            _read(Repository(client, parse_reference(f"{other.host}/cave:1")))
        assert other.saw("authorization") == []


@pytest.mark.parametrize("scheme", ["Basic", "Bearer"])
def test_credentials_are_never_sent_over_plain_http(
    scheme: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A name that is not loopback, served in plain text as its table allows."""
    with running_stub(lambda request: Reply(401, challenge)) as registry:
        name = f"registry.test:{registry.host.rpartition(':')[2]}"
        challenge = {"WWW-Authenticate": f'{scheme} realm="http://{name}/token"'}
        _resolve(monkeypatch, "registry.test", "127.0.0.1")
        client = _client({name: RegistryTable(insecure=True)})
        with pytest.raises(Forbidden, match="plain HTTP"):
            _read(Repository(client, parse_reference(f"{name}/cave:1")))
        with pytest.raises(Forbidden, match="plain HTTP"):
            session.log_in(
                name,
                USER,
                PASSWORD,
                store=CredentialStore(str(tmp_path)),
                registries=client.registries,
            )
        assert registry.received
        assert registry.saw("authorization") == []
        assert not _leaked(registry)


def test_https_is_not_left_when_a_registry_redirects_to_http(certificate: Certificate) -> None:
    with running_stub(lambda request: Reply(200, {}, BLOB)) as plain:
        reply = Reply(307, {"Location": f"{plain.url}/blob"})
        with (
            running_stub(_basic(reply), certificate=certificate) as registry,
            pytest.raises(Forbidden, match="plain HTTP"),
        ):
            _read(_repository(registry, certificate=certificate))
        assert plain.received == []


def test_https_is_not_left_when_an_upload_location_is_http(certificate: Certificate) -> None:
    with running_stub(lambda request: Reply(201)) as plain:
        reply = Reply(202, {"Location": f"{plain.url}/upload"})
        with running_stub(_basic(reply), certificate=certificate) as registry:
            repository = _repository(registry, certificate=certificate, push=True)
            opened = uploads.start_upload(repository, LAYER.digest)
            with pytest.raises(Forbidden, match="plain HTTP"):
                uploads.upload(
                    repository, LAYER, lambda start, end: [BLOB], opened or "", lambda sent: None
                )
        assert plain.received == []


def test_an_upload_location_on_the_same_host_but_plain_gets_no_credentials(
    certificate: Certificate,
) -> None:
    stubs: list[Stub] = []

    def answer(request: Received) -> Reply:
        location = stubs[0].url.replace("https:", "http:") + "/upload"
        return Reply(202, {"Location": location})

    with running_stub(answer, certificate=certificate) as registry:
        stubs.append(registry)
        repository = _repository(registry, certificate=certificate, push=True)
        opened = uploads.start_upload(repository, LAYER.digest)
        with pytest.raises(Forbidden, match="plain HTTP"):
            uploads.upload(
                repository, LAYER, lambda start, end: [BLOB], opened or "", lambda sent: None
            )
        assert [one.method for one in registry.received] == ["POST"]


def test_a_certificate_error_does_not_become_plain_http(certificate: Certificate) -> None:
    """Loopback may be plain, but only where no TLS is spoken at all."""
    with running_stub(_basic(Reply(200, {}, BLOB)), certificate=certificate) as registry:
        client = _client({})
        with pytest.raises(ProaError, match="not trusted"):
            _read(Repository(client, parse_reference(f"{registry.host}/cave:1")))
        assert registry.received == []


@pytest.mark.parametrize(
    "realm",
    [
        "https://169.254.169.254/latest/meta-data",
        "http://169.254.169.254/latest/meta-data",
        "https://[fe80::1]/token",
        "file:///etc/shadow",
        "https://ali:x@auth.example/token",
    ],
)
def test_realm_to_link_local_or_file_is_not_followed(
    certificate: Certificate, realm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    challenge = Reply(401, {"WWW-Authenticate": f'Bearer realm="{realm}",service="x"'})
    with running_stub(lambda request: challenge, certificate=certificate) as registry:
        repository = _repository(registry, certificate=certificate)
        asked = _record_connections(monkeypatch)
        with pytest.raises(Forbidden, match="token server"):
            manifests.get_manifest(repository, "1")
    assert {host for host, _ in asked} == {"127.0.0.1"}


def test_redirect_to_link_local_is_not_followed(certificate: Certificate) -> None:
    reply = Reply(307, {"Location": "https://169.254.169.254/latest/meta-data"})
    with (
        running_stub(lambda request: reply, certificate=certificate) as registry,
        pytest.raises(Forbidden, match="link-local"),
    ):
        _read(_repository(registry, certificate=certificate))


def test_a_name_that_resolves_to_link_local_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The connected peer counts, not the name: no DNS answer leads to a metadata service."""
    with running_stub(lambda request: Reply(200, {}, BLOB)) as metadata:
        port = metadata.host.rpartition(":")[2]
        _resolve(monkeypatch, "innocent.test", "127.0.0.1")
        _report_peer(monkeypatch, "169.254.169.254")
        name = f"innocent.test:{port}"
        client = _client({name: RegistryTable(plain_http=True)})
        with pytest.raises(Forbidden, match=r"link-local address 169\.254\.169\.254"):
            _read(Repository(client, parse_reference(f"{name}/cave:1")))
        assert metadata.received == []


def test_endless_redirects_end(certificate: Certificate) -> None:
    reply = Reply(307, {"Location": "/v2/round"})
    with running_stub(lambda request: reply, certificate=certificate) as registry:
        with pytest.raises(Forbidden, match="redirects more than"):
            _read(_repository(registry, certificate=certificate))
        assert len(registry.received) < 10


def test_a_token_is_asked_for_our_repository_whatever_the_challenge_says(
    certificate: Certificate,
) -> None:
    token = Reply(200, {}, b'{"token": "t"}')
    with running_stub(lambda request: token, certificate=certificate) as realm:
        header = f'Bearer realm="{realm.url}/t",scope="repository:somebody/else:push,delete"'

        def answer(request: Received) -> Reply:
            if "authorization" in request.headers:
                return Reply(200, {}, BLOB)
            return Reply(401, {"WWW-Authenticate": header})

        with running_stub(answer, certificate=certificate) as registry:
            _read(_repository(registry, realm, certificate=certificate))
        (asked,) = realm.received
    assert "scope=repository%3Acave%3Apull" in asked.path
    assert "somebody" not in asked.path


def test_secrets_are_in_no_error(certificate: Certificate) -> None:
    with (
        running_stub(_basic(Reply(401)), certificate=certificate) as registry,
        pytest.raises(Unauthorized) as caught,
    ):
        _read(_repository(registry, certificate=certificate))
    assert not any(secret in str(caught.value) for secret in SECRETS)


def test_a_registrys_words_cannot_drive_the_terminal(certificate: Certificate) -> None:
    document = b'{"errors": [{"code": "DENIED", "message": "\\u001b[2Jgone\\nsecond line"}]}'
    with (
        running_stub(lambda request: Reply(403, {}, document), certificate=certificate) as stub,
        pytest.raises(Forbidden) as caught,
    ):
        _read(_repository(stub, certificate=certificate))
    assert str(caught.value).isprintable()


def test_a_retry_after_of_a_day_is_not_slept_through(certificate: Certificate) -> None:
    reply = Reply(429, {"Retry-After": "86400"})
    with running_stub(lambda request: reply, certificate=certificate) as registry:
        with pytest.raises(ProaError, match="86400 seconds"):
            _read(_repository(registry, certificate=certificate))
        assert len(registry.received) == 1


def test_an_endless_error_document_is_not_read_to_its_end(certificate: Certificate) -> None:
    body = b"x" * (8 << 20)
    with running_stub(lambda request: Reply(404, {}, body), certificate=certificate) as registry:
        repository = _repository(registry, certificate=certificate)
        with pytest.raises(ProaError) as caught:
            repository.ask(Request(method="GET", target="tags/list", doing="cannot list"))
    assert len(str(caught.value)) < 500


def _leaked(stub: Stub) -> list[str]:
    texts = [f"{one.path} {dict(one.headers)} {one.body!r}" for one in stub.received]
    return [text for text in texts if any(secret in text for secret in SECRETS)]


def _resolve(monkeypatch: pytest.MonkeyPatch, name: str, address: str) -> None:
    real = socket.getaddrinfo

    def resolve(host: Any, *rest: Any, **options: Any) -> Any:
        return real(address if host == name else host, *rest, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)


def _report_peer(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """Let connected sockets name ``address`` as their peer, as a real link-local one would."""

    class Reporting(socket.socket):
        def getpeername(self) -> Any:
            return (address, 80)

    monkeypatch.setattr(socket, "socket", Reporting)


def _record_connections(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    asked: list[tuple[str, int]] = []
    real = socket.socket.connect

    class Recording(socket.socket):
        def connect(self, address: Any) -> None:
            asked.append(address[:2])
            real(self, address)

    monkeypatch.setattr(socket, "socket", Recording)
    return asked
