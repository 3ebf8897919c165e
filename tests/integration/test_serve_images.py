"""Images over the Docker Engine API; every answer is checked against the published schema."""

from __future__ import annotations

import base64
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import images
from tests.support.engines import Proa
from tests.support.layers import LayerBuilder, docker_archive
from tests.support.registry import PASSWORD, USER, running_registry
from tests.support.serving import Api

pytestmark = pytest.mark.requires("root", "overlay", "busybox")

LABELLED = "serve/labelled:1"


@pytest.fixture
def busybox(api: Api) -> str:
    images.ensure_busybox(api.proa)
    return images.BUSYBOX


@pytest.fixture
def labelled(api: Api) -> Iterator[str]:
    """A small image that the test may remove."""
    tar = LayerBuilder().file("hello", b"hello from test_serve_images\n").tar()
    query = {
        "fromSrc": "-",
        "repo": "serve/labelled",
        "tag": "1",
        "changes": ["LABEL purpose=serve", 'CMD ["/hello"]'],
        "message": "made by a test",
    }
    reply = api.ok("POST", "/images/create", tar, query=query)
    (line,) = reply.lines()
    assert line["status"].startswith("sha256:")
    yield LABELLED
    api("DELETE", f"/images/{LABELLED}", query={"force": "1"})


def _names(api: Api, **filters: list[str]) -> list[str]:
    listed = api.ok("GET", "/images/json", query={"filters": filters}).json()
    return sorted(name for image in listed for name in image["RepoTags"])


def test_list_shows_what_the_command_line_shows(api: Api, busybox: str, labelled: str):
    listed = api.ok("GET", "/images/json", query={"shared-size": "1"}).json()
    shown = api.proa.ok("images", "-q", "--no-trunc").split()
    assert sorted(image["Id"] for image in listed) == sorted(set(shown))
    assert all(image["SharedSize"] >= 0 for image in listed)


def test_every_filter_of_the_list(api: Api, busybox: str, labelled: str):
    assert _names(api, reference=["serve/*"]) == [LABELLED]
    assert _names(api, label=["purpose=serve"]) == [LABELLED]
    assert LABELLED not in _names(api, label=["purpose=other"])
    assert busybox in _names(api, before=[LABELLED])
    assert _names(api, since=[busybox], label=["purpose"]) == [LABELLED]
    assert LABELLED not in _names(api, dangling=["true"])
    assert LABELLED not in _names(api, until=["2001-01-01"])
    reply = api("GET", "/images/json", query={"filters": {"size": ["1"]}})
    assert (reply.status, "invalid filter" in reply.message) == (400, True)


def test_filters_of_old_clients_are_objects_of_truths(api: Api, labelled: str):
    query = {"filters": {"label": {"purpose=serve": True, "purpose=no": False}}}
    listed = api.ok("GET", "/images/json", query=query, version="1.24").json()
    assert [image["RepoTags"] for image in listed] == [[LABELLED]]
    assert "VirtualSize" in listed[0]


def test_inspect_and_history(api: Api, labelled: str):
    found = api.ok("GET", f"/images/{labelled}/json").json()
    assert found["RepoTags"] == [LABELLED]
    assert found["Config"]["Cmd"] == ["/hello"]
    assert found["Config"]["Labels"] == {"purpose": "serve"}
    (step,) = api.ok("GET", f"/images/{labelled}/history").json()
    assert (step["Id"], step["Tags"]) == (found["Id"], [LABELLED])
    assert step["Comment"] == "made by a test"
    short = found["Id"].removeprefix("sha256:")[:12]
    assert api.ok("GET", f"/images/{short}/json").json()["Id"] == found["Id"]


def test_what_is_not_there_is_404_in_dockers_words(api: Api, busybox: str):
    for method, path in (
        ("GET", "/images/nope/json"),
        ("GET", "/images/nope/history"),
        ("GET", "/images/nope/get"),
        ("DELETE", "/images/registry.example/a/b:1"),
    ):
        reply = api(method, path)
        assert reply.status == 404
        assert reply.message.lower().startswith("no such image")
    reply = api("POST", "/images/nope/tag", query={"repo": "x"})
    assert reply.status == 404


def test_tag_and_remove(api: Api, labelled: str):
    query = {"repo": "serve/again", "tag": "2"}
    assert api.ok("POST", f"/images/{labelled}/tag", query=query).status == 201
    assert _names(api, reference=["serve/again"]) == ["serve/again:2"]
    removed = api.ok("DELETE", "/images/serve/again:2").json()
    assert removed == [{"Untagged": "serve/again:2"}]
    reply = api("POST", f"/images/{labelled}/tag", query={"repo": "Upper Case"})
    assert reply.status == 400
    last = api.ok("DELETE", f"/images/{labelled}").json()
    assert {"Untagged": LABELLED} in last
    assert any(one.get("Deleted", "").startswith("sha256:") for one in last)


def test_an_image_in_use_is_a_conflict(api: Api, busybox: str):
    api.proa.ok("create", "--name", "user", busybox)
    reply = api("DELETE", f"/images/{busybox}")
    assert (reply.status, "user" in reply.message) == (409, True)
    api.proa.ok("rm", "user")


def test_saved_images_load_again_byte_for_byte(api: Api, busybox: str, labelled: str):
    archive = api.ok("GET", "/images/get", query={"names": [busybox, labelled]}).body
    again = api.ok("GET", "/images/get", query={"names": f"{busybox},{labelled}"}).body
    assert archive == again
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        member = tar.extractfile("manifest.json")
        assert member is not None
        manifest = json.load(member)
    assert sorted(name for one in manifest for name in one["RepoTags"]) == [busybox, labelled]
    api.ok("DELETE", f"/images/{labelled}")
    reply = api.ok("POST", "/images/load", archive, query={"quiet": "1"})
    assert {"stream": f"Loaded image: {labelled}\n"} in reply.lines()
    assert api.ok("GET", f"/images/{labelled}/get").headers["Content-Type"] == "application/x-tar"


