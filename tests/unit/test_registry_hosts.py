"""registries.toml, and which endpoints it makes of a registry's name."""

from __future__ import annotations

from pathlib import Path

import pytest

from proa.errors import Invalid
from proa.image.registry import hosts
from proa.image.registry.hosts import Registries, RegistryTable, is_loopback, load_registries


def test_a_registry_is_asked_over_https_only() -> None:
    (endpoint,) = Registries().get_endpoints("registry.lan:5000")
    assert endpoint.host == "registry.lan:5000"
    assert endpoint.schemes == ("https",)
    assert endpoint.tls.verify


def test_docker_io_is_served_elsewhere_and_keeps_its_name() -> None:
    (endpoint,) = Registries().get_endpoints("docker.io")
    assert endpoint.host == "registry-1.docker.io"
    assert endpoint.registry == "docker.io"


@pytest.mark.parametrize("host", ["localhost:5000", "127.0.0.1", "127.9.9.9:1", "[::1]:5000"])
def test_loopback_may_fall_back_to_plain_http(host: str) -> None:
    (endpoint,) = Registries().get_endpoints(host)
    assert endpoint.schemes == ("https", "http")
    assert endpoint.tls.verify


@pytest.mark.parametrize(
    "host",
    ["localhost.evil.example", "127.0.0.1.evil.example", "1127.0.0.1", "[::1].evil", "localhostx"],
)
def test_names_that_only_look_like_loopback_are_not(host: str) -> None:
    assert not is_loopback(host)


def test_insecure_allows_plain_http_and_any_certificate() -> None:
    registries = Registries(registry={"old.lan": RegistryTable(insecure=True)})
    (endpoint,) = registries.get_endpoints("old.lan")
    assert endpoint.schemes == ("https", "http")
    assert not endpoint.tls.verify


def test_plain_http_never_tries_tls() -> None:
    registries = Registries(registry={"old.lan": RegistryTable(plain_http=True)})
    assert registries.get_endpoints("old.lan")[0].schemes == ("http",)


def test_mirrors_come_first_with_their_own_settings_and_not_for_push() -> None:
    registries = Registries(
        registry={
            "docker.io": RegistryTable(mirrors=("mirror.lan:5000", "https://cache.lan/hub")),
            "mirror.lan:5000": RegistryTable(ca="/ca.pem"),
        }
    )
    first, second, upstream = registries.get_endpoints("docker.io")
    assert (first.host, first.registry, first.is_mirror) == (
        "mirror.lan:5000",
        "mirror.lan:5000",
        True,
    )
    assert first.tls.ca_files == ("/ca.pem",)
    assert (second.host, second.prefix, second.schemes) == ("cache.lan", "/hub", ("https",))
    assert not upstream.is_mirror
    assert registries.get_endpoints("docker.io", for_push=True) == (upstream,)


def test_the_users_table_replaces_the_engines_table_of_that_registry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "engine.toml").write_text(
        '[registry."a.lan"]\nmirrors = ["m.lan"]\n[registry."b.lan"]\ninsecure = true\n'
    )
    (tmp_path / "proa").mkdir()
    (tmp_path / "proa" / "registries.toml").write_text('[registry."a.lan"]\nca = "/ca.pem"\n')
    monkeypatch.setattr(hosts, "_ENGINE_WIDE", str(tmp_path / "engine.toml"))
    merged = load_registries({"XDG_CONFIG_HOME": str(tmp_path)})
    assert merged.registry == {
        "a.lan": RegistryTable(ca="/ca.pem"),
        "b.lan": RegistryTable(insecure=True),
    }


def test_one_file_can_be_named_instead(tmp_path: Path) -> None:
    path = tmp_path / "only.toml"
    path.write_text('[registry."a.lan"]\nplain-http = true\n')
    assert load_registries({"PROA_REGISTRIES": str(path)}).registry["a.lan"].plain_http


@pytest.mark.parametrize(
    "text",
    [
        "[registry",
        '[registry."a.lan"]\nmirror = ["m.lan"]\n',
        '[registry."a.lan"]\ninsecure = "yes"\n',
        '[registry."a.lan"]\nmirrors = ["ftp://m.lan"]\n',
        '[registry."a.lan"]\nlocation = "user:secret@b.lan"\n',
        '[registry."a.lan"]\nlocation = "b.lan/../x"\n',
        '[registry."a.lan/x"]\n',
        "[other]\n",
    ],
)
def test_a_wrong_file_is_named_with_its_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "registries.toml"
    path.write_text(text)
    with pytest.raises(Invalid, match=r"registries\.toml"):
        load_registries({"PROA_REGISTRIES": str(path)})


def test_docker_certificate_directories_are_honoured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    directory = tmp_path / "registry.lan:5000"
    directory.mkdir()
    for name in ("ca.crt", "client.cert", "client.key"):
        (directory / name).write_text("")
    monkeypatch.setattr(hosts, "_CERTIFICATE_DIRECTORIES", (str(tmp_path),))
    tls = Registries().get_endpoints("registry.lan:5000")[0].tls
    assert tls.ca_files == (str(directory / "ca.crt"),)
    assert tls.client_certificate == str(directory / "client.cert")
    assert tls.client_key == str(directory / "client.key")
