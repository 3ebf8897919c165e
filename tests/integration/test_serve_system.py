"""The engine as a whole over the Docker Engine API, and what Proa does not have."""

from __future__ import annotations

import pytest

from tests.support import engine_api, images
from tests.support.serving import Api

pytestmark = pytest.mark.requires("root", "overlay", "busybox")

SWARM = ("/swarm", "/nodes", "/services", "/tasks", "/secrets", "/configs")


def test_info_tells_of_the_same_engine_as_the_command_line(api: Api):
    found = api.ok("GET", "/info").json()
    assert found["DockerRootDir"] == api.proa.root
    assert found["Name"] == api.proa.ok("info", "--format", "{{.Name}}")
    assert found["Swarm"]["LocalNodeState"] == "inactive"
    assert found["OSType"] == "linux"
    assert found["ID"] == api.ok("GET", "/info").json()["ID"]


def test_disk_usage_of_everything_and_of_chosen_kinds(api: Api):
    images.ensure_busybox(api.proa)
    api.proa.ok("create", "--name", "user", "-v", "serve-df:/data", images.BUSYBOX)
    found = api.ok("GET", "/system/df").json()
    busybox = next(one for one in found["Images"] if images.BUSYBOX in one["RepoTags"])
    assert (busybox["Containers"], busybox["Size"] > 100_000) == (1, True)
    (container,) = found["Containers"]
    assert container["SizeRootFs"] >= container["SizeRw"]
    volume = next(one for one in found["Volumes"] if one["Name"] == "serve-df")
    assert volume["UsageData"]["RefCount"] == 1
    assert found["LayersSize"] > 0
    chosen = api.ok("GET", "/system/df", query={"type": ["volume", "build-cache"]}).json()
    assert sorted(chosen) == ["BuildCache", "Volumes"]
    assert api("GET", "/system/df", query={"type": ["planet"]}).status == 400
    api.proa.ok("rm", "user")
    api.proa.ok("volume", "rm", "serve-df")


@pytest.mark.parametrize("path", SWARM)
def test_swarm_is_off_as_on_any_host_that_is_part_of_none(api: Api, path: str):
    reply = api("GET", path)
    assert (reply.status, "not a swarm manager" in reply.message) == (503, True)


def test_building_is_refused_with_the_way_out(api: Api):
    reply = api("POST", "/build", b"", headers={"Content-Type": "application/x-tar"})
    assert reply.status == 501
    assert "proa image bootstrap" in reply.message
    assert api.ok("POST", "/build/prune").json()["SpaceReclaimed"] == 0


def test_there_are_no_plugins(api: Api):
    assert api.ok("GET", "/plugins").json() == []
    assert api("GET", "/plugins/vieux/sshfs:latest/json").status == 404
    assert api("POST", "/plugins/pull", query={"remote": "x"}).status == 501


@pytest.mark.parametrize("version", ["1.24", "1.51", ""])
def test_nothing_of_the_published_api_is_unknown(api: Api, version: str):
    """No path is a bare 404 or 405, in any version: either it works or it says why it does not."""
    unknown = []
    for operation in engine_api.operations():
        path = operation.example_path(id="nobody", name="nobody")
        if operation.method == "GET" and path == "/events":
            path += "?until=1"
        target, _, query = path.partition("?")
        words = dict(pair.split("=") for pair in query.split("&") if pair)
        body: dict[str, str] | None = None if operation.method == "GET" else {}
        reply = api(operation.method, target, body, query=words, version=version)
        if reply.status == 405 or b"page not found" in reply.body:
            unknown.append(f"{operation.method} {operation.path}: {reply.status}")
        if reply.status >= 400 and operation.method != "HEAD":
            assert reply.message, operation
        assert reply.status != 500, f"{operation.method} {operation.path}: {reply.body!r}"
    assert not unknown, "\n".join(unknown)


def test_an_unknown_path_is_dockers_404(api: Api):
    reply = api("GET", "/nope", conforms=False)
    assert (reply.status, reply.json()) == (404, {"message": "page not found"})