def test_an_archive_that_is_none_is_an_ordinary_error(api: Api):
    reply = api("POST", "/images/load", b"no tar at all" * 100)
    assert 400 <= reply.status <= 500
    assert reply.message


def test_a_truncated_archive_names_nothing(api: Api, labelled: str):
    archive = api.ok("GET", f"/images/{labelled}/get").body
    api.ok("DELETE", f"/images/{labelled}")
    reply = api("POST", "/images/load", archive[: len(archive) // 2])
    assert reply.status >= 400
    assert _names(api, reference=["serve/labelled"]) == []


def test_prune_takes_nameless_images_and_with_dangling_false_all(api: Api, fresh_proa: Proa):
    # In a root of its own: the session's images are not this test's to remove.
    from tests.support.serving import serving

    tar = docker_archive([LayerBuilder().file("a", b"a").tar()], names=["serve/prune:1"])
    nameless = docker_archive([LayerBuilder().file("b", b"b").tar()], names=[])
    with serving(fresh_proa) as own:
        own.ok("POST", "/images/load", tar)
        own.ok("POST", "/images/load", nameless)
        pruned = own.ok("POST", "/images/prune").json()
        assert any("Deleted" in one for one in pruned["ImagesDeleted"])
        assert pruned["SpaceReclaimed"] > 0
        assert [image["RepoTags"] for image in own.ok("GET", "/images/json").json()] == [
            ["serve/prune:1"]
        ]
        everything = own.ok("POST", "/images/prune", query={"filters": {"dangling": ["false"]}})
        assert {"Untagged": "serve/prune:1"} in everything.json()["ImagesDeleted"]
        assert own.ok("GET", "/images/json").json() == []


@pytest.mark.requires("docker-registry")
def test_push_pull_and_distribution_with_the_clients_credentials(
    api: Api, labelled: str, tmp_path: Path
):
    def header(password: str) -> dict[str, str]:
        document = json.dumps({"username": USER, "password": password}).encode()
        return {"X-Registry-Auth": base64.urlsafe_b64encode(document).decode()}

    with running_registry(str(tmp_path), password=True) as registry:
        name = f"{registry.host}/serve/pushed"
        api.ok("POST", f"/images/{labelled}/tag", query={"repo": name, "tag": "1"})
        refused = api.ok(
            "POST", f"/images/{name}/push", query={"tag": "1"}, headers=header("wrong")
        ).lines()
        assert refused[0]["status"].startswith("The push refers to repository")
        assert refused[-1]["errorDetail"]["message"] == refused[-1]["error"]
        lines = api.ok(
            "POST", f"/images/{name}/push", query={"tag": "1"}, headers=header(PASSWORD)
        ).lines()
        aux = lines[-1]["aux"]
        assert aux["Tag"] == "1"
        assert {"status": "Pushed", "progressDetail": {}} in [
            {key: line[key] for key in ("status", "progressDetail") if key in line}
            for line in lines
        ]
        api.ok("DELETE", f"/images/{name}:1")
        api.ok("DELETE", f"/images/{labelled}")
        anonymous = api("POST", "/images/create", query={"fromImage": name, "tag": "1"})
        assert anonymous.status == 401
        missing = api(
            "POST",
            "/images/create",
            query={"fromImage": name, "tag": "2"},
            headers=header(PASSWORD),
        )
        assert missing.status == 404
        pulled = api.ok(
            "POST",
            "/images/create",
            query={"fromImage": name, "tag": "1"},
            headers=header(PASSWORD),
        ).lines()
        words = [line["status"] for line in pulled]
        assert words[0] == "Pulling from serve/pushed"
        assert pulled[0]["id"] == "1"
        assert "Pull complete" in words
        assert f"Digest: {aux['Digest']}" in words
        assert words[-1] == f"Status: Downloaded newer image for {name}:1"
        again = api.ok(
            "POST", "/images/create", query={"fromImage": f"{name}:1"}, headers=header(PASSWORD)
        ).lines()
        assert again[-1]["status"] == f"Status: Image is up to date for {name}:1"
        found = api.ok("GET", f"/distribution/{name}:1/json", headers=header(PASSWORD)).json()
        assert found["Descriptor"]["digest"] == aux["Digest"]
        assert [one["os"] for one in found["Platforms"]] == ["linux"]
        term = {"term": f"{registry.host}/pushed"}
        searched = api.ok("GET", "/images/search", query=term, headers=header(PASSWORD)).json()
        assert [one["name"] for one in searched] == [name]
        assert api("GET", "/images/search", query=term).status == 401
        good = {"username": USER, "password": PASSWORD, "serveraddress": registry.host}
        assert api.ok("POST", "/auth", good).json()["Status"] == "Login Succeeded"
        bad = api("POST", "/auth", {**good, "password": "wrong"})
        assert bad.status == 401
        api.ok("DELETE", f"/images/{name}:1")


def test_push_of_a_name_that_is_not_here_says_so_in_the_stream(api: Api):
    lines = api.ok("POST", "/images/127.0.0.1:1/serve/none/push", query={"tag": "1"}).lines()
    assert "does not exist locally" in lines[-1]["error"]


def test_bad_words_are_400(api: Api):
    assert api("POST", "/images/create").status == 400
    assert api("GET", "/images/get").status == 400
    assert api("GET", "/images/search", query={"term": ""}).status == 400
    assert api("GET", "/images/search", query={"term": "x", "limit": "1000"}).status == 400
    assert api("POST", "/images/create", query={"fromSrc": "http://127.0.0.1/x"}).status == 501
