"""Docker's config.json and the protocol of credential helpers."""

from __future__ import annotations

import base64
import json
import stat
from pathlib import Path
from typing import Any

import pytest

from proa.errors import Invalid, Unavailable
from proa.image.registry.credentials import ANONYMOUS, Credentials, CredentialStore

ALI = Credentials(username="ali", password="open sesame")
ENCODED = base64.b64encode(b"ali:open sesame").decode()

# A credential helper that keeps its secrets in a file beside itself and logs how it was called.
_HELPER = """#!/bin/sh
cd "$(dirname "$0")" || exit 1
echo "$@" >> calls
case "$1" in
get) read -r url; [ -f secret ] && cat secret && exit 0
     echo "credentials not found in native keychain"; exit 1 ;;
store) cat > stored ;;
erase) rm -f secret; cat > erased ;;
esac
"""


@pytest.fixture(autouse=True)
def _no_override(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DOCKER_AUTH_CONFIG", raising=False)


def _store(tmp_path: Path, configuration: dict[str, Any] | None = None) -> CredentialStore:
    if configuration is not None:
        (tmp_path / "config.json").write_text(json.dumps(configuration))
    return CredentialStore(str(tmp_path))


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / "bin"
    directory.mkdir()
    program = directory / "docker-credential-cave"
    program.write_text(_HELPER)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}:/usr/bin:/bin")
    return directory


def test_nothing_stored_is_anonymous(tmp_path: Path) -> None:
    assert _store(tmp_path).find("registry.lan") == ANONYMOUS
    assert not _store(tmp_path).find("registry.lan")


@pytest.mark.parametrize(
    ("key", "registry"),
    [
        ("registry.lan:5000", "registry.lan:5000"),
        ("https://registry.lan:5000", "registry.lan:5000"),
        ("https://registry.lan:5000/v1/", "registry.lan:5000"),
        ("https://index.docker.io/v1/", "docker.io"),
        ("index.docker.io", "docker.io"),
    ],
)
def test_auths_are_found_under_every_spelling(tmp_path: Path, key: str, registry: str) -> None:
    store = _store(tmp_path, {"auths": {key: {"auth": ENCODED}}})
    assert store.find(registry) == ALI
    assert store.find("another.lan") == ANONYMOUS
    assert store.find(registry.partition(":")[0] + ":1") == ANONYMOUS


def test_an_identity_token_is_found(tmp_path: Path) -> None:
    entry = {"auth": base64.b64encode(b"ali:").decode(), "identitytoken": "t0ken"}
    found = _store(tmp_path, {"auths": {"registry.lan": entry}}).find("registry.lan")
    assert found.identity_token == "t0ken"


def test_saving_keeps_what_others_wrote_and_who_may_read(tmp_path: Path) -> None:
    store = _store(tmp_path, {"psFormat": "table", "auths": {"other.lan": {"auth": ENCODED}}})
    assert store.save("registry.lan", ALI) == ""
    saved = json.loads((tmp_path / "config.json").read_text())
    assert saved["psFormat"] == "table"
    assert set(saved["auths"]) == {"other.lan", "registry.lan"}
    assert stat.S_IMODE((tmp_path / "config.json").stat().st_mode) == 0o600
    assert store.find("registry.lan") == ALI
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json"]


def test_saving_makes_the_directory_private(tmp_path: Path) -> None:
    store = CredentialStore(str(tmp_path / "new"))
    store.save("docker.io", ALI)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700
    assert "https://index.docker.io/v1/" in (tmp_path / "new" / "config.json").read_text()


def test_saving_goes_through_a_symlink(tmp_path: Path) -> None:
    (tmp_path / "real.json").write_text("{}")
    (tmp_path / "config.json").symlink_to("real.json")
    _store(tmp_path).save("registry.lan", ALI)
    assert (tmp_path / "config.json").is_symlink()
    assert "registry.lan" in (tmp_path / "real.json").read_text()


def test_removing_forgets_every_spelling(tmp_path: Path) -> None:
    store = _store(
        tmp_path, {"auths": {"a.lan": {"auth": ENCODED}, "https://a.lan": {}, "b.lan": {}}}
    )
    assert store.remove("a.lan")
    assert not store.remove("a.lan")
    assert json.loads((tmp_path / "config.json").read_text())["auths"] == {"b.lan": {}}


def test_a_helper_is_asked_before_the_file(tmp_path: Path, helper: Path) -> None:
    (helper / "secret").write_text('{"Username": "ali", "Secret": "open sesame"}')
    store = _store(
        tmp_path,
        {"credHelpers": {"registry.lan": "cave"}, "auths": {"other.lan": {"auth": "eDp5"}}},
    )
    assert store.find("registry.lan") == ALI
    assert store.find("other.lan").username == "x"
    assert (helper / "calls").read_text() == "get\n"


def test_a_helper_may_hold_an_identity_token(tmp_path: Path, helper: Path) -> None:
    (helper / "secret").write_text('{"Username": "<token>", "Secret": "t0ken"}')
    store = _store(tmp_path, {"credsStore": "cave"})
    assert store.find("registry.lan") == Credentials(identity_token="t0ken")


def test_a_helper_without_credentials_means_anonymous(tmp_path: Path, helper: Path) -> None:
    assert _store(tmp_path, {"credsStore": "cave"}).find("registry.lan") == ANONYMOUS


def test_secrets_reach_a_helper_over_stdin_only(tmp_path: Path, helper: Path) -> None:
    store = _store(tmp_path, {"credsStore": "cave"})
    assert store.save("registry.lan", ALI) == "cave"
    assert json.loads((helper / "stored").read_text())["Secret"] == "open sesame"
    assert (helper / "calls").read_text() == "store\n"
    assert "sesame" not in (tmp_path / "config.json").read_text()


def test_removing_erases_in_the_helper(tmp_path: Path, helper: Path) -> None:
    (helper / "secret").write_text('{"Username": "ali", "Secret": "open sesame"}')
    store = _store(tmp_path, {"credsStore": "cave"})
    assert store.remove("docker.io")
    assert (helper / "erased").read_text() == "https://index.docker.io/v1/"
    assert not store.remove("docker.io")


def test_a_missing_helper_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unavailable, match="docker-credential-gone"):
        _store(tmp_path, {"credsStore": "gone"}).find("registry.lan")


@pytest.mark.parametrize("name", ["../evil", "a b", "x;y"])
def test_a_helper_name_cannot_be_a_path(tmp_path: Path, name: str) -> None:
    store = _store(tmp_path, {"credHelpers": {"registry.lan": name}, "credsStore": "also/../bad"})
    with pytest.raises(Invalid, match="not the name of a credential helper"):
        store.find("registry.lan")


@pytest.mark.parametrize("text", ["{", "[]", '{"auths": 3}', '{"auths": {"a": {"auth": "%"}}}'])
def test_a_damaged_file_is_named_and_not_quoted(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text + " " * 20)
    with pytest.raises(Invalid) as caught:
        CredentialStore(str(tmp_path)).find("a")
    assert text not in str(caught.value)


def test_the_environment_wins_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    override = {"auths": {"registry.lan": {"auth": ENCODED}}}
    monkeypatch.setenv("DOCKER_AUTH_CONFIG", json.dumps(override))
    assert (
        _store(tmp_path, {"auths": {"registry.lan": {"auth": "eDp5"}}}).find("registry.lan") == ALI
    )


def test_secrets_are_not_printed() -> None:
    shown = repr(Credentials(username="ali", password="sesame", identity_token="t0ken"))
    assert "sesame" not in shown
    assert "t0ken" not in shown
